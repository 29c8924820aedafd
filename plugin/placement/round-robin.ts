import type { Policy } from './policy.ts'

/** `round-robin`: a counter over the name-sorted candidates; it counts placements, explored ones too. */
export function createRoundRobin(): Policy {
  let turn = 0
  return {
    name: 'round-robin',
    reason: 'next in turn',
    distribute({ count }, _call, { costs, probabilities }) {
      costs.fill(Number.NaN, 0, count)
      probabilities.fill(0, 0, count)
      probabilities[turn % count] = 1
    },
    onPlaced() {
      turn = (turn + 1) % Number.MAX_SAFE_INTEGER
    },
  }
}
