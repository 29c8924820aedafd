import { expect, test } from 'vitest'
import { createManualClock } from '../../plugin/clock.ts'
import { createLearnedLength, type LearnedLength } from '../../plugin/prediction/learned-length.ts'
import { LengthHistory } from '../../plugin/prediction/length-history.ts'
import type { LengthModel } from '../../plugin/prediction/length-model.ts'
import { createSafeReader } from '../../plugin/prediction/safe-reader.ts'
import { READING_WIDTH } from '../../plugin/prediction/text/reading.ts'
import { HEAD_CHARS, TAIL_CHARS } from '../../plugin/prediction/text/scan.ts'
import { askedCall, baseModel, readText } from './sketches.ts'

interface Bench {
  readonly lengths: LearnedLength
  readonly counted: string[]
  /** ms that each look at the clock takes. */
  slowMs: number
}

function bench(model: LengthModel | undefined = baseModel): Bench {
  const clock = createManualClock()
  const counted: string[] = []
  const made: Bench = {
    counted,
    slowMs: 0,
    lengths: createLearnedLength({
      model,
      history: new LengthHistory(),
      nowMs: () => {
        clock.advance(made.slowMs)
        return clock.nowMs()
      },
      count: (what) => counted.push(what),
    }),
  }
  return made
}

const broken: LengthModel = { ...baseModel, version: 'broken', ridge: { bias: Number.NaN, weights: baseModel.ridge.weights } }
const STORY = 'Write a long and detailed story about a dragon that learns to cook, with many characters and dialogue.'
const SENTENCE = 'Translate this sentence to German: Good morning.'

/** Teaches `times` answers of `tokens` to calls of this prompt. */
function teach({ lengths }: Bench, prompt: string, tokens: number, times: number, application = 'a'): void {
  for (let i = 0; i < times; i++) {
    const call = askedCall(prompt, { application })
    lengths.learn('m', call, { outputTokens: tokens, censored: false }, lengths.predict('m', call))
  }
}

test('text alone tells a story from a sentence, with a whole distribution and its version', () => {
  const { lengths, counted } = bench()
  const [story, sentence] = [STORY, SENTENCE].map((prompt) => lengths.predict('m', askedCall(prompt)))
  expect(story!.outputTokens).toBeGreaterThan(3 * sentence!.outputTokens)
  expect(story!).toMatchObject({ source: 'model', version: baseModel.version })
  expect(story!.distribution!.quantile(0.1)).toBeLessThan(story!.distribution!.quantile(0.9))
  expect(counted).toEqual([])
})

test('an application’s own answers correct the model within a few calls, and only for that application', () => {
  const made = bench()
  const before = made.lengths.predict('m', askedCall(STORY)).outputTokens
  teach(made, STORY, 9, 12)
  expect(made.lengths.predict('m', askedCall(STORY)).outputTokens).toBeLessThan(before / 5)
  const other = made.lengths.predict('m', askedCall(STORY, { application: 'other' })).outputTokens
  expect(other).toBeCloseTo(before, 6)
})

test('no answer is longer than the caller allows', () => {
  const { distribution } = bench().lengths.predict('m', askedCall(STORY, { maxTokens: 16 }))
  expect(distribution!.quantile(0.999)).toBeLessThan(22)
})

test('without a model the application’s histogram serves after five answers, then the pool’s, and nothing is counted: nobody asked for a model', () => {
  const made = bench(undefined)
  made.lengths.swap(undefined)
  expect(made.lengths.predict('m', askedCall(STORY))).toMatchObject({ outputTokens: Number.NaN, source: 'nothing known' })
  teach(made, STORY, 40, 5)
  expect(made.lengths.predict('m', askedCall(STORY))).toMatchObject({ source: 'application history', version: 'history' })
  expect(made.lengths.predict('m', askedCall(STORY, { application: 'b' })).source).toBe('pool history')
  expect(made.lengths.predict('m', askedCall(STORY)).distribution!.quantile(0.5)).toBeGreaterThan(30)
  expect(made.lengths.predict('m', askedCall(STORY)).distribution!.quantile(0.5)).toBeLessThan(55)
  expect(made.counted).toEqual([])
})

test('a model that fails is replaced by histograms, counted by reason, and set aside after five failures in a row', () => {
  const made = bench()
  teach(made, STORY, 40, 5)
  made.lengths.swap(broken)
  const sources = Array.from({ length: 7 }, () => made.lengths.predict('m', askedCall(STORY)).source)
  expect(sources).toEqual(Array.from({ length: 7 }, () => 'application history'))
  expect(made.counted.filter((what) => what === 'length model failed')).toHaveLength(5)
  expect(made.counted.filter((what) => what === 'length model set aside')).toHaveLength(1)
  expect(made.counted.filter((what) => what === 'length from application history')).toHaveLength(7)
  expect(made.lengths.predict('other pool', askedCall(STORY)).source).toBe('nothing known')
  expect(made.counted.at(-1)).toBe('length unknown')
})

test('a slow model is used while it answers, and set aside for ten seconds after five late answers in a row', () => {
  const made = bench()
  teach(made, STORY, 40, 5)
  made.slowMs = 6
  const late = Array.from({ length: 6 }, () => made.lengths.predict('m', askedCall(STORY)).source)
  expect(late).toEqual(['model', 'model', 'model', 'model', 'model', 'application history'])
  expect(made.counted.filter((what) => what === 'length model late')).toHaveLength(5)
  made.slowMs = 10_001
  made.lengths.predict('m', askedCall(STORY))
  made.slowMs = 0
  expect(made.lengths.predict('m', askedCall(STORY)).source).toBe('model')
})

