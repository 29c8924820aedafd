import type { Clock } from '../../clock.ts'
import type { Door } from './door.ts'
import { type Page, pageLimit } from './intents.ts'
import type { ModelRecord } from './models.ts'

export type RunState = 'waiting' | 'running' | 'done' | 'failed' | 'cancelled'

/** What the trainer does now. */
export type RunPhase = 'reading' | 'profiles' | 'length' | 'policy' | 'evaluating' | 'registering'

/** What a run was asked to do; everything absent is the configuration's. */
export interface TrainingPlan {
  readonly trigger: 'schedule' | 'admin' | 'command'
  /** One part alone; all where absent. */
  readonly only?: 'length' | 'profiles' | 'policy'
  /** Generations of the policy search, or a time for it that is recorded as the generations it came to. */
  readonly generations?: number
  readonly minutes?: number
  readonly seed?: number
  /** Only calls of this application train the length predictor. */
  readonly application?: string
}

/** One training run. `detail` is JSON, renewed while it runs: counts of rows by reason, versions made, generations done. */
export interface TrainingRun {
  readonly runId: number
  readonly state: RunState
  readonly phase: RunPhase | null
  readonly plan: TrainingPlan
  readonly askedBy: string
  readonly askedUnixMs: number
  readonly startedUnixMs: number | null
  readonly endedUnixMs: number | null
  /** Window of stored calls, by arrival; null is the log's own beginning or end. */
  readonly fromUnixMs: number | null
  readonly toUnixMs: number | null
  /** 0..1 over all phases. */
  readonly progressRatio: number
  readonly detail: string
  /** In words, of a run that failed. */
  readonly error: string | null
  readonly pid: number | null
  /** Last sign of life. */
  readonly beatUnixMs: number | null
  /** How often a trainer took it up. */
  readonly attempts: number
  readonly cancelAskedBy: string | null
}

/** Of these models those that a run made, also where an earlier run had registered the same content before it. */
export function madeBy<M extends Pick<ModelRecord, 'kind' | 'version' | 'runId'>>(
  { runId, detail }: TrainingRun,
  models: readonly M[],
): M[] {
  const { made = [] } = JSON.parse(detail) as { readonly made?: readonly Pick<ModelRecord, 'kind' | 'version'>[] }
  return models.filter(
    (model) => model.runId === runId || made.some(({ kind, version }) => kind === model.kind && version === model.version),
  )
}

export interface TrainingLine {
  readonly line: number
  readonly atUnixMs: number
  readonly text: string
}

export interface TrainingPoint {
  readonly curve: string
  readonly x: number
  readonly y: number
}

export interface TrainingRuns {
  /** A run that waits for a trainer; gives its id. */
  append(run: {
    readonly askedBy: string
    readonly plan?: TrainingPlan
    readonly fromUnixMs?: number | undefined
    readonly toUnixMs?: number | undefined
  }): number
  get(runId: number): TrainingRun | undefined
  /** Newest first. */
  list(page: Page): TrainingRun[]
  /** Oldest first; those that wait or that some trainer, perhaps a dead one, took up. */
  unfinished(): TrainingRun[]
  /** Takes a waiting run, or a running one whose trainer died: true when it is ours now. Only who holds the trainers' lock may ask. */
  start(runId: number, pid: number): boolean
  /** Also a sign of life. */
  progress(runId: number, at: { readonly progressRatio: number; readonly phase: RunPhase; readonly detail: string }): void
  /** A sign of life; false when the run is to stop: it was cancelled, or ended by somebody else. */
  beat(runId: number): boolean
  say(runId: number, text: string): void
  plot(runId: number, points: readonly TrainingPoint[]): void
  /** In order, those after line `after` (−1: all), at most LINES_MAX. */
  lines(runId: number, after?: number): TrainingLine[]
  /** By curve, then x. */
  points(runId: number): TrainingPoint[]
  /** Asks a run to stop: one that waits is cancelled at once, one that runs by its trainer. False when it had ended. */
  cancel(runId: number, by: string): boolean
  /** Ends a run that is waiting or running; false when it had ended before. */
  end(runId: number, how: { readonly state: 'done' | 'failed' | 'cancelled'; readonly error?: string }): boolean
}

/** Lines given at once: a night says some hundred. */
const LINES_MAX = 2_000

const RUN = `run_id AS runId, state, phase, plan, asked_by AS askedBy, asked_unix_ms AS askedUnixMs, started_unix_ms AS startedUnixMs,
  ended_unix_ms AS endedUnixMs, from_unix_ms AS fromUnixMs, to_unix_ms AS toUnixMs, progress_ratio AS progressRatio, detail, error, pid,
  beat_unix_ms AS beatUnixMs, attempts, cancel_asked_by AS cancelAskedBy`

