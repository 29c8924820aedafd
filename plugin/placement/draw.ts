import type { Rng } from '../rng.ts'
import type { Distribution, Policy, Reason } from './policy.ts'

/** What was drawn from a policy's distribution. */
export interface Draw {
  readonly index: number
  readonly propensity: number
  readonly explored: boolean
  readonly reason: Reason
}

/**
 * Exploration as a decorator of any policy: with probability ε a uniform draw, else the policy's own, so that each candidate's propensity is
 * (1 − ε)·p + ε/n. The draw counts as explored where it took the uniform branch. `out.probabilities` holds the true propensities afterwards. Throws when the
 * policy's probabilities are no distribution.
 */
export function drawExploring(parts: {
  readonly policy: Policy
  readonly out: Distribution
  readonly count: number
  readonly explorationRatio: number
  readonly rng: Rng
}): Draw {
  const { policy, count, rng } = parts
  const { probabilities } = parts.out
  assertDistribution(policy.name, probabilities, count)
  if (count === 1) return { index: 0, propensity: 1, explored: false, reason: 'only candidate' }
  const explored = parts.explorationRatio > 0 && rng.next() < parts.explorationRatio
  const index = explored ? rng.int(count) : drawIndex(probabilities, count, rng)
  const own = probabilities[index] as number
  for (let i = 0; i < count; i++)
    probabilities[i] = (1 - parts.explorationRatio) * (probabilities[i] as number) + parts.explorationRatio / count
  const tied = policy.reason === 'lowest cost' && own < 1
  const reason: Reason = explored ? 'explored' : tied ? 'tie broken at random' : policy.reason
  return { index, propensity: probabilities[index] as number, explored, reason }
}

function drawIndex(probabilities: Float64Array, count: number, rng: Rng): number {
  const target = rng.next()
  let sum = 0
  let last = 0
  for (let i = 0; i < count; i++) {
    const probability = probabilities[i] as number
    if (probability === 0) continue
    sum += probability
    last = i
    if (target < sum) return i
  }
  return last
}

function assertDistribution(policy: string, probabilities: Float64Array, count: number): void {
  let sum = 0
  for (let i = 0; i < count; i++) {
    const probability = probabilities[i] as number
    if (!(probability >= 0)) throw new Error(`${policy} gave probability ${probability}`)
    sum += probability
  }
  if (!(Math.abs(sum - 1) < 1e-6)) throw new Error(`${policy}'s probabilities sum to ${sum}`)
}