test('another model serves from the next call on; answers to calls predicted before teach lengths, not the new model’s errors', () => {
  const made = bench()
  const call = askedCall(STORY)
  const prediction = made.lengths.predict('m', call)
  const next: LengthModel = { ...baseModel, version: 'next' }
  made.lengths.swap(next)
  expect(made.lengths.version).toBe('next')
  const fresh = made.lengths.predict('m', askedCall(STORY))
  expect(fresh.version).toBe('next')
  for (let i = 0; i < 12; i++) made.lengths.learn('m', call, { outputTokens: 9, censored: false }, prediction)
  const corrected = made.lengths.predict('m', askedCall(STORY)).seen!.forecast
  expect(corrected.shiftLn).toBe(0)
  made.lengths.swap(undefined)
  expect(made.lengths.predict('m', askedCall(STORY)).source).toBe('application history')
})

test('what the old model was off by is not held against the new one', () => {
  const made = bench()
  teach(made, STORY, 9, 12)
  expect(made.lengths.predict('m', askedCall(STORY)).seen!.forecast.shiftLn).toBeLessThan(-1)
  made.lengths.swap({ ...baseModel, version: 'next' })
  expect(made.lengths.predict('m', askedCall(STORY)).seen!.forecast.shiftLn).toBe(0)
})

test('a cut answer raises what is expected, never lowers it', () => {
  const made = bench()
  teach(made, STORY, 100, 20)
  const before = made.lengths.predict('m', askedCall(STORY)).outputTokens
  for (let i = 0; i < 20; i++) {
    const call = askedCall(STORY)
    made.lengths.learn('m', call, { outputTokens: 10, censored: true }, made.lengths.predict('m', call))
  }
  expect(made.lengths.predict('m', askedCall(STORY)).outputTokens).toBeGreaterThan(0.8 * before)
  for (let i = 0; i < 40; i++) {
    const call = askedCall(STORY)
    made.lengths.learn('m', call, { outputTokens: 400, censored: true }, made.lengths.predict('m', call))
  }
  expect(made.lengths.predict('m', askedCall(STORY)).distribution!.quantile(0.9)).toBeGreaterThan(110)
})

test('a call whose text nobody read goes by history; an embedding is one token', () => {
  const made = bench()
  teach(made, STORY, 40, 5)
  expect(made.lengths.predict('m', askedCall(STORY, { unread: true })).source).toBe('application history')
  const embedding = { ...askedCall(STORY), api: 'openai-embeddings' as const }
  expect(made.lengths.predict('m', embedding)).toEqual({ outputTokens: 1, version: 'none', source: 'no answer text' })
  made.lengths.learn('m', embedding, { outputTokens: 5_000, censored: false })
  expect(made.lengths.predict('m', askedCall(STORY, { unread: true })).outputTokens).toBeLessThan(100)
})

test('of a long prompt head and tail alone are read', () => {
  const head = 'Translate to German: '.padEnd(HEAD_CHARS, 'one two three ')
  const tail = ' and keep it short.'.padStart(TAIL_CHARS, 'four five six ')
  const [a, b] = ['apples '.repeat(20_000), 'write a story and a poem '.repeat(5_600)].map((middle) => readText(head + middle + tail))
  expect(a).toHaveLength(READING_WIDTH)
  expect([...a!]).toEqual([...b!])
  expect([...readText(`${head}x${tail}`)]).not.toEqual([...readText(`${head.replace('German', 'French')}x${tail}`)])
})

test('nothing of the prompt is in what is kept of it', () => {
  const secret = 'Xylophone4711 marzipan'
  const call = askedCall(`Tell me about ${secret}.`, { system: `You know ${secret}.` })
  const { lengths } = bench()
  const prediction = lengths.predict('m', call)
  lengths.learn('m', call, { outputTokens: 10, censored: false }, prediction)
  const { seen, ...said } = prediction
  const kept = JSON.stringify([call, said, [...seen!.row], lengths.history.save()], (_, value) =>
    typeof value === 'bigint'
      ? String(value)
      : ArrayBuffer.isView(value)
        ? [...(value as unknown as Iterable<unknown>)].map(String)
        : value,
  )
  for (const word of secret.split(' ')) expect(kept.toLowerCase()).not.toContain(word.toLowerCase())
  expect(call.reading).toHaveLength(READING_WIDTH)
})

test('a reader that throws or is slow costs nothing but the text, and is set aside', () => {
  const clock = createManualClock()
  const counted: string[] = []
  const parts = { nowMs: () => clock.nowMs(), count: (what: string) => void counted.push(what) }
  const failing = createSafeReader({
    ...parts,
    readText: () => {
      throw new Error('no')
    },
  })
  for (let i = 0; i < 6; i++) expect(failing('x')).toBeUndefined()
  expect(counted).toEqual([...Array.from({ length: 5 }, () => 'text reader failed'), 'text reader set aside'])
  const slow = createSafeReader({
    ...parts,
    readText: () => {
      clock.advance(6)
      return new Float32Array(1)
    },
  })
  expect(Array.from({ length: 6 }, () => slow('x') !== undefined)).toEqual([true, true, true, true, true, false])
})
