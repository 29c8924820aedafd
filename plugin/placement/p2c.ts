import { AT, CANDIDATE_COLUMNS } from './features.ts'
import type { Policy } from './policy.ts'

/**
 * `p2c`: of two distinct random candidates the one with fewer in flight, ties at random (Mitzenmacher, 2001, "The power of two
 * choices in randomized load balancing"). Written as the distribution that this draw has: candidate i wins against each of the
 * more loaded and half of the equally loaded, out of n(n−1)/2 pairs.
 */
export function createP2c(): Policy {
  let sorted = new Float64Array(64)
  return {
    name: 'p2c',
    reason: 'better of two drawn',
    distribute({ count, rows }, _call, { costs, probabilities }) {
      for (let i = 0; i < count; i++) costs[i] = rows[i * CANDIDATE_COLUMNS.length + AT.inFlight] as number
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
        const below = lowerBound(order, own)
        const equal = lowerBound(order, own + 0.5) - below - 1
        probabilities[i] = (count - below - equal - 1 + equal / 2) / pairs
      }
    },
  }
}

/** How many of the sorted values are below `limit`. */
function lowerBound(sorted: Float64Array, limit: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((sorted[middle] as number) < limit) low = middle + 1
    else high = middle
  }
  return low
}
