import { createArgmin } from './argmin.ts'
import { cell, uncachedTokens } from './cell.ts'
import { AT, CALL_AT } from './features.ts'
import type { Policy } from './policy.ts'

/** `lmetric`: argmin of (pending prefill tokens + own uncached) · (batch + 1): no knobs. */
export function createLmetric(): Policy {
  return createArgmin('lmetric', (candidates, costs) => {
    const prompt = candidates.callRow[CALL_AT.promptTokens] as number
    for (let i = 0; i < candidates.count; i++) {
      const prefill = cell(candidates, i, AT.prefillTokensPending) + uncachedTokens(prompt, cell(candidates, i, AT.prefixMatch))
      costs[i] = prefill * (cell(candidates, i, AT.inFlight) + 1)
    }
  })
}
