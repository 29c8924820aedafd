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

/**
 * The rollups of a span in buckets. A bucket that ended long ago cannot change (no call lives that long), so its merged slices are kept:
 * a week is 10,080 minutes times instances and policies, too many to merge for each page.
 */
export interface Rollups {
  /** In order of time. `nowUnixMs` tells which buckets are over. */
  slices(query: Query, span: Span, nowUnixMs: number): Slice[]
}

/** Longer than any call may take (timeouts.totalMs is 30 min unless configured longer): after it a minute's rollup stands still. */
const SETTLED_AFTER_MS = 3_600_000

/** Buckets kept; two windows of each length need about 600. The oldest asked for goes first. */
const KEPT_MAX = 2_000

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
  const kept = new Map<string, readonly Slice[]>()
  const keep = (key: string, slices: readonly Slice[]): void => {
    if (kept.size >= KEPT_MAX) kept.delete(kept.keys().next().value ?? key)
    kept.set(key, slices)
  }
  return {
    slices(query, { fromUnixMs, toUnixMs, bucketMs, pool }, nowUnixMs) {
      const found = new Map<number, readonly Slice[]>()
      const missing: number[] = []
      for (let at = fromUnixMs; at < toUnixMs; at += bucketMs) {
        const slices = kept.get(`${bucketMs}/${at}`)
        if (slices === undefined) missing.push(at)
        else found.set(at, slices)
      }
      for (const run of runsOf(missing, bucketMs)) {
        const fresh = readBuckets(query, run, bucketMs)
        for (let at = run.from; at < run.to; at += bucketMs) {
          const slices = fresh.get(at) ?? []
          found.set(at, slices)
          if (at + bucketMs < nowUnixMs - SETTLED_AFTER_MS) keep(`${bucketMs}/${at}`, slices)
        }
      }
      const all = [...found].sort(([a], [b]) => a - b).flatMap(([, slices]) => slices)
      return pool === undefined ? all : all.filter((slice) => slice.pool === pool)
    },
  }
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

function readBuckets(query: Query, run: { readonly from: number; readonly to: number }, bucketMs: number): Map<number, Slice[]> {
  const buckets = new Map<number, Map<string, Sums & { atUnixMs: number; pool: string; instanceId: number }>>()
  for (const row of readRows(query, run, bucketMs)) {
    const at = row.bucket * bucketMs
    const slices = buckets.get(at) ?? new Map()
    buckets.set(at, slices)
    const key = `${row.instanceId} ${row.pool}`
    const sum = slices.get(key) ?? { ...emptySums(), atUnixMs: at, pool: row.pool, instanceId: row.instanceId }
    slices.set(key, sum)
    addCounts(sum, row)
    sum.ttft.mergeEncoded(row.ttft)
    sum.e2e.mergeEncoded(row.e2e)
  }
  return new Map([...buckets].map(([at, slices]) => [at, [...slices.values()]]))
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
