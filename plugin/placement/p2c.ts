import { cell } from './cell.ts'
import { AT } from './features.ts'
import type { Distribution, Policy } from './policy.ts'

/** `p2c`: of two distinct random candidates the one with fewer in flight, ties at random. */
export function createP2c(): Policy {
  const preferBetter = createBetterOfTwo()
  return {
    name: 'p2c',
    reason: 'better of two drawn',
    distribute(candidates, _call, out) {
      for (let i = 0; i < candidates.count; i++) out.costs[i] = cell(candidates, i, AT.inFlight)
      preferBetter(candidates.count, out)
    },
  }
}

/**
 * Two distinct candidates are drawn and the one of less cost is taken, ties at random (Mitzenmacher, 2001, "The power of two choices in randomized
 * load balancing"). Written as the distribution that this draw has: candidate i wins against each of the costlier and half of the equal, out of
 * n(n−1)/2 pairs. Costs must be known.
 */
export function createBetterOfTwo(): (count: number, out: Distribution) => void {
  let sorted = new Float64Array(64)
  return (count, { costs, probabilities }) => {
    if (count === 1) {
      probabilities[0] = 1
      return
    }
    if (sorted.length < count) sorted = new Float64Array(count * 2)
    const order = sorted.subarray(0, count)
    order.set(costs.subarray(0, count))
    order.sort()
    const pairs = (count * (count - 1)) / 2
    for (let i = 0; i < count; i++) {
      const own = costs[i] as number
      const below = countBefore(order, (value) => value < own)
      const equal = countBefore(order, (value) => value <= own) - below - 1
      probabilities[i] = (count - below - equal - 1 + equal / 2) / pairs
    }
  }
}

/** How many of the sorted values are `before`, which must hold for a leading part of them. */
function countBefore(sorted: Float64Array, before: (value: number) => boolean): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (before(sorted[middle] as number)) low = middle + 1
    else high = middle
  }
  return low
}
