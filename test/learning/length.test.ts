import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { LENGTH_PLAN, ROWS_LEAST, trainLength } from '../../plugin/learning/length.ts'
import { crossValidate, foldsOf, predictAlone, predictInOrder } from '../../plugin/learning/length-evaluation.ts'
import { caseOf, type LengthCase, RowError, readRows } from '../../plugin/learning/length-rows.ts'
import { bucketOf, coverageWorstPoints, pooledSpearman, spearman } from '../../plugin/learning/measures.ts'
import { runEvaluateLength } from '../../plugin/main-length.ts'
import { decodeLengthModel, encodeLengthModel } from '../../plugin/prediction/model-file.ts'
import { createRng } from '../../plugin/rng.ts'
import { baseModel, readText } from '../prediction/sketches.ts'

/** Small enough for a test: seconds, not minutes. */
const PLAN = {
  ...LENGTH_PLAN,
  net: { ...LENGTH_PLAN.net, hidden: [16], epochs: 25, batch: 64 },
  trees: { ...LENGTH_PLAN.trees, trees: 20, depth: 3 },
  levelRowsRatio: 0,
}

const SUBJECTS = ['the sea', 'a clock', 'bread', 'snow', 'an engine', 'a garden', 'music', 'a lighthouse']

/** Made-up rows: stories are long, yes-or-no answers short, and a list grows with how many things are asked for. */
function madeUp(count: number, seed = 1): LengthCase[] {
  const rng = createRng(seed)
  return Array.from({ length: count }, (_, i) => {
    const subject = SUBJECTS[rng.int(SUBJECTS.length)]!
    const kind = i % 3
    const things = 2 + rng.int(18)
    const prompt = [
      `Write a long story about ${subject}.`,
      `Is ${subject} blue? Answer yes or no.`,
      `List ${things} facts about ${subject}.`,
    ][kind]!
    const mean = [600, 3, 20 * things][kind]!
    const outputTokens = Math.max(1, Math.round(mean * Math.exp(0.3 * rng.normal())))
    return caseOf({ set: 'made up', task: `kind ${kind}`, model: 'm', prompt, outputTokens, censored: false }, readText, i)
  })
}

const train = (cases: readonly LengthCase[], seed = 1) => trainLength(cases, { version: 'v', rng: createRng(seed), plan: PLAN })

test('it learns what lengths go with: kinds of prompts, and the number of things asked for', async () => {
  const model = await train(madeUp(400))
  const judged = predictAlone(model, madeUp(300, 2), createRng(3))
  expect(pooledSpearman(judged)).toBeGreaterThan(0.85)
  const lists = judged.filter((row) => row.task === 'kind 2')
  expect(pooledSpearman(lists)).toBeGreaterThan(0.5)
}, 60_000)

test('the same rows and seed give the same model, byte for byte; another seed another', async () => {
  const cases = madeUp(240)
  const [a, b, c] = [await train(cases), await train(cases), await train(cases, 2)].map(encodeLengthModel)
  expect(a).toBe(b)
  expect(a).not.toBe(c)
}, 60_000)

test('a model is read back as it was written, and one of other features or another kind is refused by name', () => {
  const text = encodeLengthModel(baseModel)
  expect(encodeLengthModel(decodeLengthModel(text))).toBe(text)
  const change = (more: Record<string, unknown>): string => JSON.stringify({ ...JSON.parse(text), ...more })
  expect(() => decodeLengthModel(change({ featureHash: 'deadbeef' }))).toThrow(
    `length model ${baseModel.version} reads features deadbeef, this version has ${baseModel.featureHash}: train it again`,
  )
  expect(() => decodeLengthModel(change({ kind: 'policy' }))).toThrow('no length model but "policy"')
  expect(() => decodeLengthModel(change({ low: '' }))).toThrow('damaged')
})

test('answers cut at a limit are lower bounds: the model expects more than where they were cut', async () => {
  const limit = 120
  const cut = madeUp(400).map((one) => {
    const censored = one.outputTokens > limit
    return { ...one, censored, outputTokens: censored ? limit : one.outputTokens }
  })
  const [aware, naive] = [await train(cut), await train(cut.map((one) => ({ ...one, censored: false })))]
  const stories = madeUp(60, 5).filter((one) => one.of.task === 'kind 0')
  const above = (model: typeof aware): number =>
    predictAlone(model, stories, createRng(1)).reduce((sum, { distribution }) => sum + distribution.above(1.3 * limit), 0) / stories.length
  expect(above(aware)).toBeGreaterThan(above(naive) + 0.2)
}, 60_000)

test('too few answers train no model', async () => {
  await expect(train(madeUp(ROWS_LEAST - 1))).rejects.toThrow(`${ROWS_LEAST} are needed`)
})

test('cross-validation judges every row by a model that never saw it, and rows kept apart teach what its probability levels are worth', async () => {
  const cases = madeUp(500)
  const folds = foldsOf(cases, 2, createRng(7))
  const judge = (levelRowsRatio: number) =>
    crossValidate(cases, { partOf: (one) => folds.get(one), plan: { ...PLAN, levelRowsRatio }, rng: createRng(1) })
  const { models, judged } = await judge(0.25)
  expect(models.size).toBe(2)
  expect(judged.map((row) => row.outputTokens)).toEqual(cases.map((one) => one.outputTokens))
  const stated = await judge(0)
  expect(coverageWorstPoints(judged)).toBeLessThan(0.6 * coverageWorstPoints(stated.judged))
}, 60_000)

