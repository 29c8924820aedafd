import { createArgmin } from './argmin.ts'
import { cell } from './cell.ts'
import { AT } from './features.ts'
import type { Policy } from './policy.ts'

/** An instance without calls is freer than any other; its memory still counts among its like. */
const IDLE_CALLS = 1e-6

/**
 * `llumnix`: argmax of (free blocks − blocks of all waiting) ÷ (running + waiting), in tokens instead of blocks: free by the scrape's KV use, waiting by the ledger's
 * prompts without a first token, calls by the ledger where no scrape tells (Sun et al., OSDI 2024, "Llumnix"). Unknown capacity: the mean of the
 * others; nowhere known: the fewest tokens.
 */
export function createLlumnix(): Policy {
  return createArgmin('llumnix', (candidates, costs) => {
    const { count } = candidates
    const capacity = meanCapacity(candidates)
    for (let i = 0; i < count; i++) {
      const own = cell(candidates, i, AT.kvTokensCapacity)
      const tokens = own > 0 ? own : capacity
      const usedRatio = cell(candidates, i, AT.kvUsage)
      const waiting = cell(candidates, i, AT.prefillTokensPending)
      const used = Number.isNaN(usedRatio) ? cell(candidates, i, AT.kvTokensBelieved) - waiting : usedRatio * tokens
      const scraped = cell(candidates, i, AT.waiting) + cell(candidates, i, AT.running)
      const calls = Number.isNaN(scraped) ? cell(candidates, i, AT.inFlight) : scraped
      costs[i] = -(tokens - used - waiting) / Math.max(IDLE_CALLS, calls)
    }
  })
}

function meanCapacity(candidates: Parameters<typeof cell>[0]): number {
  let sum = 0
  let known = 0
  for (let i = 0; i < candidates.count; i++) {
    const tokens = cell(candidates, i, AT.kvTokensCapacity)
    if (!(tokens > 0)) continue
    sum += tokens
    known++
  }
  return known === 0 ? 0 : sum / known
}
