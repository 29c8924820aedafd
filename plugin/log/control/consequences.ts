import type { Door } from './door.ts'
import { rememberFleetChange } from './fleet-changes.ts'
import { ACCEPT_CHANGE, forgetInstanceChange } from './instance-changes.ts'
import type { IntentRecord, IntentState } from './intents.ts'
import { rememberSwitch } from './kill-switch.ts'
import { undoPromotion } from './models.ts'
import { rememberSetAside } from './set-aside.ts'
import { endTrial, TRIAL_RUNNER } from './trials.ts'

/** What an answered intent changes besides its own row, in the same transaction. */
export interface Answered {
  readonly intent: IntentRecord
  readonly state: Exclude<IntentState, 'asked'>
  readonly text: string
  readonly nowUnixMs: number
}

/** A drain that was done is remembered; a promotion or trial that the router refused is undone. */
export function carryOut(door: Door, { intent, state, text, nowUnixMs }: Answered): void {
  const subject = (typeof intent.subject === 'object' && intent.subject !== null ? intent.subject : {}) as Readonly<Record<string, unknown>>
  if (state === 'done') {
    rememberDrain(door, intent, subject, nowUnixMs)
    rememberSwitch(door, intent, nowUnixMs)
    rememberSetAside(door, intent, nowUnixMs)
    rememberFleetChange(door, intent, nowUnixMs)
    if (intent.kind === ACCEPT_CHANGE && 'pool' in subject && 'instance' in subject)
      forgetInstanceChange(door, { pool: String(subject.pool), instance: String(subject.instance) })
  } else if (intent.kind === 'serve' && typeof subject.promotionId === 'number')
    undoPromotion(door, subject.promotionId, { why: text, nowUnixMs })
  else if (intent.kind === 'try' && typeof subject.trialId === 'number')
    endTrial(door, { trialId: subject.trialId, state: 'refused', by: TRIAL_RUNNER, why: text }, nowUnixMs)
}

function rememberDrain(door: Door, intent: IntentRecord, subject: Readonly<Record<string, unknown>>, nowUnixMs: number): void {
  if (!('pool' in subject) || !('instance' in subject)) return
  const at = [String(subject.pool), String(subject.instance)]
  if (intent.kind === 'undrain') door.run('DELETE FROM drained WHERE pool = ? AND instance = ?', at)
  else if (intent.kind === 'drain') {
    const sql = 'INSERT INTO drained (pool, instance, by, since_unix_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING'
    door.run(sql, [...at, intent.askedBy, nowUnixMs])
  }
}
