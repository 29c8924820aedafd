import type { Call } from '../call/call.ts'
import type { InstanceView } from '../fleet/instance.ts'
import type { Rng } from '../rng.ts'
import { type Draw, drawExploring } from './draw.ts'
import type { Candidates, Distribution, Policy, Reason } from './policy.ts'
import { PolicyFailed } from './policy-failed.ts'
import { createRandom } from './random.ts'

/** What decides for one pool. */
export interface PoolPolicies {
  readonly policy: Policy
  readonly fallbackPolicy: Policy
  readonly explorationRatio: number
  /**
   * Canary: the policy places this share of the calls, 0 to 1, drawn per call; the fallback policy places the others and explores nothing. All where
   * absent. The propensity logged is that within the arm, which the policy's name tells.
   */
  readonly shareRatio?: number
}

/** Which candidate was drawn, by which policy, and why. */
export interface Choice {
  readonly draw: Draw
  readonly policy: Policy
  readonly reason: Reason
}

export interface ChoiceInput {
  readonly candidates: Candidates
  readonly out: Distribution
  readonly call: Call
  readonly policies: PoolPolicies
}

/**
 * Asks the policy and draws from its distribution; router and twin decide by this very code. A policy that throws is replaced by the
 * pool's fallback policy, and that one by an even draw: a broken rule costs quality, never a call. `count` is told of each.
 */
export function createChoose(parts: { readonly rng: Rng; readonly count: (what: string) => void }): (input: ChoiceInput) => Choice {
  const lastResort = createRandom()
  const draw = (input: ChoiceInput, policy: Policy, explorationRatio: number): Draw | undefined => {
    const { candidates, out } = input
    try {
      policy.distribute(candidates, input.call, out)
      return drawExploring({ policy, out, count: candidates.count, explorationRatio, rng: parts.rng })
    } catch (error) {
      parts.count(
        error instanceof PolicyFailed ? error.what : policy === input.policies.policy ? 'policy failed' : 'fallback policy failed',
      )
      return undefined
    }
  }
  return (input) => {
    const { policy, fallbackPolicy, explorationRatio, shareRatio } = input.policies
    const isOutside = shareRatio !== undefined && parts.rng.next() >= shareRatio
    const [arm, armExploration] = isOutside ? [fallbackPolicy, 0] : [policy, explorationRatio]
    const own = draw(input, arm, armExploration)
    if (own) return { draw: own, policy: arm, reason: own.reason }
    const fallback = draw(input, fallbackPolicy, 0)
    if (fallback) return { draw: fallback, policy: fallbackPolicy, reason: 'fallback policy' }
    const last = draw(input, lastResort, 0)
    if (!last) throw new Error('the even draw failed')
    return { draw: last, policy: lastResort, reason: 'any reachable instance' }
  }
}

/**
 * Fills `eligible` and returns how many there are: those that `accepts` lets through, less recovering instances that carry their share
 * already. A recovering instance looks the least loaded of all, so slow start caps it at its ratio of the others' mean in flight; not so
 * where the caller names whom it accepts.
 */
export function chooseEligible<T extends InstanceView>(given: {
  readonly instances: readonly T[]
  readonly count: number
  readonly accepts?: ((instance: T) => boolean) | undefined
  readonly eligible: T[]
}): number {
  const { instances, count, accepts, eligible } = given
  let inFlight = 0
  let recovering = 0
  for (let i = 0; i < count; i++) {
    const one = instances[i] as T
    if (one.slowStartRatio < 1) recovering++
    else inFlight += one.ledger.inFlight
  }
  const mean = count > recovering ? inFlight / (count - recovering) : 0
  let kept = 0
  for (let i = 0; i < count; i++) {
    const one = instances[i] as T
    if (accepts) {
      if (!accepts(one)) continue
    } else if (recovering < count && one.slowStartRatio < 1 && one.ledger.inFlight >= Math.max(1, Math.ceil(one.slowStartRatio * mean)))
      continue
    eligible[kept++] = one
  }
  return kept
}
