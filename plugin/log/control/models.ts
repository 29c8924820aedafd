import type { Clock } from '../../clock.ts'
import type { Door } from './door.ts'
import { type Page, pageLimit } from './intents.ts'

export type ModelKind = 'length' | 'policy' | 'profile'
export type ModelAlias = 'champion' | 'challenger' | 'previous'

/** A trained version. `card` is JSON; `featureHash` names the column list it was trained on, null where it reads none. */
export interface ModelRecord {
  readonly modelId: number
  readonly kind: ModelKind
  readonly version: string
  readonly sha256: string
  readonly featureHash: string | null
  readonly card: string
  readonly alias: ModelAlias | null
  readonly registeredUnixMs: number
}

export interface Models {
  /** Throws when this kind has that version already. */
  register(model: Pick<ModelRecord, 'kind' | 'version' | 'sha256' | 'featureHash' | 'card'>): number
  /** Newest first. */
  list(kind?: ModelKind): ModelRecord[]
  get(modelId: number): ModelRecord | undefined
  withAlias(kind: ModelKind, alias: ModelAlias): ModelRecord | undefined
  /** Moves the alias to this model; whoever of its kind had it has none now. A new champion makes the old one `previous`. */
  setAlias(modelId: number, alias: ModelAlias): void
  clearAlias(modelId: number): void
}

export type RunState = 'waiting' | 'running' | 'done' | 'failed' | 'cancelled'

/** One night's training. `detail` is JSON, renewed while it runs. */
export interface TrainingRun {
  readonly runId: number
  readonly state: RunState
  readonly askedBy: string
  readonly askedUnixMs: number
  readonly startedUnixMs: number | null
  readonly endedUnixMs: number | null
  readonly fromUnixMs: number | null
  readonly toUnixMs: number | null
  readonly progressRatio: number
  readonly detail: string
  readonly error: string | null
}

export interface TrainingRuns {
  append(run: { readonly askedBy: string; readonly fromUnixMs?: number; readonly toUnixMs?: number }): number
  get(runId: number): TrainingRun | undefined
  /** Newest first. */
  list(page: Page): TrainingRun[]
  /** Takes a waiting run: true when it is ours to run now, false when somebody has it or it was cancelled. */
  start(runId: number): boolean
  progress(runId: number, at: { readonly progressRatio: number; readonly detail: string }): void
  /** Ends a run that is waiting or running; false when it had ended before. */
  end(runId: number, how: { readonly state: 'done' | 'failed' | 'cancelled'; readonly error?: string }): boolean
}

const MODEL = `model_id AS modelId, kind, version, sha256, feature_hash AS featureHash, card, alias, registered_unix_ms AS registeredUnixMs`
const RUN = `run_id AS runId, state, asked_by AS askedBy, asked_unix_ms AS askedUnixMs, started_unix_ms AS startedUnixMs,
  ended_unix_ms AS endedUnixMs, from_unix_ms AS fromUnixMs, to_unix_ms AS toUnixMs, progress_ratio AS progressRatio, detail, error`

/** The registry of trained versions as stored behind `door`. */
export function createModels(door: Door, clock: Clock): Models {
  const get = (modelId: number): ModelRecord | undefined =>
    door.get<ModelRecord>(`SELECT ${MODEL} FROM model WHERE model_id = ?`, [modelId])
  const withAlias = (kind: ModelKind, alias: ModelAlias): ModelRecord | undefined =>
    door.get<ModelRecord>(`SELECT ${MODEL} FROM model WHERE kind = ? AND alias = ?`, [kind, alias])
  const mark = (modelId: number, alias: ModelAlias | null): void =>
    void door.run('UPDATE model SET alias = ? WHERE model_id = ?', [alias, modelId])
  return {
    register({ kind, version, sha256, featureHash, card }) {
      const sql = 'INSERT INTO model (kind, version, sha256, feature_hash, card, registered_unix_ms) VALUES (?, ?, ?, ?, ?, ?)'
      return door.run(sql, [kind, version, sha256, featureHash, card, clock.nowUnixMs()]).lastId
    },
    list(kind) {
      return door.all<ModelRecord>(`SELECT ${MODEL} FROM model WHERE (@kind IS NULL OR kind = @kind) ORDER BY model_id DESC`, {
        kind: kind ?? null,
      })
    },
    get,
    withAlias,
    setAlias(modelId, alias) {
      door.together(() => {
        const model = get(modelId)
        if (model === undefined) throw new Error(`there is no model ${modelId}`)
        const holder = withAlias(model.kind, alias)
        if (holder?.modelId === modelId) return
        if (alias === 'champion' && holder !== undefined) {
          const older = withAlias(model.kind, 'previous')
          if (older !== undefined) mark(older.modelId, null)
        }
        if (holder !== undefined) mark(holder.modelId, alias === 'champion' ? 'previous' : null)
        mark(modelId, alias)
      })
    },
    clearAlias: (modelId) => mark(modelId, null),
  }
}

/** Training runs as stored behind `door`. */
export function createTrainingRuns(door: Door, clock: Clock): TrainingRuns {
  return {
    append({ askedBy, fromUnixMs, toUnixMs }) {
      const sql = `INSERT INTO training_run (state, asked_by, asked_unix_ms, from_unix_ms, to_unix_ms) VALUES ('waiting', ?, ?, ?, ?)`
      return door.run(sql, [askedBy, clock.nowUnixMs(), fromUnixMs ?? null, toUnixMs ?? null]).lastId
    },
    get: (runId) => door.get<TrainingRun>(`SELECT ${RUN} FROM training_run WHERE run_id = ?`, [runId]),
    list({ beforeId, limit }) {
      const sql = `SELECT ${RUN} FROM training_run WHERE run_id < ? ORDER BY run_id DESC LIMIT ?`
      return door.all<TrainingRun>(sql, [beforeId ?? Number.MAX_SAFE_INTEGER, pageLimit(limit)])
    },
    start(runId) {
      const sql = `UPDATE training_run SET state = 'running', started_unix_ms = ? WHERE run_id = ? AND state = 'waiting'`
      return door.run(sql, [clock.nowUnixMs(), runId]).changes === 1
    },
    progress(runId, { progressRatio, detail }) {
      door.run(`UPDATE training_run SET progress_ratio = ?, detail = ? WHERE run_id = ? AND state = 'running'`, [
        progressRatio,
        detail,
        runId,
      ])
    },
    end(runId, { state, error }) {
      const sql = `UPDATE training_run SET state = ?, error = ?, ended_unix_ms = ? WHERE run_id = ? AND state IN ('waiting', 'running')`
      return door.run(sql, [state, error ?? null, clock.nowUnixMs(), runId]).changes === 1
    },
  }
}
