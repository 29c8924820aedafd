import { Histogram } from '../histogram.ts'
import type { Query } from './reader.ts'

/** Counts that add up over slices and minutes. */
export interface Counts {
  readonly calls: number
  readonly completed: number
  readonly instanceErrors: number
  readonly clientsGone: number
  readonly timedOut: number
  readonly retried: number
  readonly held: number
  readonly heldMsSum: number
  readonly promptTokens: number
  readonly outputTokens: number
}

/** What one instance (0: none could be chosen) did in one bucket of time, in ms where it has durations. */
export interface Slice extends Counts {
  readonly atUnixMs: number
  readonly pool: string
  readonly instanceId: number
  readonly ttft: Histogram
  readonly e2e: Histogram
}

/** Slices merged: counts added, histograms merged. */
export interface Merged extends Counts {
  readonly ttft: Histogram
  readonly e2e: Histogram
}

/** Buckets of `bucketMs` from `fromUnixMs` (a multiple of it) up to `toUnixMs`; of all pools or one. */
export interface Span {
  readonly fromUnixMs: number
  readonly toUnixMs: number
  readonly bucketMs: number
  readonly pool?: string
}

/** What the calls that arrived in one bucket of time did. */
export interface Bucket {
  readonly atUnixMs: number
  readonly slices: readonly Slice[]
  /** All its slices in one, or those of one pool; merged once. Not to be changed. */
  sum(pool?: string): Merged
}

/**
 * The rollups of a span in buckets. A week is 10,080 minutes times instances and policies, too many to read and merge for each page: buckets are kept with
 * their sums, and read again only where their calls have become more. One that ended long ago cannot change (no call lives that long) and is not even asked about.
 */
export interface Rollups {
  /** Every bucket of the span in order of time, empty ones too. `nowUnixMs` tells which are over. */
  buckets(query: Query, span: Span, nowUnixMs: number): Bucket[]
}

/** Longer than any call may take (timeouts.totalMs is 30 min unless configured longer): after it a minute's rollup stands still. */
const SETTLED_AFTER_MS = 3_600_000

/** Buckets kept; two windows of each length need about 700, with the quarters of hours that longer ones are made of. The oldest asked for goes first. */
const KEPT_MAX = 2_000

/** Longer buckets that may still change are made of these: only the one that runs is read again for each page. */
const QUARTER_MS = 900_000

interface Kept {
  /** Calls there were when it was read: more mean that it must be read again. Undefined where it cannot change. */
  readonly calls: number | undefined
  readonly bucket: Bucket
}

interface Stored extends Counts {
  readonly bucket: number
  readonly pool: string
  readonly instanceId: number
  readonly ttft: Uint8Array
  readonly e2e: Uint8Array
}

/** Of rows that begin at `start`, in a table of rollups. */
const sqlOf = (
  table: 'rollup' | 'rollup_hour',
  start: string,
): string => `SELECT CAST(${start} / @bucketMs AS INTEGER) AS bucket, pool, instance_id AS instanceId, calls, completed,
    instance_errors AS instanceErrors, clients_gone AS clientsGone, timed_out AS timedOut, retried, held, held_ms_sum AS heldMsSum,
    prompt_tokens AS promptTokens, output_tokens AS outputTokens, ttft, e2e
  FROM ${table} WHERE ${start} >= @from AND ${start} < @to ORDER BY ${start}`
const MINUTES = sqlOf('rollup', 'minute_unix_ms')
const HOURS = sqlOf('rollup_hour', 'hour_unix_ms')
const HOUR_MS = 3_600_000

