import type { Clock } from '../../clock.ts'
import { addAudit } from './audit.ts'
import type { Door } from './door.ts'
import { addIntent, type Page, pageLimit } from './intents.ts'
import { type Asked, type ModelKind, profilesOf } from './models.ts'
import { addNotice } from './notices.ts'
import { RegistryRefused } from './refused.ts'

export type TrialMode = 'shadow' | 'canary'
export type TrialState = 'running' | 'ended' | 'withdrawn' | 'refused'

/**
 * Challengers tried on real calls, at most one of each kind. Shadow: each call is scored by them and nothing is obeyed. Canary: they serve whole blocks of time
 * (`shareRatio` of them, drawn from `seed`); the first `washoutMs` of a block count for neither arm, since calls of the block before still run.
 */
export interface Trial {
  readonly trialId: number
  readonly mode: TrialMode
  readonly state: TrialState
  readonly lengthModelId: number | null
  readonly policyModelId: number | null
  readonly profileModelId: number | null
  readonly shareRatio: number
  readonly blockMs: number
  readonly washoutMs: number
  /** After so many blocks the trial ends by itself; 0: when somebody ends it. */
  readonly blocksPlanned: number
  readonly seed: number
  readonly askedBy: string
  readonly startedUnixMs: number
  readonly endedUnixMs: number | null
  readonly endedBy: string | null
  readonly endedWhy: string | null
  /** JSON: the estimated gain, or what the guard saw. */
  readonly result: string | null
}

/** What the intents `try` and `end trial` say. */
export interface TrialSubject {
  readonly trialId: number
}

export interface TrialEnd {
  readonly trialId: number
  readonly state: 'ended' | 'withdrawn' | 'refused'
  readonly by: string
  readonly why: string
  readonly address?: string
}

export interface Trials {
  /**
   * Starts a trial, with its audit row and the router's intent, in one transaction. A policy brings the profiles that it goes with. Throws RegistryRefused
   * when one runs, or no model is named.
   */
  start(
    trial: Pick<Trial, 'mode' | 'shareRatio' | 'blockMs' | 'washoutMs' | 'blocksPlanned' | 'seed'> & {
      readonly models: Partial<Readonly<Record<ModelKind, number>>>
      readonly asked: Asked
    },
  ): { readonly trialId: number; readonly intentId: number }
  running(): Trial | undefined
  get(trialId: number): Trial | undefined
  /** Newest first. */
  list(page: Page): Trial[]
  /** Ends it, with its audit row; a withdrawal or refusal leaves a notice. False when it had ended. The router is told by intent unless it is who ends it. */
  end(end: TrialEnd): boolean
  setResult(trialId: number, result: string): void
}

const TRIAL = `trial_id AS trialId, mode, state, length_model_id AS lengthModelId, policy_model_id AS policyModelId,
  profile_model_id AS profileModelId, share_ratio AS shareRatio, block_ms AS blockMs, washout_ms AS washoutMs,
  blocks_planned AS blocksPlanned, seed, asked_by AS askedBy, started_unix_ms AS startedUnixMs, ended_unix_ms AS endedUnixMs,
  ended_by AS endedBy, ended_why AS endedWhy, result`

/** Who ends a trial without being told of it: the process that runs it. */
export const TRIAL_RUNNER = 'router'

/** Trials as stored behind `door`. */
export function createTrials(door: Door, clock: Clock): Trials {
  const running = (): Trial | undefined => door.get<Trial>(`SELECT ${TRIAL} FROM trial WHERE state = 'running'`)
  return {
    start({ mode, models, shareRatio, blockMs, washoutMs, blocksPlanned, seed, asked }) {
      return door.together(() => {
        const now = clock.nowUnixMs()
        const other = running()
        if (other) throw new RegistryRefused(`${other.mode} ${other.trialId} runs: end it first`)
        const profile = models.profile ?? (models.policy === undefined ? undefined : profilesOf(door, models.policy)?.modelId)
        const ids = [models.length ?? null, models.policy ?? null, profile ?? null]
        if (ids.every((id) => id === null)) throw new RegistryRefused('a trial needs a model to try')
        const sql = `INSERT INTO trial (mode, state, length_model_id, policy_model_id, profile_model_id, share_ratio, block_ms, washout_ms,
          blocks_planned, seed, asked_by, started_unix_ms) VALUES (?, 'running', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
        const plan = [shareRatio, blockMs, washoutMs, blocksPlanned, seed]
        const trialId = door.run(sql, [mode, ...ids, ...plan, asked.who, now]).lastId
        const told = `${ids.filter((id) => id !== null).join(', ')}: ${asked.why}`
        const { who, address = '' } = asked
        addAudit(door, { who, address, action: `start ${mode}`, subject: `trial ${trialId}`, after: told }, now)
        const subject: TrialSubject = { trialId }
        return { trialId, intentId: addIntent(door, { kind: 'try', subject, askedBy: who }, now) }
      })
    },
    running,
    get: (trialId) => door.get<Trial>(`SELECT ${TRIAL} FROM trial WHERE trial_id = ?`, [trialId]),
    list: ({ beforeId, limit }) =>
      door.all<Trial>(`SELECT ${TRIAL} FROM trial WHERE trial_id < ? ORDER BY trial_id DESC LIMIT ?`, [
        beforeId ?? Number.MAX_SAFE_INTEGER,
        pageLimit(limit),
      ]),
    end: (end) => door.together(() => endTrial(door, end, clock.nowUnixMs())),
    setResult: (trialId, result) => void door.run('UPDATE trial SET result = ? WHERE trial_id = ?', [result, trialId]),
  }
}

/** Ends a running trial, audit and notice with it; false when it had ended. */
export function endTrial(door: Door, { trialId, state, by, why, address = '' }: TrialEnd, nowUnixMs: number): boolean {
  const sql = `UPDATE trial SET state = ?, ended_unix_ms = ?, ended_by = ?, ended_why = ? WHERE trial_id = ? AND state = 'running'`
  if (door.run(sql, [state, nowUnixMs, by, why, trialId]).changes === 0) return false
  const { mode } = door.get<{ mode: TrialMode }>('SELECT mode FROM trial WHERE trial_id = ?', [trialId]) ?? { mode: 'canary' }
  const done = state === 'withdrawn' ? 'withdraw' : state === 'refused' ? 'refuse' : 'end'
  addAudit(door, { who: by, address, action: `${done} ${mode}`, subject: `trial ${trialId}`, before: 'running', after: why }, nowUnixMs)
  if (state !== 'ended') {
    const text = `${mode === 'canary' ? 'Canary' : 'Shadow'} ${trialId} was ${state}: ${why}`
    addNotice(door, { tone: 'bad', text, href: '/models' }, nowUnixMs)
  }
  if (by !== TRIAL_RUNNER) addIntent(door, { kind: 'end trial', subject: { trialId } satisfies TrialSubject, askedBy: by }, nowUnixMs)
  return true
}
