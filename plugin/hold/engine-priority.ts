import { kvTokenSteps } from './hold-rules.ts'
import type { HeldCall } from './rule.ts'

/** Resolution: a call with 1 % more KV-time counts as 10 further back. */
const STEPS_PER_E = 1_000
/**
 * How much one second of arriving earlier is worth, as a logarithm: the aged key of the queue falls by 2·0.2/(1 + 0.2·s) per second, 0.4 at once and
 * 0.07 after twenty seconds. A number that is sent once cannot fall, so the arrival stands in it, at about the rate of the late waiters. Chosen.
 */
const AGE_E_PER_SECOND = 0.05
/** 2026-01-01 UTC: keeps the numbers small. Any fixed moment that all routers share will do. */
const EPOCH_UNIX_MS = 1_767_225_600_000

/**
 * The queue's order as one integer for an engine that schedules by priority, lower first (vLLM `--scheduling-policy priority`):
 *   priority = 1000 · (ln(d · (p + d/2)) + 0.05 · arrival in seconds)
 * Of two calls the one with the smaller number goes first at any moment, so that it needs no update while the calls wait.
 */
export function enginePriority(held: Pick<HeldCall, 'call' | 'promptTokens' | 'predictedOutputTokens'>): number {
  const arrivedSeconds = (held.call.arrivedUnixMs - EPOCH_UNIX_MS) / 1_000
  return Math.round(STEPS_PER_E * (Math.log(Math.max(1, kvTokenSteps(held))) + AGE_E_PER_SECOND * arrivedSeconds))
}
