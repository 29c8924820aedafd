import type { Policy } from './policy.ts'

/** `random`: uniform over the candidates. LiteLLM's simple shuffle with equal weights is the same rule. */
export function createRandom(name = 'random'): Policy {
  return {
    name,
    reason: 'drawn at random',
    distribute({ count }, _call, { costs, probabilities }) {
      costs.fill(Number.NaN, 0, count)
      probabilities.fill(1 / count, 0, count)
    },
  }
}