test('with history switched off the order of rows changes nothing; with it, an application’s own level is found', () => {
  // Answers ten times as long as their prompts say.
  const cases = madeUp(120).map((one) => ({ ...one, outputTokens: 10 * one.outputTokens }))
  const options = { modelOf: () => baseModel, delayCalls: 0, rng: createRng(1) }
  const off = predictInOrder(cases, { ...options, warmCalls: 0 })
  const alone = predictAlone(baseModel, cases, createRng(1))
  expect(off.map((row) => row.point)).toEqual(alone.map((row) => row.point))
  const on = predictInOrder(cases, { ...options, warmCalls: Number.POSITIVE_INFINITY })
  const error = (rows: typeof on): number =>
    rows.slice(60).reduce((sum, row) => sum + Math.abs(Math.log(row.distribution.quantile(0.5) / row.outputTokens)), 0) / 60
  expect(error(on)).toBeLessThan(error(off) / 2)
})

test('ranks are told as by the textbook, ties shared, and the paper’s buckets begin at 250, 1,000 and 4,000', () => {
  expect(spearman([1, 2, 3, 4], [10, 20, 30, 40])).toBeCloseTo(1, 12)
  expect(spearman([1, 2, 3, 4], [4, 3, 2, 1])).toBeCloseTo(-1, 12)
  // By hand: ranks 0, 1.5, 1.5, 3 and 0, 1, 2, 3.
  expect(spearman([1, 2, 2, 3], [1, 2, 3, 4])).toBeCloseTo(4.5 / Math.sqrt(4.5 * 5), 12)
  expect(spearman([1, 1, 1], [1, 2, 3])).toBe(0)
  expect([0, 249, 250, 999, 1_000, 3_999, 4_000].map(bucketOf)).toEqual([0, 0, 1, 1, 2, 2, 3])
})

/** What the command prints for a file of these lines. */
function evaluate(lines: readonly unknown[], options: { readonly warm?: number } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'phasewise-rows-'))
  const data = join(folder, 'rows.jsonl')
  writeFileSync(data, lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n'))
  const said: string[] = []
  const log = vi.spyOn(console, 'log').mockImplementation((line: string) => void said.push(line))
  try {
    runEvaluateLength({ data, model: new URL('../../models/length-base', import.meta.url).pathname, delay: 0, json: true, ...options })
    return JSON.parse(said.join('')) as {
      rows: number
      measured: number
      censored: number
      model: string
      values: Record<string, [number, number, number]>
    }
  } finally {
    log.mockRestore()
  }
}

test('evaluate length reads prompts and messages, counts cut rows apart, and learns only as far as --warm says', () => {
  const rows = madeUp(150).map(({ of }, i) => ({
    ...(i % 2 === 0
      ? { prompt: of.prompt }
      : {
          messages: [
            { role: 'system', content: 'Be kind.' },
            { role: 'user', content: of.prompt },
          ],
        }),
    outputTokens: 10 * of.outputTokens,
    application: 'one',
    ...(i % 10 === 0 ? { censored: true } : {}),
  }))
  const [off, warm] = [evaluate(rows, { warm: 0 }), evaluate(rows)]
  expect(off).toMatchObject({ rows: 150, censored: 15, measured: 135, model: baseModel.version })
  const names = 'bucketAccuracy coverage50 coverage80 coverage95 inTaskSpearman medianAccuracy medianFactor spearman'
  expect(Object.keys(off.values).sort().join(' ')).toBe(names)
  for (const [value, low, high] of Object.values(off.values)) expect(low <= value && value <= high).toBe(true)
  expect(warm.values.medianFactor![0]).toBeLessThan(0.6 * off.values.medianFactor![0])
  expect(evaluate(rows, { warm: 0 })).toEqual(off)
}, 60_000)

test('a line that is no row is told with its number and what is wrong', () => {
  expect(() => evaluate([{ prompt: 'x', outputTokens: 1 }, 'nonsense'])).toThrow(RowError)
  expect(() => evaluate([{ prompt: 'x', outputTokens: 1 }, 'nonsense'])).toThrow(/rows\.jsonl:2/)
  expect(() => evaluate([{ outputTokens: 1 }])).toThrow('"messages" or "prompt"')
  expect(() => evaluate([{ prompt: 'x', outputTokens: -1 }])).toThrow('outputTokens')
  expect(() => evaluate([''])).toThrow('there are no rows')
  expect(() => readRows('/nowhere/rows.jsonl')).toThrow('/nowhere/rows.jsonl: it cannot be read (ENOENT)')
})

test('the shipped card tells what the model is made of, and is of the model beside it', () => {
  const card = JSON.parse(readFileSync(new URL('../../models/length-base/card.json', import.meta.url), 'utf8'))
  expect(card).toMatchObject({ kind: 'length', version: baseModel.version, featureHash: baseModel.featureHash })
  for (const set of card.data)
    expect(set).toMatchObject({ licence: expect.stringMatching(/^(MIT|Apache-2\.0)$/), rows: expect.any(Number) })
  expect(card.rows).toBe(card.data.reduce((sum: number, set: { rows: number }) => sum + set.rows, 0))
  for (const [value, low, high] of Object.values(card.measured.values) as [number, number, number][])
    expect(low <= value && value <= high).toBe(true)
})
