import type { Call } from '../call/call.ts'
import type { InstanceView } from '../fleet/instance.ts'
import type { Rng } from '../rng.ts'

/**
 * The instances that may take one call, with the row each policy sees. Struct of arrays, reused between calls: a policy reads it
 * during `choose` and keeps nothing.
 */
export interface Candidates {
  readonly count: number
  readonly instances: readonly InstanceView[]
  /** `count` rows of `CANDIDATE_COLUMNS.length` values; NaN is unknown. Row i starts at i × columns. */
  readonly rows: Float32Array
  /** One row of `CALL_COLUMNS.length` values. */
  readonly callRow: Float32Array
}

/** A choice among candidates. `costs[i]` is what the policy minimises (lower is better), NaN where it computes none. */
export interface Choice {
  readonly index: number
  readonly reason: Reason
}

/** Why an instance was chosen; shown as a sentence in the admin and counted in the metrics. */
export type Reason =
  | 'only candidate'
  | 'lowest cost'
  | 'tie broken at random'
  | 'next in turn'
  | 'drawn at random'
  | 'explored'
  | 'fallback policy'
  | 'any reachable instance'

export interface PolicyContext {
  readonly call: Call
  readonly nowMs: number
  readonly rng: Rng
  /** Where the policy writes each candidate's cost; length ≥ candidates.count. */
  readonly costs: Float64Array
}

/**
 * The rule that turns candidates into a choice. Stateless ones are asked what they would have done; stateful ones
 * (`onPlaced`, `onSettled` present) are not.
 */
export interface Policy {
  readonly name: string
  /** Picks one of `candidates` (count ≥ 1). May throw: the router then asks the fallback policy and counts it. */
  choose(candidates: Candidates, context: PolicyContext): Choice
  /**
   * Probability that `choose` would pick each candidate here, written to `out`; absent where the choice is a function of the
   * rows alone up to random ties among equal costs (the router derives it from the costs).
   */
  probabilities?(candidates: Candidates, context: PolicyContext, out: Float64Array): void
  onPlaced?(instance: InstanceView, call: Call): void
  onSettled?(instance: InstanceView, call: Call): void
}

/** The decision as it is logged and obeyed. */
export interface Placement {
  readonly instance: InstanceView
  /** Ordered: tried one after another when the instance fails before any byte reached the caller. */
  readonly fallbacks: readonly InstanceView[]
  readonly policy: string
  readonly reason: Reason
  /** Probability with which this instance was chosen, exploration included (I8). */
  readonly propensity: number
  readonly explored: boolean
  /** Version of the learned policy, 'none' where a rule chose. */
  readonly policyVersion: string
  readonly lengthVersion: string
}
