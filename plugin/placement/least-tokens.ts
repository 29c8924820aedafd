import { createArgmin } from './argmin.ts'
import { AT, CANDIDATE_COLUMNS } from './features.ts'
import type { Policy } from './policy.ts'

/** Output guessed per prompt token where nothing predicts it; the factor of the rule this reproduces. */
const OUTPUT_PER_PROMPT_TOKEN = 1.5

/**
 * `least-tokens`: argmin of Σ (prompt until its first token + round(1.5 · prompt)) over the calls in flight. The rounding is of the
 * sum, not of each call: at most half a token per call apart.
 */
export function createLeastTokens(): Policy {
  return createArgmin('least-tokens', ({ count, rows }, costs) => {
    for (let i = 0; i < count; i++) {
      const at = i * CANDIDATE_COLUMNS.length
      const guessed = Math.round(OUTPUT_PER_PROMPT_TOKEN * (rows[at + AT.promptTokensInFlight] as number))
      costs[i] = (rows[at + AT.prefillTokensPending] as number) + guessed
    }
  })
}
