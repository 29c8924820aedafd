import type { Call } from '../call/call.ts'
import type { Candidates } from '../placement/policy.ts'

/** An instance as the rules of holding see it. */
export type HoldInstance = Candidates['instances'][number]

/** What the queue knows of a call it holds. Tokens; NaN is unknown. */
export interface HeldCall {
  readonly call: Call
  readonly promptTokens: number
  readonly predictedOutputTokens: number
  /** Monotonic time of arrival: the wait that ages a call counts from here. */
  readonly arrivedMs: number
  /** Instances that may take it, where not all may. */
  readonly accepts?: (instance: HoldInstance) => boolean
}

/**
 * When held calls may start and in which order. Pure functions of the ledger's belief corrected by the scrape, never of anything that
 * only an engine knows.
 */
export interface HoldRule {
  readonly name: string
  /** KV tokens that may be started on the instance now: ≤ 0 closes it, Infinity opens it to any call. */
  roomTokens(instance: HoldInstance): number
  /** KV tokens that the call takes of that room when it starts. */
  demandTokens(held: HeldCall): number
  /** The smallest goes first. */
  key(held: HeldCall, nowMs: number): number
}
