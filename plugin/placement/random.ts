import type { Policy } from './policy.ts'

/** `random`: uniform over the candidates. */
export function createRandom(): Policy {
  return {
    name: 'random',
    reason: 'drawn at random',
    distribute({ count }, _call, { costs, probabilities }) {
      costs.fill(Number.NaN, 0, count)
      probabilities.fill(1 / count, 0, count)
    },
  }
}