/** Rollups with an empty memory. */
export function createRollups(): Rollups {
  const kept = new Map<string, Kept>()
  const keep = (key: string, one: Kept): Bucket => {
    kept.delete(key)
    if (kept.size >= KEPT_MAX) kept.delete(kept.keys().next().value ?? key)
    kept.set(key, one)
    return one.bucket
  }
  const buckets: Rollups['buckets'] = (query, { fromUnixMs, toUnixMs, bucketMs, pool }, nowUnixMs) => {
    const settledBefore = nowUnixMs - SETTLED_AFTER_MS
    const starts = Array.from({ length: Math.ceil((toUnixMs - fromUnixMs) / bucketMs) }, (_, i) => fromUnixMs + i * bucketMs)
    const keyOf = (at: number): string => `${bucketMs}/${at}`
    const isSettled = (at: number): boolean => at + bucketMs < settledBefore
    const open = starts.filter((at) => !isSettled(at))
    const calls = countCalls(query, open, bucketMs)
    const found = new Map<number, Bucket>()
    const stale = starts.filter((at) => {
      const one = kept.get(keyOf(at))
      const fresh = one !== undefined && (one.calls === undefined || (!isSettled(at) && one.calls === (calls.get(at) ?? 0)))
      if (fresh) found.set(at, one.bucket)
      return !fresh
    })
    const store = (at: number, slices: readonly Slice[]): void => {
      const one = { calls: isSettled(at) ? undefined : (calls.get(at) ?? 0), bucket: createBucket(at, slices) }
      found.set(at, keep(keyOf(at), one))
    }
    const wholes = stale.filter((at) => isSettled(at) || bucketMs <= QUARTER_MS)
    for (const run of runsOf(wholes, bucketMs)) {
      const fresh = readBuckets(query, run, bucketMs)
      for (let at = run.from; at < run.to; at += bucketMs) store(at, fresh.get(at) ?? [])
    }
    for (const at of stale.filter((one) => !found.has(one))) {
      const quarters = buckets(query, { fromUnixMs: at, toUnixMs: at + bucketMs, bucketMs: QUARTER_MS }, nowUnixMs)
      store(
        at,
        mergeByInstance(
          quarters.flatMap(({ slices }) => slices),
          at,
        ),
      )
    }
    const all = starts.flatMap((at) => found.get(at) ?? [])
    return pool === undefined
      ? all
      : all.map((one) =>
          createBucket(
            one.atUnixMs,
            one.slices.filter((slice) => slice.pool === pool),
          ),
        )
  }
  return { buckets }
}

function createBucket(atUnixMs: number, slices: readonly Slice[]): Bucket {
  const sums = new Map<string | undefined, Merged>()
  return {
    atUnixMs,
    slices,
    sum(pool) {
      const known = sums.get(pool)
      if (known !== undefined) return known
      const sum = mergeSlices(pool === undefined ? slices : slices.filter((slice) => slice.pool === pool))
      sums.set(pool, sum)
      return sum
    },
  }
}

/** Calls counted so far in each bucket that has some; they only become more. Reads keys and counts, no histogram. */
function countCalls(query: Query, starts: readonly number[], bucketMs: number): ReadonlyMap<number, number> {
  const [from] = starts
  const last = starts.at(-1)
  if (from === undefined || last === undefined) return new Map()
  const sql = `SELECT CAST(minute_unix_ms / @bucketMs AS INTEGER) AS bucket, sum(calls) AS calls FROM rollup
    WHERE minute_unix_ms >= @from AND minute_unix_ms < @to GROUP BY bucket`
  const rows = query.all<{ bucket: number; calls: number }>(sql, { bucketMs, from, to: last + bucketMs })
  return new Map(rows.map(({ bucket, calls }) => [bucket * bucketMs, calls]))
}

/** All of `slices` in one; all zero and empty when there are none. */
export function mergeSlices(slices: Iterable<Counts & { readonly ttft: Histogram; readonly e2e: Histogram }>): Merged {
  const sum = emptySums()
  for (const slice of slices) {
    addCounts(sum, slice)
    sum.ttft.merge(slice.ttft)
    sum.e2e.merge(slice.e2e)
  }
  return sum
}

