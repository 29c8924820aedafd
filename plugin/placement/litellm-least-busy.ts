import { cell } from './cell.ts'
import { AT } from './features.ts'
import type { Policy } from './policy.ts'

/** `litellm-least-busy`: strictly the fewest in flight, the first in name order among equals. */
export function createLitellmLeastBusy(): Policy {
  return {
    name: 'litellm-least-busy',
    reason: 'lowest cost',
    distribute(candidates, _call, { costs, probabilities }) {
      let first = 0
      for (let i = 0; i < candidates.count; i++) {
        costs[i] = cell(candidates, i, AT.inFlight)
        if ((costs[i] as number) < (costs[first] as number)) first = i
      }
      probabilities.fill(0, 0, candidates.count)
      probabilities[first] = 1
    },
  }
}
