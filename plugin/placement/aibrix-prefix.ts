import { createArgmin } from './argmin.ts'
import { cell, spreadOf } from './cell.ts'
import { AT } from './features.ts'
import type { Policy } from './policy.ts'

/** AIBrix's default: beyond this difference in flight only balance counts. */
const IMBALANCE_CALLS = 8

/**
 * `aibrix-prefix`: while max − min in flight > 8, only the minimum. Else the best prefix match among those with at most mean + 1 σ in flight, the fewer in
 * flight among equal matches.
 */
export function createAibrixPrefix(): Policy {
  return createArgmin('aibrix-prefix', (candidates, costs) => {
    const { least, most, mean, deviation } = spreadOf(candidates, AT.inFlight)
    const balanced = most - least <= IMBALANCE_CALLS
    // Below 1 even for the most loaded, so that it only breaks ties between matches a thousandth apart.
    const tie = 1 / (1_000 * (most + 1))
    for (let i = 0; i < candidates.count; i++) {
      const inFlight = cell(candidates, i, AT.inFlight)
      if (!balanced) costs[i] = inFlight
      else costs[i] = inFlight * tie - (inFlight <= mean + deviation ? cell(candidates, i, AT.prefixMatch) : -1)
    }
  })
}
