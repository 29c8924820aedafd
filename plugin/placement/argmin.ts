import type { Call } from '../call/call.ts'
import type { Candidates, Distribution, Policy } from './policy.ts'

/** Costs nearer than this share one minimum: costs are sums of counts and ratios, so anything below is rounding. */
const TIE = 1e-9

/** Spreads probability evenly over the candidates of least cost. NaN costs rank last; all NaN means all alike. */
export function preferLeast(count: number, { costs, probabilities }: Distribution): void {
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < count; i++) if ((costs[i] as number) < least) least = costs[i] as number
  const limit = least + TIE * Math.max(1, Math.abs(least))
  let ties = 0
  for (let i = 0; i < count; i++) if ((costs[i] as number) <= limit) ties++
  for (let i = 0; i < count; i++) probabilities[i] = ties === 0 ? 1 / count : (costs[i] as number) <= limit ? 1 / ties : 0
}

/** Gives unknown costs the mean of the known ones, so that a missing scrape neither attracts nor repels. */
export function fillUnknown(count: number, costs: Float64Array): void {
  let sum = 0
  let known = 0
  for (let i = 0; i < count; i++) {
    if (Number.isNaN(costs[i])) continue
    sum += costs[i] as number
    known++
  }
  if (known === count) return
  const mean = known === 0 ? 0 : sum / known
  for (let i = 0; i < count; i++) if (Number.isNaN(costs[i])) costs[i] = mean
}

/** A policy that takes the candidate of least cost, ties at random. Stateless unless `memory` is given. */
export function createArgmin(
  name: string,
  writeCosts: (candidates: Candidates, costs: Float64Array, call: Call) => void,
  memory: Pick<Policy, 'onPlaced' | 'onSettled'> = {},
): Policy {
  return {
    name,
    reason: 'lowest cost',
    distribute(candidates, call, out) {
      writeCosts(candidates, out.costs, call)
      preferLeast(candidates.count, out)
    },
    ...memory,
  }
}
