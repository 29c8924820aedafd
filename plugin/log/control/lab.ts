import type { Clock } from '../../clock.ts'
import type { Door } from './door.ts'
import { type Page, pageLimit } from './intents.ts'

/** How the Lab names the learned policies: the one that ships by this word alone, others with their version behind an @. */
export const LAB_LEARNED = 'learned'

/** A version in the registry as an arm's policy. */
export const labVersion = (version: string): string => `${LAB_LEARNED}@${version}`

export type LabState = 'waiting' | 'running' | 'done' | 'failed' | 'cancelled'

/** What is played: calls as they were really served, or a scenario whose calls are drawn. */
export type LabSource =
  | { readonly kind: 'stored'; readonly pool: string; readonly fromUnixMs: number; readonly toUnixMs: number }
  | { readonly kind: 'scenario'; readonly name: string }

/** What a run was asked to compare. */
export interface LabPlan {
  readonly source: LabSource
  /**
   * Policies, perhaps with an order of holding ("least-kv + kv-time"); the first one is what the others are compared with. `learned` is the policy that ships,
   * `learned@VERSION` one from the registry.
   */
  readonly arms: readonly string[]
  /** Times the source's own rate. */
  readonly loads: readonly number[]
  /** Drawings of a scenario's calls; stored calls are played once. */
  readonly seeds: number
}

/** Difference with the first arm under the same load: 1 − ours ÷ its. Null where there are too few samples for an interval. */
export interface LabGain {
  readonly mean: number
  readonly low: number | null
  readonly high: number | null
}

/** One arm under one load; times in ms. */
export interface LabRow {
  readonly load: number
  readonly arm: string
  readonly meanE2eMs: number
  /** 95 % interval of the mean, over seeds or blocks of time. */
  readonly lowE2eMs: number | null
  readonly highE2eMs: number | null
  readonly p50E2eMs: number
  readonly p95E2eMs: number
  readonly p99E2eMs: number
  readonly meanTtftMs: number
  readonly p99TtftMs: number
  readonly meanHeldMs: number
  readonly lost: number
  /** Absent for the first arm. */
  readonly gain?: LabGain
}

/** What a run came to. */
export interface LabResult {
  /** What was played, in words. */
  readonly label: string
  readonly calls: number
  /** Samples that intervals are over. */
  readonly samples: number
  readonly sampleName: 'seeds' | 'blocks of time'
  readonly fleet: readonly string[]
  readonly rows: readonly LabRow[]
}

/** One run in the twin. */
export interface LabRun {
  readonly runId: number
  readonly state: LabState
  readonly plan: LabPlan
  readonly askedBy: string
  readonly askedUnixMs: number
  readonly startedUnixMs: number | null
  readonly endedUnixMs: number | null
  readonly progressRatio: number
  readonly says: string
  readonly pid: number | null
  readonly cancelAskedBy: string | null
  readonly result: LabResult | null
  readonly error: string | null
}

export interface LabRuns {
  append(run: { readonly plan: LabPlan; readonly askedBy: string }): number
  get(runId: number): LabRun | undefined
  /** Newest first. */
  list(page: Page): LabRun[]
  /** Oldest first: those that wait, and those that some process took up. */
  unfinished(): LabRun[]
  /** Takes a waiting run; false when it is not there to take. */
  start(runId: number, pid: number): boolean
  /** False when the run is to stop. */
  progress(runId: number, at: { readonly progressRatio: number; readonly says: string }): boolean
  finish(runId: number, result: LabResult): boolean
  /** One that waits is cancelled at once, one that runs by its process. False when it had ended. */
  cancel(runId: number, by: string): boolean
  end(runId: number, how: { readonly state: 'failed' | 'cancelled'; readonly error: string }): boolean
}

/** Runs kept; the oldest go first. A result is some 10 kB. */
const KEPT_MAX = 500

const RUN = `run_id AS runId, state, plan, asked_by AS askedBy, asked_unix_ms AS askedUnixMs, started_unix_ms AS startedUnixMs,
  ended_unix_ms AS endedUnixMs, progress_ratio AS progressRatio, says, pid, cancel_asked_by AS cancelAskedBy, result, error`

type Stored = Omit<LabRun, 'plan' | 'result'> & { readonly plan: string; readonly result: string | null }

const parsed = (stored: Stored): LabRun => ({
  ...stored,
  plan: JSON.parse(stored.plan) as LabPlan,
  result: stored.result === null ? null : (JSON.parse(stored.result) as LabResult),
})

/** Runs in the twin as stored behind `door`. */
export function createLabRuns(door: Door, clock: Clock): LabRuns {
  const get = (runId: number): LabRun | undefined => {
    const stored = door.get<Stored>(`SELECT ${RUN} FROM lab_run WHERE run_id = ?`, [runId])
    return stored && parsed(stored)
  }
  const end: LabRuns['end'] = (runId, { state, error }) =>
    door.run(`UPDATE lab_run SET state = ?, error = ?, ended_unix_ms = ? WHERE run_id = ? AND state IN ('waiting', 'running')`, [
      state,
      error,
      clock.nowUnixMs(),
      runId,
    ]).changes === 1
  return {
    append({ plan, askedBy }) {
      return door.together(() => {
        const sql = `INSERT INTO lab_run (state, plan, asked_by, asked_unix_ms) VALUES ('waiting', ?, ?, ?)`
        const runId = door.run(sql, [JSON.stringify(plan), askedBy, clock.nowUnixMs()]).lastId
        door.run(`DELETE FROM lab_run WHERE run_id <= ? AND state NOT IN ('waiting', 'running')`, [runId - KEPT_MAX])
        return runId
      })
    },
    get,
    list: ({ beforeId, limit }) =>
      door
        .all<Stored>(`SELECT ${RUN} FROM lab_run WHERE run_id < ? ORDER BY run_id DESC LIMIT ?`, [
          beforeId ?? Number.MAX_SAFE_INTEGER,
          pageLimit(limit),
        ])
        .map(parsed),
    unfinished: () => door.all<Stored>(`SELECT ${RUN} FROM lab_run WHERE state IN ('waiting', 'running') ORDER BY run_id`).map(parsed),
    start(runId, pid) {
      const sql = `UPDATE lab_run SET state = 'running', started_unix_ms = ?, pid = ? WHERE run_id = ? AND state = 'waiting'`
      return door.run(sql, [clock.nowUnixMs(), pid, runId]).changes === 1
    },
    progress(runId, { progressRatio, says }) {
      const sql = `UPDATE lab_run SET progress_ratio = ?, says = ? WHERE run_id = ? AND state = 'running' AND cancel_asked_by IS NULL`
      return door.run(sql, [progressRatio, says, runId]).changes === 1
    },
    finish(runId, result) {
      const sql = `UPDATE lab_run SET state = 'done', progress_ratio = 1, says = '', result = ?, ended_unix_ms = ?
        WHERE run_id = ? AND state = 'running'`
      return door.run(sql, [JSON.stringify(result), clock.nowUnixMs(), runId]).changes === 1
    },
    cancel(runId, by) {
      return door.together(() => {
        if (get(runId)?.state === 'waiting') return end(runId, { state: 'cancelled', error: `cancelled by ${by} before it began` })
        const sql = `UPDATE lab_run SET cancel_asked_by = coalesce(cancel_asked_by, ?) WHERE run_id = ? AND state = 'running'`
        return door.run(sql, [by, runId]).changes === 1
      })
    },
    end,
  }
}
