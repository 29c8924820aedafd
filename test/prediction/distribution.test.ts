import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BUCKETS, packCumulative, positionOf, tokensAt, unpackCumulative } from '../../plugin/call/length-axis.ts'
import {
  accumulate,
  answerSpan,
  cumulativeAt,
  LengthDistribution,
  lnAt,
  moved,
  POSITIONS_PER_LN,
  spreadSpan,
} from '../../plugin/prediction/distribution.ts'

const masses = fc
  .array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: BUCKETS, maxLength: BUCKETS })
  .filter((list) => list.some((mass) => mass > 0.01))
const distributions = masses.map((list) => new LengthDistribution(accumulate(list)))
const levels = fc.double({ min: 0.001, max: 0.999, noNaN: true })

/** Mean by brute force: the density on the logarithmic axis, in 40 slices a bucket. */
function meanBySlices(distribution: LengthDistribution, of: (tokens: number) => number): number {
  let sum = 0
  for (let i = 0; i < 40 * BUCKETS; i++) {
    const mass = cumulativeAt(distribution.cumulative, (i + 1) / 40) - cumulativeAt(distribution.cumulative, i / 40)
    sum += mass * of(tokensAt((i + 0.5) / 40))
  }
  return sum
}

test('the axis goes from half a token to 32,768 in at least 24 log-spaced buckets, and back', () => {
  expect(BUCKETS).toBeGreaterThanOrEqual(24)
  expect([tokensAt(0), tokensAt(BUCKETS)].map(Math.round)).toEqual([1, 32_768])
  fc.assert(
    fc.property(fc.double({ min: 0.5, max: 32_768, noNaN: true }), (tokens) => {
      expect(tokensAt(positionOf(tokens)) / tokens).toBeCloseTo(1, 9)
    }),
  )
})

test('the mean is that of the density, the spread that of its logarithm', () => {
  fc.assert(
    fc.property(distributions, (distribution) => {
      expect(distribution.mean / meanBySlices(distribution, (tokens) => tokens)).toBeCloseTo(1, 3)
      expect(distribution.meanLn).toBeCloseTo(meanBySlices(distribution, Math.log), 5)
      const variance = meanBySlices(distribution, (tokens) => (Math.log(tokens) - distribution.meanLn) ** 2)
      // Mass inside a bucket counts as in its middle: at most a twelfth of the squared width is missing.
      expect(Math.abs(distribution.spreadLn ** 2 - variance)).toBeLessThan(0.0045)
    }),
    { numRuns: 30 },
  )
})

test('quantiles and P(at most n) are each other’s inverse, and P(> n) is the rest', () => {
  fc.assert(
    fc.property(distributions, levels, (distribution, level) => {
      const tokens = distribution.quantile(level)
      expect(cumulativeAt(distribution.cumulative, positionOf(tokens))).toBeCloseTo(level, 6)
      expect(distribution.above(tokens) + distribution.atMost(tokens)).toBeCloseTo(1, 12)
    }),
  )
})

test('what is left never is below 0, and the whole length expected only grows with what has come', () => {
  fc.assert(
    fc.property(distributions, fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 2, maxLength: 6 }), (distribution, done) => {
      const totals = done.toSorted((a, b) => a - b).map((tokens) => ({ tokens, left: distribution.remaining(tokens) }))
      for (const { left } of totals) expect(left).toBeGreaterThanOrEqual(0)
      for (const [i, { tokens, left }] of totals.entries()) {
        const before = totals[i - 1]
        // Half a token is the least that is left where something is: below it the two may cross by that much.
        if (before && left > 0) expect(tokens + left).toBeGreaterThanOrEqual(before.tokens + before.left - 1)
      }
    }),
  )
})

test('a memoryless length is expected to go on as long as ever', () => {
  // Uniform on the logarithmic axis between 100 and 10,000: E[X | X > n] = (10,000 − n) ÷ ln(10,000 ÷ n).
  const uniform = new LengthDistribution(
    Float64Array.from({ length: BUCKETS + 1 }, (_, k) =>
      Math.min(1, Math.max(0, (k - positionOf(100)) / (positionOf(10_000) - positionOf(100)))),
    ),
  )
  for (const done of [200, 1_000, 3_000]) {
    const exact = (10_000 - done) / Math.log(10_000 / done) - done
    expect(uniform.remaining(done) / exact).toBeGreaterThan(0.9)
    expect(uniform.remaining(done) / exact).toBeLessThan(1.1)
  }
  expect(uniform.remaining(10_500)).toBe(0)
  expect(uniform.given(10_500)).toBeUndefined()
})

test('a limit cuts: nothing is longer, and what would have been ends there', () => {
  fc.assert(
    fc.property(distributions, fc.integer({ min: 1, max: 4_000 }), (distribution, limit) => {
      const cut = distribution.cut(limit)
      expect(cut.quantile(0.999)).toBeLessThanOrEqual(limit * 1.27 + 1)
      expect(cut.mean).toBeLessThanOrEqual(distribution.mean + 1e-9)
      expect(cut.atMost(limit)).toBeGreaterThan(distribution.atMost(limit) - 1e-9)
    }),
  )
})

test('moving shifts the mean of the logarithm and scaling widens about the centre', () => {
  const span = new Float64Array(BUCKETS)
  spreadSpan({ low: 20, high: 26 }, span)
  const base = new LengthDistribution(accumulate(span))
  const shifted = new LengthDistribution(moved(base.cumulative, { shift: 0.5 * POSITIONS_PER_LN }))
  expect(shifted.meanLn - base.meanLn).toBeCloseTo(0.5, 6)
  const wide = new LengthDistribution(moved(base.cumulative, { shift: 0, scale: 2, centre: (base.meanLn - lnAt(0)) * POSITIONS_PER_LN }))
  expect(wide.meanLn).toBeCloseTo(base.meanLn, 6)
  expect(wide.spreadLn / base.spreadLn).toBeCloseTo(2, 1)
})

test('an answer of n tokens lies between n − ½ and n + ½, with all its mass', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 30_000 }), (tokens) => {
      const out = new Float64Array(BUCKETS)
      spreadSpan(answerSpan(tokens), out)
      expect(out.reduce((sum, mass) => sum + mass, 0)).toBeCloseTo(1, 9)
      // Buckets are 26 % wide: the edge falls inside one.
      const distribution = new LengthDistribution(accumulate(out))
      expect(distribution.atMost(1.27 * tokens + 1)).toBeCloseTo(1, 9)
      if (tokens > 3) expect(distribution.atMost(0.78 * tokens - 1.5)).toBeCloseTo(0, 9)
    }),
  )
})

test('a logged distribution is read back within a thousandth; bytes of another length are none', () => {
  fc.assert(
    fc.property(distributions, (distribution) => {
      const back = unpackCumulative(packCumulative(distribution.cumulative))!
      expect(back).toHaveLength(BUCKETS + 1)
      for (const [k, value] of back.entries()) expect(Math.abs(value - distribution.cumulative[k]!)).toBeLessThan(1e-5 + 1e-9)
    }),
    { numRuns: 30 },
  )
  expect(unpackCumulative(new Uint16Array(3))).toBeUndefined()
})
