import { encodeChat as encodeGpt4 } from 'gpt-tokenizer/model/gpt-4'
import { encodeChat as encodeGpt4o } from 'gpt-tokenizer/model/gpt-4o'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Call } from '../../plugin/call/call.ts'
import { TokenEstimator } from '../../plugin/call/tokens.ts'
import { createRng } from '../../plugin/rng.ts'
import { callOf, chatOf } from './calls.ts'
import { haveDatasets, realPrompts } from './datasets.ts'

interface Counted {
  readonly call: Call
  readonly tokens: number
}

const LEARNED_CALLS = 50
const PER_SET = 200

function shuffled<T>(items: readonly T[], seed: number): T[] {
  const rng = createRng(seed)
  return items
    .map((item) => ({ item, key: rng.next() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item)
}

const missRatio = (estimator: TokenEstimator, { call, tokens }: Counted): number => Math.abs(estimator.estimate(call) / tokens - 1)

/** Mean absolute relative error on what follows after learning from the first calls only. */
function errorAfterLearning(counted: readonly Counted[]): number {
  const estimator = new TokenEstimator()
  const rest = counted.slice(LEARNED_CALLS)
  for (const { call, tokens } of counted.slice(0, LEARNED_CALLS)) estimator.learn(call, tokens)
  return rest.reduce((sum, one) => sum + missRatio(estimator, one), 0) / rest.length
}

describe.skipIf(!haveDatasets)('prompt tokens of real prompts, against gpt-tokenizer (skipped where ../shared/data is absent)', () => {
  const tokenisers = { 'gpt-4o': encodeGpt4o, 'gpt-4': encodeGpt4 }
  const bySet: Record<string, Record<string, Counted[]>> = {}

  beforeAll(() => {
    for (const [set, prompts] of Object.entries(realPrompts())) {
      const sample = shuffled(prompts, 7).slice(0, PER_SET)
      bySet[set] = {}
      for (const [name, encode] of Object.entries(tokenisers))
        bySet[set][name] = sample.map((content) => ({ call: chatOf(content), tokens: encode([{ role: 'user', content }]).length }))
    }
  })

  test.each(Object.keys(tokenisers))('mean error at most a tenth after 50 calls, on each set and on all mixed: %s', (name) => {
    const sets = Object.entries(bySet).map(([set, counted]) => [set, counted[name] ?? []] as const)
    const mixed = shuffled(
      sets.flatMap(([, counted]) => counted),
      11,
    )
    const errors = [...sets, ['mixed', mixed] as const]
      .filter(([, counted]) => counted.length > LEARNED_CALLS)
      .map(([set, counted]) => ({ set, error: errorAfterLearning(counted) }))
    console.log(`${name}: ${errors.map(({ set, error }) => `${set} ${(100 * error).toFixed(1)} %`).join(', ')}`)
    expect(errors.length).toBeGreaterThan(7)
    for (const { set, error } of errors) expect(error, set).toBeLessThanOrEqual(0.1)
  })
})

describe('the token estimate', () => {
  const words = (count: number): Call => chatOf('some plain words here '.repeat(count))

  test('is exact where the caller sent token ids, and nothing is learned from it', () => {
    const call = callOf('/v1/completions', { model: 'm', prompt: [1, 2, 3, 4] })
    const estimator = new TokenEstimator()
    estimator.learn(call, 400)
    expect([estimator.estimate(call), estimator.learned]).toEqual([4, 0])
  })

  test('is never below one token', () => {
    expect(new TokenEstimator().estimate(callOf('/v1/embeddings', { model: 'm', input: '' }))).toBeGreaterThanOrEqual(1)
  })

  test('learns the preamble a server adds to every call', () => {
    const estimator = new TokenEstimator()
    for (let i = 0; i < LEARNED_CALLS; i++) estimator.learn(words(1 + (i % 9) * 20), 300 + 4 * (1 + (i % 9) * 20))
    expect(missRatio(estimator, { call: words(1), tokens: 304 })).toBeLessThan(0.1)
    expect(missRatio(estimator, { call: words(150), tokens: 900 })).toBeLessThan(0.1)
  })

  test('a few absurd counts among many do not spoil it', () => {
    const estimator = new TokenEstimator()
    for (let i = 0; i < 200; i++) {
      const count = 10 + (i % 13) * 10
      estimator.learn(words(count), i % 20 === 7 ? 20 * 4 * count : 4 * count + 7)
    }
    expect(missRatio(estimator, { call: words(60), tokens: 247 })).toBeLessThan(0.1)
  })

  test('counts that cannot be are ignored', () => {
    const estimator = new TokenEstimator()
    const before = estimator.estimate(words(10))
    for (const bad of [0, -5, Number.NaN, Number.POSITIVE_INFINITY]) estimator.learn(words(10), bad)
    expect([estimator.estimate(words(10)), estimator.learned]).toEqual([before, 0])
  })

  test('a door without text counts is served by learned bytes per token', () => {
    const { promptText: _, ...bare } = words(50)
    const estimator = new TokenEstimator()
    for (let i = 0; i < LEARNED_CALLS; i++) estimator.learn(bare, bare.promptBytes / 3)
    expect(missRatio(estimator, { call: bare, tokens: bare.promptBytes / 3 })).toBeLessThan(0.05)
  })
})
