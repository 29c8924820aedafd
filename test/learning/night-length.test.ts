import { expect, test } from 'vitest'
import type { HeldOutLength } from '../../plugin/learning/night-gather-lengths.ts'
import { judgeLength } from '../../plugin/learning/night-length.ts'
import { baseLength } from '../../plugin/learning/serving-models.ts'
import { LengthDistribution } from '../../plugin/prediction/distribution.ts'
import { LengthEvaluator, type LengthModel, ROW_WIDTH } from '../../plugin/prediction/length-model.ts'
import { createRng } from '../../plugin/rng.ts'

/** The shipped model, its level moved by a factor: wrong by that much wherever the first one is right. */
function moved(model: LengthModel, ln: number): LengthModel {
  return { ...model, version: `moved ${ln}`, ridge: { ...model.ridge, bias: model.ridge.bias + ln / model.shares.ridge } }
}

/** Answers as long as the model says they will be, within its own spread. */
function answers(model: LengthModel, count: number): HeldOutLength[] {
  const rng = createRng(2)
  const evaluator = new LengthEvaluator()
  return Array.from({ length: count }, (_, i) => {
    const row = new Float32Array(ROW_WIDTH)
    for (let k = 0; k < 20; k++) row[k] = Math.abs(rng.normal())
    const distribution = new LengthDistribution(evaluator.evaluate(model, row, []).cumulative)
    const outputTokens = Math.max(1, Math.round(distribution.quantile(rng.next())))
    return {
      row,
      words: new Uint32Array(0),
      outputTokens,
      censored: i % 20 === 0,
      application: i % 3 === 0 ? 'a' : 'b',
      pool: 'llama',
      predictedTokens: 10,
    }
  })
}

const base = baseLength()
const heldOut = answers(base, 600)

test('a model that is nearer to what came passes, and the same pair turned round does not', () => {
  const worse = moved(base, 1)
  const passed = judgeLength(heldOut, { champion: worse, challenger: base, rng: createRng(1) })
  expect(passed).toMatchObject({ passed: true, rows: 600 })
  expect(passed.gain[1]).toBeGreaterThan(0)
  const refused = judgeLength(heldOut, { champion: base, challenger: worse, rng: createRng(1) })
  expect(refused.passed).toBe(false)
  expect(refused.words).toMatch(
    /not promoted: what came of 600 later answers was 0\.\d\d times as likely by it as by the champion .*: not above 1/,
  )
})

test('one pool does not pay for the others, and the verdict tells each pool and each bucket of lengths', () => {
  const worse = moved(base, 1)
  const honest = answers(base, 900)
  // In the other pool answers are as the worse model says.
  const other = answers(worse, 300).map((one) => ({ ...one, pool: 'other' }))
  const verdict = judgeLength([...honest, ...other], { champion: worse, challenger: base, rng: createRng(1) })
  expect(verdict.gain[1]).toBeGreaterThan(0)
  expect(verdict.byPool.map(({ slice, rows }) => [slice, rows])).toEqual([
    ['other', 300],
    ['llama', 900],
  ])
  expect(verdict.byBucket.map(({ slice }) => slice)).toContain('below 250 tokens')
  expect([verdict.passed, verdict.words]).toEqual([
    false,
    expect.stringMatching(/what came of answers of other was only 0\.\d\d times as likely/),
  ])
})

test('the champion against itself is not promoted', () => {
  expect(judgeLength(heldOut, { champion: base, challenger: base, rng: createRng(1) })).toMatchObject({ passed: false, gain: [0, 0, 0] })
})

test('few answers prove nothing', () => {
  const { passed, words } = judgeLength(heldOut.slice(0, 50), { champion: moved(base, 1), challenger: base, rng: createRng(1) })
  expect([passed, words.includes('only 50 answers to judge by')]).toEqual([false, true])
})
