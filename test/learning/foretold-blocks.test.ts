import { expect, test } from 'vitest'
import { foretellBlocks } from '../../plugin/learning/foretold-blocks.ts'
import { createRng } from '../../plugin/rng.ts'
import type { ServedCall } from '../../plugin/simulation/log-replay/traffic.ts'

const PLAN = { shareRatio: 0.5, blockMs: 10_000, washoutMs: 1_000 }

/** Plays of five minutes whose blocks stray by `spread` from one another. */
function plays(count: number, spread: number) {
  return Array.from({ length: count }, (_, k) => {
    const rng = createRng(k + 1)
    const levels = Array.from({ length: 31 }, () => Math.exp(spread * rng.normal()))
    const calls = Array.from(
      { length: 3_000 },
      (_, i): ServedCall => ({
        arrivedUnixMs: 1e12 + 100 * i,
        application: 'chat',
        tenant: 'chat',
        task: null,
        promptTokens: 100,
        maxTokens: null,
        instance: 'a',
        predictedOutputTokens: 50,
        outcome: 'completed',
        ttftMs: 50,
        tpotMs: 10,
        e2eMs: 500,
        outputTokens: 50,
        prefixBlocks: [],
      }),
    )
    return {
      calls,
      figures: Float64Array.from(calls, (_, i) => 500 * (levels[Math.floor(i / 100)] as number) * Math.exp(0.3 * rng.normal())),
    }
  })
}

const blocksFor = (gain: number, spread: number): number =>
  foretellBlocks(plays(8, spread), { gain: [gain, 0, 1], plan: PLAN, seed: 1 }).blocks as number

test('a smaller gain and wilder blocks need more blocks, in proportion to the square', () => {
  const usual = blocksFor(0.1, 0.2)
  // (1.96 + 0.84)² · 0.2² · 4 ÷ ln(0.9)²
  expect(usual).toBeGreaterThan(85)
  expect(usual).toBeLessThan(150)
  expect(blocksFor(0.05, 0.2) / usual).toBeGreaterThan(3.5)
  expect(blocksFor(0.1, 0.4) / usual).toBeGreaterThan(3)
})

test('what cannot be foretold is said, not invented', () => {
  const none = foretellBlocks(plays(8, 0.2), { gain: [-0.02, -0.1, 0.1], plan: PLAN, seed: 1 })
  expect(none).toMatchObject({ blocks: null, words: expect.stringContaining('no gain is promised') })
  const short = foretellBlocks(plays(1, 0.2), { gain: [0.1, 0, 0.2], plan: { ...PLAN, blockMs: 3_600_000 }, seed: 1 })
  expect(short).toMatchObject({ blocks: null, words: expect.stringMatching(/blocks with calls; 4 of each are the least/) })
})