type Stored = Omit<TrainingRun, 'plan'> & { readonly plan: string }

const parsed = (stored: Stored): TrainingRun => ({ ...stored, plan: JSON.parse(stored.plan) as TrainingPlan })

/** Training runs as stored behind `door`. */
export function createTrainingRuns(door: Door, clock: Clock): TrainingRuns {
  const get = (runId: number): TrainingRun | undefined => {
    const stored = door.get<Stored>(`SELECT ${RUN} FROM training_run WHERE run_id = ?`, [runId])
    return stored && parsed(stored)
  }
  const end: TrainingRuns['end'] = (runId, { state, error }) => {
    const sql = `UPDATE training_run SET state = ?, error = ?, ended_unix_ms = ? WHERE run_id = ? AND state IN ('waiting', 'running')`
    return door.run(sql, [state, error ?? null, clock.nowUnixMs(), runId]).changes === 1
  }
  return {
    append({ askedBy, plan = { trigger: 'command' }, fromUnixMs, toUnixMs }) {
      const sql = `INSERT INTO training_run (state, asked_by, asked_unix_ms, from_unix_ms, to_unix_ms, plan) VALUES ('waiting', ?, ?, ?, ?, ?)`
      return door.run(sql, [askedBy, clock.nowUnixMs(), fromUnixMs ?? null, toUnixMs ?? null, JSON.stringify(plan)]).lastId
    },
    get,
    list({ beforeId, limit }) {
      const sql = `SELECT ${RUN} FROM training_run WHERE run_id < ? ORDER BY run_id DESC LIMIT ?`
      return door.all<Stored>(sql, [beforeId ?? Number.MAX_SAFE_INTEGER, pageLimit(limit)]).map(parsed)
    },
    unfinished: () => door.all<Stored>(`SELECT ${RUN} FROM training_run WHERE state IN ('waiting', 'running') ORDER BY run_id`).map(parsed),
    start(runId, pid) {
      const now = clock.nowUnixMs()
      const sql = `UPDATE training_run SET state = 'running', started_unix_ms = coalesce(started_unix_ms, ?), pid = ?, beat_unix_ms = ?,
        attempts = attempts + 1 WHERE run_id = ? AND state IN ('waiting', 'running')`
      return door.run(sql, [now, pid, now, runId]).changes === 1
    },
    progress(runId, { progressRatio, phase, detail }) {
      const sql = `UPDATE training_run SET progress_ratio = ?, phase = ?, detail = ?, beat_unix_ms = ? WHERE run_id = ? AND state = 'running'`
      door.run(sql, [progressRatio, phase, detail, clock.nowUnixMs(), runId])
    },
    beat(runId) {
      const sql = `UPDATE training_run SET beat_unix_ms = ? WHERE run_id = ? AND state = 'running' AND cancel_asked_by IS NULL`
      return door.run(sql, [clock.nowUnixMs(), runId]).changes === 1
    },
    say(runId, text) {
      const sql = `INSERT INTO training_line (run_id, line, at_unix_ms, text)
        VALUES (@runId, (SELECT coalesce(max(line), -1) + 1 FROM training_line WHERE run_id = @runId), @now, @text)`
      door.run(sql, { runId, now: clock.nowUnixMs(), text })
    },
    plot(runId, points) {
      const sql = `INSERT INTO training_point (run_id, curve, x, y) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET y = excluded.y`
      door.together(() => {
        for (const { curve, x, y } of points) if (Number.isFinite(y)) door.run(sql, [runId, curve, x, y])
      })
    },
    lines: (runId, after = -1) =>
      door.all<TrainingLine>(
        `SELECT line, at_unix_ms AS atUnixMs, text FROM training_line WHERE run_id = ? AND line > ? ORDER BY line LIMIT ${LINES_MAX}`,
        [runId, after],
      ),
    points: (runId) => door.all<TrainingPoint>('SELECT curve, x, y FROM training_point WHERE run_id = ? ORDER BY curve, x', [runId]),
    cancel(runId, by) {
      return door.together(() => {
        const run = get(runId)
        if (run?.state === 'waiting') return end(runId, { state: 'cancelled', error: `cancelled by ${by} before it began` })
        const sql = `UPDATE training_run SET cancel_asked_by = coalesce(cancel_asked_by, ?) WHERE run_id = ? AND state = 'running'`
        return door.run(sql, [by, runId]).changes === 1
      })
    },
    end,
  }
}