type Sums = { -readonly [Key in keyof Merged]: Merged[Key] }

const emptySums = (): Sums => ({
  calls: 0,
  completed: 0,
  instanceErrors: 0,
  clientsGone: 0,
  timedOut: 0,
  retried: 0,
  held: 0,
  heldMsSum: 0,
  promptTokens: 0,
  outputTokens: 0,
  ttft: new Histogram(),
  e2e: new Histogram(),
})

function addCounts(sum: Sums, more: Counts): void {
  sum.calls += more.calls
  sum.completed += more.completed
  sum.instanceErrors += more.instanceErrors
  sum.clientsGone += more.clientsGone
  sum.timedOut += more.timedOut
  sum.retried += more.retried
  sum.held += more.held
  sum.heldMsSum += more.heldMsSum
  sum.promptTokens += more.promptTokens
  sum.outputTokens += more.outputTokens
}

/** Neighbouring buckets as one range each. */
function runsOf(starts: readonly number[], bucketMs: number): { readonly from: number; readonly to: number }[] {
  const runs: { from: number; to: number }[] = []
  for (const at of starts) {
    const last = runs.at(-1)
    if (last?.to === at) last.to = at + bucketMs
    else runs.push({ from: at, to: at + bucketMs })
  }
  return runs
}

type SliceSums = Sums & { readonly atUnixMs: number; readonly pool: string; readonly instanceId: number }

const emptySlice = (atUnixMs: number, { pool, instanceId }: Pick<Slice, 'pool' | 'instanceId'>): SliceSums => ({
  ...emptySums(),
  atUnixMs,
  pool,
  instanceId,
})

const sliceKey = ({ pool, instanceId }: Pick<Slice, 'pool' | 'instanceId'>): string => `${instanceId} ${pool}`

function readBuckets(query: Query, run: { readonly from: number; readonly to: number }, bucketMs: number): Map<number, Slice[]> {
  const buckets = new Map<number, Map<string, SliceSums>>()
  for (const row of readRows(query, run, bucketMs)) {
    const at = row.bucket * bucketMs
    const slices = buckets.get(at) ?? new Map<string, SliceSums>()
    buckets.set(at, slices)
    const sum = slices.get(sliceKey(row)) ?? emptySlice(at, row)
    slices.set(sliceKey(row), sum)
    addCounts(sum, row)
    sum.ttft.mergeEncoded(row.ttft)
    sum.e2e.mergeEncoded(row.e2e)
  }
  return new Map([...buckets].map(([at, slices]) => [at, [...slices.values()]]))
}

/** Slices of shorter buckets as those of the one that begins at `atUnixMs`. */
function mergeByInstance(slices: readonly Slice[], atUnixMs: number): Slice[] {
  return [...Map.groupBy(slices, sliceKey).values()].map((own) => ({ ...emptySlice(atUnixMs, own[0] as Slice), ...mergeSlices(own) }))
}

/** Hours that were rolled up are read as such where the buckets are whole hours; the others minute by minute. */
function* readRows(query: Query, { from, to }: { readonly from: number; readonly to: number }, bucketMs: number): Iterable<Stored> {
  if (bucketMs % HOUR_MS !== 0) return yield* query.all<Stored>(MINUTES, { from, to, bucketMs })
  const sql = 'SELECT DISTINCT hour_unix_ms AS hour FROM rollup_hour WHERE hour_unix_ms >= ? AND hour_unix_ms < ?'
  const rolled = new Set(query.all<{ hour: number }>(sql, [from, to]).map(({ hour }) => hour))
  yield* query.all<Stored>(HOURS, { from, to, bucketMs })
  const missing = Array.from({ length: (to - from) / HOUR_MS }, (_, i) => from + i * HOUR_MS).filter((hour) => !rolled.has(hour))
  for (const run of runsOf(missing, HOUR_MS)) yield* query.all<Stored>(MINUTES, { ...run, bucketMs })
}
