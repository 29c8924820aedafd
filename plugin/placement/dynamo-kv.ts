import { createArgmin } from './argmin.ts'
import { cell, uncachedTokens } from './cell.ts'
import { AT, CALL_AT } from './features.ts'
import type { Policy } from './policy.ts'

const BLOCK_TOKENS = 16

/**
 * `dynamo-kv` (NVIDIA Dynamo's KV router, both weights 1, temperature 0): argmin of the prefill blocks of (pending + own − overlap) plus the blocks of the
 * calls in flight.
 */
export function createDynamoKv(): Policy {
  return createArgmin('dynamo-kv', (candidates, costs) => {
    const prompt = candidates.callRow[CALL_AT.promptTokens] as number
    for (let i = 0; i < candidates.count; i++) {
      const prefill = cell(candidates, i, AT.prefillTokensPending) + uncachedTokens(prompt, cell(candidates, i, AT.prefixMatch))
      const decode = cell(candidates, i, AT.promptTokensInFlight) + cell(candidates, i, AT.outputTokensDone)
      costs[i] = (prefill + decode) / BLOCK_TOKENS
    }
  })
}
