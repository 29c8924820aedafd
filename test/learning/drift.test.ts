import { expect, test } from 'vitest'
import { type DriftDay, describeDay, describeFeature, fallBackState, judgeDrift, stabilityIndex } from '../../plugin/learning/drift.ts'
import { createRng } from '../../plugin/rng.ts'

function dayOf(
  seed: number,
  given: {
    readonly calls?: number
    readonly prompt?: number
    readonly e2e?: number
    readonly length?: number
    readonly coverage?: number
  } = {},
): DriftDay {
  const rng = createRng(seed)
  const calls = given.calls ?? 3_000
  const column = (draw: () => number): Float64Array => Float64Array.from({ length: calls }, draw)
  return {
    calls,
    features: new Map([
      ['promptTokens', column(() => (given.prompt ?? 1) * 300 * Math.exp(0.8 * rng.normal()))],
      ['inFlight', column(() => rng.int(12))],
      ['kvUsage', column(() => (rng.next() < 0.2 ? Number.NaN : rng.next()))],
    ]),
    e2eResiduals: column(() => (given.e2e ?? 0) + 0.4 * rng.normal()),
    lengthResiduals: column(() => (given.length ?? 0) + 0.7 * rng.normal()),
    coverage80: given.coverage ?? 0.8,
  }
}

const reference = describeDay(dayOf(1))

test('another day like the first is no drift', () => {
  for (let seed = 2; seed < 22; seed++) expect(judgeDrift(reference, dayOf(seed)).level).toBe('none')
})

test('longer prompts are seen, and alone take nothing away from the learned part', () => {
  const report = judgeDrift(reference, dayOf(2, { prompt: 3 }))
  expect(report.level).toBe('watch')
  expect(report.features[0]).toMatchObject({ column: 'promptTokens' })
  expect(report.features[0]!.index).toBeGreaterThan(0.25)
  expect(report.fallsBack).toBe(false)
})

test('promises that do not come are an alarm, and two such days make the best rule serve until it is over', () => {
  const bad = judgeDrift(reference, dayOf(3, { e2e: Math.log(2.5) }))
  expect(bad).toMatchObject({ level: 'alarm', fallsBack: true })
  expect(bad.words).toMatch(/E2E is 2\.\d+ times what was predicted/)
  const good = judgeDrift(reference, dayOf(4))
  expect(fallBackState([good, bad]).fallsBack).toBe(false)
  expect(fallBackState([good, bad, bad]).fallsBack).toBe(true)
  expect(fallBackState([bad, bad, good, good]).fallsBack).toBe(false)
  expect(judgeDrift(reference, dayOf(5, { length: Math.log(3) })).fallsBack).toBe(true)
  expect(judgeDrift(reference, dayOf(6, { coverage: 0.4 })).fallsBack).toBe(true)
})

test('too few calls say nothing', () => {
  expect(judgeDrift(reference, dayOf(7, { calls: 100, e2e: 3 }))).toMatchObject({ level: 'none', fallsBack: false })
})

test('the index of a population with itself is 0, and counts what became unknown', () => {
  const values = Float64Array.from({ length: 1_000 }, (_, i) => i % 97)
  const feature = describeFeature('x', values)
  expect(stabilityIndex(feature, values)).toBe(0)
  expect(
    stabilityIndex(
      feature,
      values.map((value, i) => (i % 2 === 0 ? Number.NaN : value)),
    ),
  ).toBeGreaterThan(0.25)
})
