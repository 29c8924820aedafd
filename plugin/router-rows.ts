import type { Call } from './call/call.ts'
import { packCumulative } from './call/length-axis.ts'
import type { LiveInstance } from './fleet/fleet.ts'
import { type CallRow, type CandidatesRow, type DecisionRow, LOGGED_PREFIX_BLOCKS_MAX } from './log/rows.ts'
import type { Outcome } from './outcome/outcome.ts'
import type { CallFacts } from './placement/candidates.ts'
import { CALL_COLUMNS, CANDIDATE_COLUMNS, type Column } from './placement/features.ts'
import type { LengthPrediction } from './prediction/length-predictor.ts'
import type { Features, Preview } from './router.ts'
import { type Decision, keyOf } from './router-decide.ts'
import type { LiveTicket } from './router-ticket.ts'

/** Estimates of a call, with what predicted its length. */
export type Known = CallFacts & { readonly lengthVersion: string; readonly prediction?: LengthPrediction }

export interface Describing {
  readonly decision: Decision
  readonly known: Known
  /** What estimates and decision took; holding is not in it. */
  readonly decisionMs: number
  readonly heldMs: number
  /** From arrival to the placement. */
  readonly placedMs: number
}

/** The decision as it is logged. */
export function describeDecision({ decision, known, decisionMs, heldMs, placedMs }: Describing): DecisionRow {
  const { placement, instance } = decision
  const output = known.predictedOutputTokens
  return {
    policy: placement.policy,
    reason: placement.reason,
    propensity: placement.propensity,
    explored: placement.explored,
    policyVersion: placement.policyVersion,
    lengthVersion: placement.lengthVersion,
    decisionUs: decisionMs * 1_000,
    heldMs,
    promptTokensEstimate: known.promptTokens,
    ...(Number.isNaN(output) ? {} : { predictedOutputTokens: output }),
    ...describeLength(known.prediction),
    ...expectLatency(instance, output),
    placedMs,
  }
}

function describeLength(prediction: LengthPrediction | undefined): Pick<DecisionRow, 'lengthSource' | 'predictedLength'> {
  const { source, distribution } = prediction ?? {}
  return {
    ...(source === undefined ? {} : { lengthSource: source }),
    ...(distribution === undefined ? {} : { predictedLength: packCumulative(distribution.cumulative) }),
  }
}

/** What recent calls on that instance lead one to expect: its mean TTFT, and that plus its mean TPOT for each further token. */
function expectLatency(instance: LiveInstance, outputTokens: number): { predictedTtftMs?: number; predictedE2eMs?: number } {
  const { recentTtftMs, recentTpotMs } = instance
  if (Number.isNaN(recentTtftMs)) return {}
  const e2eMs = recentTtftMs + Math.max(0, outputTokens - 1) * recentTpotMs
  return { predictedTtftMs: recentTtftMs, ...(Number.isNaN(e2eMs) ? {} : { predictedE2eMs: e2eMs }) }
}

function callColumns(call: Call): CallRow['call'] {
  const { callId, arrivedUnixMs, api, model, stream, promptBytes, caller } = call
  const { maxTokens, systemHash } = call.request
  return { callId, arrivedUnixMs, api, model, stream, promptBytes, caller, systemHash, ...(maxTokens === undefined ? {} : { maxTokens }) }
}

/** A call that was never placed, and why. */
export interface Unplaced {
  readonly call: Call
  readonly gateway: string
  readonly pool: { readonly name: string; readonly policy: string }
  readonly known: Known
  readonly elapsedMs: number
  readonly heldMs: number
  readonly outcome: Pick<Outcome, 'kind' | 'status' | 'error'>
}

/** A call that no instance could take is a call all the same: it stands in the log. */
export function unplacedRow({ call, gateway, pool, known, elapsedMs, heldMs, outcome }: Unplaced): CallRow {
  return {
    kind: 'call',
    gateway,
    pool: pool.name,
    call: callColumns(call),
    decision: {
      policy: pool.policy,
      reason: 'any reachable instance',
      propensity: 1,
      explored: false,
      policyVersion: 'none',
      lengthVersion: known.lengthVersion,
      decisionUs: (elapsedMs - heldMs) * 1_000,
      heldMs,
      promptTokensEstimate: known.promptTokens,
      placedMs: elapsedMs,
    },
    attempts: [],
    outcome: { ...outcome, e2eMs: elapsedMs, censored: true },
  }
}

/** A settled call. */
export function settledRow(ticket: LiveTicket, outcome: Outcome, { textFeatures }: { readonly textFeatures: boolean }): CallRow {
  const { call, gateway, decision, decisionRow, known, trial, shadow } = ticket.input
  const seen = known.prediction?.seen
  return {
    kind: 'call',
    gateway,
    pool: ticket.pool.name,
    call: callColumns(call),
    ...(textFeatures && call.textFeatures.length > 0 ? { textFeatures: call.textFeatures } : {}),
    ...(textFeatures && call.prefixBlocks.length > 0 ? { prefixBlocks: loggedBlocks(call.prefixBlocks) } : {}),
    ...(textFeatures && seen ? { lengthRow: { featureHash: seen.model.featureHash, row: bitsOf(seen.row) } } : {}),
    instance: keyOf(ticket.instance),
    decision: decisionRow,
    candidates: decision.candidates,
    ...(trial ? { trial } : {}),
    ...(shadow ? { shadow } : {}),
    attempts: ticket.attempts,
    outcome,
  }
}

/** The half-precision numbers as they are stored: a view, not a copy. */
function bitsOf(row: Float16Array): Uint16Array {
  return new Uint16Array(row.buffer as ArrayBuffer, row.byteOffset, row.length)
}

/** What the log keeps of the prompt's blocks: enough to tell which calls shared a beginning. */
function loggedBlocks(prefixBlocks: BigUint64Array): Uint32Array {
  return Uint32Array.from({ length: Math.min(prefixBlocks.length, LOGGED_PREFIX_BLOCKS_MAX) }, (_, i) =>
    Number(BigInt.asUintN(32, prefixBlocks[i] as bigint)),
  )
}

/** A decision's rows with their columns' names, for whoever does not know the order. */
export function namedRows({ features, instances, costs }: CandidatesRow): Pick<Preview, 'callFeatures' | 'weighed'> {
  const named = (columns: readonly Column[], from: number): Features =>
    Object.fromEntries(columns.map(({ name }, i) => [name, features[from + i] ?? Number.NaN]))
  return {
    callFeatures: named(CALL_COLUMNS, 0),
    weighed: instances.map(({ name }, i) => ({
      instance: name,
      cost: costs[i] ?? Number.NaN,
      features: named(CANDIDATE_COLUMNS, CALL_COLUMNS.length + i * CANDIDATE_COLUMNS.length),
    })),
  }
}
