import type { Policy } from './policy.ts'
import { PolicyFailed } from './policy-failed.ts'

/**
 * A decision of this length is late: ten times what 512 candidates may take, and yet nothing a caller would notice. Chosen; one pause of the garbage
 * collector reaches it, hence so many in a row before anything is done about it.
 */
const LATE_MS = 10
const LATE_IN_A_ROW = 3
/** The circuit stays open so long before the policy is asked again. */
const OPEN_MS = 10_000

/** What a guard needs. */
export interface GuardParts {
  readonly policy: Policy
  /** Monotonic, ms. */
  readonly nowMs: () => number
}

/**
 * The policy behind a circuit (Nygard, 2018, "Release It!", ch. 5): synchronous code cannot be interrupted, so that lateness is noticed afterwards; three late answers in a row open the
 * circuit, and for ten seconds every decision throws PolicyFailed at once, which the router counts and answers by the fallback policy.
 */
export function createGuarded({ policy, nowMs }: GuardParts): Policy {
  let late = 0
  let openUntilMs = Number.NEGATIVE_INFINITY
  return {
    ...policy,
    distribute(candidates, call, out) {
      const beganMs = nowMs()
      if (beganMs < openUntilMs) throw new PolicyFailed('late')
      policy.distribute(candidates, call, out)
      const endedMs = nowMs()
      late = endedMs - beganMs > LATE_MS ? late + 1 : 0
      if (late < LATE_IN_A_ROW) return
      late = 0
      openUntilMs = endedMs + OPEN_MS
    },
  }
}

/** Stands where a model is missing or refused: every decision is the fallback policy's, and counted. */
export function createAbsent(name: string): Policy {
  return {
    name,
    reason: 'lowest cost',
    distribute() {
      throw new PolicyFailed('no model')
    },
  }
}
