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
  /** Its queue is short enough: a call starts while this holds for at least one instance that has room for it. */
  isReady(instance: HoldInstance): boolean
  /** KV tokens that may be started on the instance now: ≤ 0 is none, Infinity is any. No call starts where it finds no room. */
  roomTokens(instance: HoldInstance): number
  /** A call may start only where `isReady` holds; else, once one is ready, wherever there is room: which queue to join is the policy's choice. */
  readonly readyOnly: boolean
  /** KV tokens that the call takes of that room when it starts. */
  demandTokens(held: HeldCall): number
  /** The smallest goes first. `fixed` is what `fixedKey` said when the call came. */
  key(held: HeldCall, nowMs: number, fixed: number): number
  /** The part of the key that stays while the call waits; 0 without. */
  fixedKey?(held: HeldCall): number
  /** Takes fleet and queue in before calls are asked about; `instances` stay valid until the next look. */
  look?(seen: HoldView): void
  /** Whether the call may start on the instance at this place of the last look, beyond room and readiness. */
  opens?(held: HeldCall, index: number): boolean
}

/** What a rule sees before it says who may start. */
export interface HoldView {
  /** The first `count` entries. */
  readonly instances: readonly HoldInstance[]
  readonly count: number
  /** Calls that wait, and how long one that comes now would wait in turn. */
  readonly held: number
  readonly inTurnMs: number
  readonly nowMs: number
}
