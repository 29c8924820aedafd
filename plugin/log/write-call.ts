import type Database from 'better-sqlite3'
import { blobOf } from './blob.ts'
import type { SqlValue } from './read/reader.ts'
import type { AttemptRow, CallRow, InstanceKey } from './rows.ts'

/** Id of an instance in `instance`, made when it is new. */
export type InstanceIds = (key: InstanceKey, seenUnixMs: number) => number

type CallColumn = readonly [column: string, value: (row: CallRow, ids: RowIds) => SqlValue]

interface RowIds {
  readonly instanceId: number | null
  readonly shadowInstanceId: number | null
}

/** Each column of `call` beside where it comes from, so that the two cannot drift apart. */
const CALL: readonly CallColumn[] = [
  ['call_id', (row) => row.call.callId],
  ['arrived_unix_ms', (row) => Math.floor(row.call.arrivedUnixMs)],
  ['gateway', (row) => row.gateway],
  ['api', (row) => row.call.api],
  ['pool', (row) => row.pool],
  ['model', (row) => row.call.model],
  ['application', (row) => row.call.caller.application],
  ['tenant', (row) => row.call.caller.tenant],
  ['task', (row) => row.call.caller.task ?? null],
  ['stream', (row) => flag(row.call.stream)],
  ['prompt_bytes', (row) => row.call.promptBytes],
  ['prompt_tokens_estimate', (row) => row.decision.promptTokensEstimate],
  ['max_tokens', (row) => whole(row.call.maxTokens)],
  ['instance_id', (_, { instanceId }) => instanceId],
  ['policy', (row) => row.decision.policy],
  ['reason', (row) => row.decision.reason],
  ['propensity', (row) => row.decision.propensity],
  ['explored', (row) => flag(row.decision.explored)],
  ['policy_version', (row) => row.decision.policyVersion],
  ['length_version', (row) => row.decision.lengthVersion],
  ['decision_us', (row) => row.decision.decisionUs],
  ['held_ms', (row) => row.decision.heldMs],
  ['predicted_output_tokens', (row) => row.decision.predictedOutputTokens ?? null],
  ['predicted_ttft_ms', (row) => row.decision.predictedTtftMs ?? null],
  ['predicted_e2e_ms', (row) => row.decision.predictedE2eMs ?? null],
  ['outcome', (row) => row.outcome.kind],
  ['status', (row) => whole(row.outcome.status)],
  ['error', (row) => row.outcome.error ?? null],
  ['attempts', (row) => row.attempts.length],
  ['placed_ms', (row) => row.decision.placedMs],
  ['ttft_ms', (row) => row.outcome.ttftMs ?? null],
  ['tpot_ms', (row) => row.outcome.tpotMs ?? null],
  ['e2e_ms', (row) => row.outcome.e2eMs],
  ['prompt_tokens', (row) => whole(row.outcome.promptTokens)],
  ['cached_prompt_tokens', (row) => whole(row.outcome.cachedPromptTokens)],
  ['output_tokens', (row) => whole(row.outcome.outputTokens)],
  ['tokens_from', (row) => row.outcome.tokensFrom ?? null],
  ['censored', (row) => flag(row.outcome.censored)],
  ['finish_reason', (row) => row.outcome.finishReason ?? null],
  ['text_features', (row) => (row.textFeatures === undefined || row.textFeatures.length === 0 ? null : blobOf(row.textFeatures))],
  ['length_source', (row) => row.decision.lengthSource ?? null],
  ['predicted_length', (row) => (row.decision.predictedLength === undefined ? null : blobOf(row.decision.predictedLength))],
  ['length_feature_hash', (row) => row.lengthRow?.featureHash ?? null],
  ['length_row', (row) => (row.lengthRow === undefined ? null : blobOf(row.lengthRow.row))],
  ['system_hash', (row) => row.call.systemHash ?? null],
  ['prefix_blocks', (row) => (row.prefixBlocks === undefined || row.prefixBlocks.length === 0 ? null : blobOf(row.prefixBlocks))],
  ['trial_id', (row) => row.trial?.trialId ?? null],
  ['block', (row) => row.trial?.block ?? null],
  ['arm', (row) => row.trial?.arm ?? null],
  ['washout', (row) => (row.trial?.washout === undefined ? null : flag(row.trial.washout))],
  ['shadow_instance_id', (_, { shadowInstanceId }) => shadowInstanceId],
  ['shadow_output_tokens', (row) => row.shadow?.outputTokens ?? null],
]

/** Writes a call with its candidates and attempts; gives the id of the instance it was placed on, null where there was none. */
export type CallWriter = (row: CallRow) => number | null

/** A CallWriter for `database`, its statements prepared. */
export function createCallWriter(parts: { readonly database: Database.Database; readonly instanceIds: InstanceIds }): CallWriter {
  const { database, instanceIds } = parts
  const columns = CALL.map(([column]) => column)
  const insertCall = database.prepare(`INSERT INTO call (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`)
  const insertCandidate = database.prepare(
    'INSERT INTO candidate (call_id, feature_hash, count, total, instances, features, costs) VALUES (?, ?, ?, ?, ?, ?, ?)',
  )
  const insertAttempt = database.prepare(
    'INSERT INTO attempt (call_id, attempt, instance_id, started_ms, ended_ms, outcome, error) VALUES (?, ?, ?, ?, ?, ?, ?)',
  )
  return (row) => {
    const { callId, arrivedUnixMs } = row.call
    const instanceId = row.instance === undefined ? null : instanceIds(row.instance, arrivedUnixMs)
    const { candidates, shadow } = row
    const ids = { instanceId, shadowInstanceId: shadow?.instance === undefined ? null : instanceIds(shadow.instance, arrivedUnixMs) }
    insertCall.run(CALL.map(([, value]) => value(row, ids)))
    if (candidates !== undefined) {
      const those = candidates.instances.map((key) => instanceIds(key, arrivedUnixMs))
      const blobs = [blobOf(candidates.features), blobOf(candidates.costs)]
      insertCandidate.run([callId, candidates.featureHash, those.length, candidates.total, JSON.stringify(those), ...blobs])
    }
    row.attempts.forEach((attempt: AttemptRow, index) => {
      const at = [attempt.startedMs, attempt.endedMs, attempt.outcome, attempt.error ?? null]
      insertAttempt.run([callId, index + 1, instanceIds(attempt.instance, arrivedUnixMs), ...at])
    })
    return instanceId
  }
}

function flag(value: boolean): number {
  return value ? 1 : 0
}

/** A count as SQLite's strict INTEGER takes it; unknown is NULL. */
function whole(value: number | undefined): number | null {
  return value === undefined || !Number.isFinite(value) ? null : Math.round(value)
}
