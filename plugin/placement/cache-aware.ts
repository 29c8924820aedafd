import { createArgmin } from './argmin.ts'
import { cell, spreadOf } from './cell.ts'
import { AT } from './features.ts'
import type { Candidates, Policy } from './policy.ts'

/** SGLang Model Gateway's defaults: out of balance beyond 64 calls and 1.5 times, and a match counts from 30 % of the prompt on. */
const BALANCE_CALLS = 64
const BALANCE_FACTOR = 1.5
const MATCH_RATIO = 0.3

/**
 * `cache-aware` (SGLang Model Gateway): while max − min in flight > 64 and max > 1.5 · min, the fewest in flight. Else the longest prefix match where it is
 * above 30 % of the prompt, without a look at the load; else the fewest in flight.
 */
export function createCacheAware(): Policy {
  return createArgmin('cache-aware', (candidates, costs) => {
    const { least, most } = spreadOf(candidates, AT.inFlight)
    const unbalanced = most - least > BALANCE_CALLS && most > BALANCE_FACTOR * least
    const byMatch = !unbalanced && longestMatch(candidates) > MATCH_RATIO
    for (let i = 0; i < candidates.count; i++) costs[i] = byMatch ? -cell(candidates, i, AT.prefixMatch) : cell(candidates, i, AT.inFlight)
  })
}

function longestMatch(candidates: Candidates): number {
  return spreadOf(candidates, AT.prefixMatch).most
}
