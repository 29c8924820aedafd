import type Database from 'better-sqlite3'
import { Histogram } from './histogram.ts'
import type { CallRow } from './rows.ts'

/** `rollup.instance_id` of calls that found no instance. */
export const NO_INSTANCE_ID = 0

const MINUTE_MS = 60_000

/** Slices kept in memory: those of the last minutes; an older one is read again when a long call ends. 2,000 hold about 20 MB. */
const SLICES_MAX = 2_000

interface Slice {
  readonly key: readonly [minuteUnixMs: number, pool: string, instanceId: number, policy: string]
  readonly sums: Sums
  readonly ttft: Histogram
  readonly tpot: Histogram
  readonly e2e: Histogram
  dirty: boolean
}

interface Sums {
  calls: number
  completed: number
  instance_errors: number
  clients_gone: number
  timed_out: number
  retried: number
  held: number
  held_ms_sum: number
  prompt_tokens: number
  output_tokens: number
}

/** What is added up, in minutes and in hours alike: columns of both tables. */
export const SUMS = [
  'calls',
  'completed',
  'instance_errors',
  'clients_gone',
  'timed_out',
  'retried',
  'held',
  'held_ms_sum',
  'prompt_tokens',
  'output_tokens',
] as const satisfies readonly (keyof Sums)[]

const ENDED = {
  completed: 'completed',
  'instance error': 'instance_errors',
  'client gone': 'clients_gone',
  'timed out': 'timed_out',
  // Nobody waited for the end any more, as far as we know.
  unknown: 'clients_gone',
} as const

/**
 * Calls added up per minute of arrival, pool, instance and policy. What is in memory is what the database holds plus what
 * `write` has not written yet: after a transaction that was rolled back it must be forgotten (`forget`).
 */
export class Rollups {
  readonly #slices = new Map<string, Slice>()
  readonly #select: Database.Statement
  readonly #replace: Database.Statement

  readonly #touched: (minuteUnixMs: number) => void

  /** `touched` is told of each minute whose rows are written. */
  constructor(database: Database.Database, touched: (minuteUnixMs: number) => void = () => undefined) {
    this.#touched = touched
    const key = 'minute_unix_ms, pool, instance_id, policy'
    this.#select = database.prepare(
      `SELECT ${SUMS.join(', ')}, ttft, tpot, e2e FROM rollup WHERE minute_unix_ms = ? AND pool = ? AND instance_id = ? AND policy = ?`,
    )
    this.#replace = database.prepare(
      `INSERT OR REPLACE INTO rollup (${key}, ${SUMS.join(', ')}, ttft, tpot, e2e) VALUES (${Array(SUMS.length + 7).fill('?')})`,
    )
  }

  /** Counts a call. */
  add(row: CallRow, instanceId: number | null): void {
    const minute = Math.floor(row.call.arrivedUnixMs / MINUTE_MS) * MINUTE_MS
    const slice = this.#slice([minute, row.pool, instanceId ?? NO_INSTANCE_ID, row.decision.policy])
    const { sums } = slice
    const { outcome, decision } = row
    slice.dirty = true
    sums.calls += 1
    sums[ENDED[outcome.kind]] += 1
    if (row.attempts.length > 1) sums.retried += 1
    if (decision.heldMs > 0) {
      sums.held += 1
      sums.held_ms_sum += decision.heldMs
    }
    sums.prompt_tokens += Math.round(known(outcome.promptTokens) ?? known(decision.promptTokensEstimate) ?? 0)
    sums.output_tokens += Math.round(known(outcome.outputTokens) ?? 0)
    // A call that failed says nothing of how fast the instance serves; its end is counted above.
    if (outcome.kind !== 'completed') return
    addKnown(slice.ttft, outcome.ttftMs)
    addKnown(slice.tpot, outcome.tpotMs)
    addKnown(slice.e2e, outcome.e2eMs)
  }

  /** Writes every slice that changed since the last time; inside the batch's transaction. */
  write(): void {
    for (const slice of this.#slices.values()) {
      if (!slice.dirty) continue
      this.#touched(slice.key[0])
      this.#replace.run([
        ...slice.key,
        ...SUMS.map((name) => slice.sums[name]),
        slice.ttft.encode(),
        slice.tpot.encode(),
        slice.e2e.encode(),
      ])
      slice.dirty = false
    }
    for (const key of this.#slices.keys()) {
      if (this.#slices.size <= SLICES_MAX) break
      this.#slices.delete(key)
    }
  }

  /** Forgets what is in memory: the database is the truth again. */
  forget(): void {
    this.#slices.clear()
  }

  #slice(key: Slice['key']): Slice {
    const name = key.join('\n')
    const known = this.#slices.get(name)
    if (known !== undefined) return known
    const stored = this.#select.get(key) as (Sums & { ttft: Uint8Array; tpot: Uint8Array; e2e: Uint8Array }) | undefined
    const sums = Object.fromEntries(SUMS.map((sum) => [sum, stored?.[sum] ?? 0])) as unknown as Sums
    const slice = { key, sums, ttft: new Histogram(), tpot: new Histogram(), e2e: new Histogram(), dirty: false }
    if (stored !== undefined) for (const histogram of ['ttft', 'tpot', 'e2e'] as const) slice[histogram].mergeEncoded(stored[histogram])
    this.#slices.set(name, slice)
    return slice
  }
}

function known(value: number | undefined): number | undefined {
  return value !== undefined && Number.isFinite(value) ? value : undefined
}

function addKnown(histogram: Histogram, value: number | undefined): void {
  if (value !== undefined && value >= 0 && value < Number.POSITIVE_INFINITY) histogram.add(value)
}
