import { createArgmin } from './argmin.ts'
import { cell, spreadOf } from './cell.ts'
import { AT } from './features.ts'
import type { Policy } from './policy.ts'

/**
 * `selective-push` (SkyWalker): a call waits at the router and is pushed only to an instance where nobody waits; among those the longest prefix match,
 * then the fewest in flight. What it demands of the queue stands in `hold`.
 */
export function createSelectivePush(): Policy {
  const policy = createArgmin('selective-push', (candidates, costs) => {
    // Below 1 even for the most loaded, so that it only breaks ties between matches a thousandth apart.
    const tie = 1 / (1_000 * (spreadOf(candidates, AT.inFlight).most + 1))
    for (let i = 0; i < candidates.count; i++) costs[i] = cell(candidates, i, AT.inFlight) * tie - cell(candidates, i, AT.prefixMatch)
  })
  return { ...policy, hold: { waitingMax: 0 } }
}
