import { createArgmin } from './argmin.ts'
import { cell } from './cell.ts'
import { AT } from './features.ts'
import type { Policy } from './policy.ts'

/** Output guessed per prompt token where nothing predicts it; the factor of the rule this reproduces. */
const OUTPUT_PER_PROMPT_TOKEN = 1.5

/**
 * `least-tokens`: argmin of Σ (prompt until its first token + round(1.5 · prompt)) over the calls in flight. The rounding is of the
 * sum, not of each call: at most half a token per call apart.
 */
export function createLeastTokens(): Policy {
  return createArgmin('least-tokens', (candidates, costs) => {
    for (let i = 0; i < candidates.count; i++) {
      const guessed = Math.round(OUTPUT_PER_PROMPT_TOKEN * cell(candidates, i, AT.promptTokensInFlight))
      costs[i] = cell(candidates, i, AT.prefillTokensPending) + guessed
    }
  })
}

/** `least-tokens-predicted`: the same with predicted output, less what has been produced already: prompts until their first token + output left. */
export function createLeastTokensPredicted(): Policy {
  return createArgmin('least-tokens-predicted', (candidates, costs) => {
    for (let i = 0; i < candidates.count; i++)
      costs[i] = cell(candidates, i, AT.prefillTokensPending) + cell(candidates, i, AT.outputTokensLeft)
  })
}
