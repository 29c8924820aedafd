import type { Call } from '../call/call.ts'
import type { InstanceView } from '../fleet/instance.ts'

/**
 * The instances that may take one call, with the row each policy sees. Struct of arrays, reused between calls: a policy reads it
 * during `distribute` and keeps nothing. Instances stand in name order.
 */
export interface Candidates {
  readonly count: number
  readonly instances: readonly InstanceView[]
  /** `count` rows of `CANDIDATE_COLUMNS.length` values; NaN is unknown. Row i starts at i × columns. */
  readonly rows: Float32Array
  /** One row of `CALL_COLUMNS.length` values. */
  readonly callRow: Float32Array
  /** Monotonic time of the decision, ms. */
  readonly nowMs: number
}

/** What a policy fills, one value per candidate; both arrays may be longer than `candidates.count`. */
export interface Distribution {
  /** What the policy minimises, lower is better; NaN where it weighs nothing. */
  readonly costs: Float64Array
  /** The probability with which the policy wants each candidate; they sum to 1. */
  readonly probabilities: Float64Array
}

/** Why an instance was chosen; shown as a sentence in the admin and counted in the metrics. */
export type Reason =
  | 'only candidate'
  | 'lowest cost'
  | 'tie broken at random'
  | 'better of two drawn'
  | 'next in turn'
  | 'drawn at random'
  | 'explored'
  | 'fallback policy'
  | 'switched off'
  | 'any reachable instance'

/**
 * The rule that turns candidates into a distribution over them; the router draws from it, so the logged propensity is the real
 * probability by construction (I8). A policy with `onPlaced` or `onSettled` keeps state: it is made once per router and pool, and is not asked what it would
 * have done.
 */
export interface Policy {
  readonly name: string
  /** Of the model where it is a learned one. */
  readonly version?: string
  /** The reason to give when its own wish is followed and nothing more special holds. */
  readonly reason: Reason
  /** The rule holds calls itself: they wait at the router, first come, first served, while every instance has more than so many waiting. */
  readonly hold?: { readonly waitingMax: number }
  /** Fills costs and probabilities for `candidates` (count ≥ 1). May throw: the router then asks the fallback policy and counts it. */
  distribute(candidates: Candidates, call: Call, out: Distribution): void
  onPlaced?(instance: InstanceView, call: Call, placed: Placed): void
  /** The same instance as in `onPlaced`, also where a fallback answered in the end. */
  onSettled?(instance: InstanceView, call: Call, settled: Settled): void
}

/** What a policy that keeps state is told when a call was placed. Tokens; NaN is unknown. */
export interface Placed {
  readonly nowMs: number
  readonly promptTokens: number
  readonly predictedOutputTokens: number
}

/** What a policy that keeps state is told when a call ended. NaN is unknown. */
export interface Settled {
  readonly nowMs: number
  /** The whole answer came, from the instance that was chosen first. */
  readonly completed: boolean
  /** The instance's own times: from its dispatch on, holding not included. */
  readonly ttftMs: number
  readonly tpotMs: number
  readonly e2eMs: number
  readonly promptTokens: number
  readonly outputTokens: number
}

/** The decision as it is logged and obeyed. */
export interface Placement {
  readonly instance: InstanceView
  /** Ordered: tried one after another when the instance fails before any byte reached the caller. */
  readonly fallbacks: readonly InstanceView[]
  readonly policy: string
  readonly reason: Reason
  /** Probability with which this instance was chosen among the candidates, exploration included (I8). */
  readonly propensity: number
  readonly explored: boolean
  /** Version of the learned policy, 'none' where a rule chose. */
  readonly policyVersion: string
  readonly lengthVersion: string
}
