import { expect, test } from 'vitest'
import { describeErrors, encodeErrors, readLengthErrors, sampledErrors } from '../../plugin/learning/length-errors.ts'
import type { Judged } from '../../plugin/learning/measures.ts'
import { accumulate, answerSpan, BUCKETS, LengthDistribution, spreadSpan } from '../../plugin/prediction/distribution.ts'
import { createRng } from '../../plugin/rng.ts'
import { generatedScenarios } from '../../plugin/simulation/scenario/scenarios.ts'

/** All mass evenly (on the logarithmic axis) between two lengths. */
function between(low: number, high: number): LengthDistribution {
  const masses = new Float64Array(BUCKETS)
  spreadSpan({ low: answerSpan(low).low, high: answerSpan(high).high }, masses)
  return new LengthDistribution(accumulate(masses))
}

const judged = (outputTokens: number, distribution: LengthDistribution): Judged => ({
  task: 't',
  set: 's',
  outputTokens,
  distribution,
  point: distribution.meanLn,
  within: 0.5,
})

test('a predictor that always doubles is one that always doubles in the twin, at every length', () => {
  const rows = Array.from({ length: 300 }, (_, i) => 2 + 5 * i).map((tokens) => judged(tokens, between(1.9 * tokens, 2.1 * tokens)))
  const errors = sampledErrors(describeErrors(rows, { version: 'v', how: 'by hand' }))
  const rng = createRng(3)
  for (const tokens of [1, 10, 100, 1_000, 5_000]) {
    const { tokens: said, span } = errors.draw(tokens, rng)
    expect(said / tokens).toBeGreaterThan(1.6)
    expect(said / tokens).toBeLessThan(2.5)
    expect(span!.p50Tokens).toBeLessThan(span!.p90Tokens)
  }
})

test('what is left to come grows once an answer has outlived its median, and is never below 0', () => {
  const { outlook } = readLengthErrors().draw(100, createRng(4))
  const left = [1, 10, 50, 100, 400, 1_600].map((produced) => produced + outlook!.remaining(produced))
  for (const [i, total] of left.entries()) {
    expect(Number.isFinite(total)).toBe(true)
    if (i > 0) expect(total).toBeGreaterThanOrEqual(left[i - 1]! - 1e-6)
  }
})

test('the shipped errors are those of a predictor that knows something: closer than a guess, long answers foretold too short', () => {
  const errors = readLengthErrors()
  const rng = createRng(5)
  const said = (tokens: number): number[] =>
    Array.from({ length: 2_000 }, () => Math.log(errors.draw(tokens, rng).span!.p50Tokens / tokens))
  const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
  expect(mean(said(600))).toBeLessThan(0)
  expect(mean(said(600))).toBeGreaterThan(-1.5)
  const spread = (values: number[]): number => Math.sqrt(mean(values.map((value) => value ** 2)))
  expect(spread(said(100))).toBeGreaterThan(0.2)
  expect(spread(said(100))).toBeLessThan(1)
})

test('the same table is written as the same text and read back', () => {
  const rows = Array.from({ length: 80 }, (_, i) => judged(1 + i, between(1 + i, 4 + 2 * i)))
  const file = describeErrors(rows, { version: 'v', how: 'by hand' })
  expect(JSON.parse(encodeErrors(file))).toEqual(file)
})

test('a scenario played with real errors differs from σ in predictions alone', () => {
  const scenario = generatedScenarios().find((one) => one.name === 'v100x4@12')!
  const plain = scenario.calls({ seed: 1 })
  const real = scenario.calls({ seed: 1, errors: readLengthErrors() })
  expect(real.map((call) => call.atMs)).toEqual(plain.map((call) => call.atMs))
  expect(real.map((call) => call.outputTokens)).toEqual(plain.map((call) => call.outputTokens))
  expect(real.every((call) => call.predicted?.span !== undefined)).toBe(true)
  expect(plain.every((call) => call.predicted === undefined)).toBe(true)
})
