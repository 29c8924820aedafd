import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Histogram, mergeHistograms, RELATIVE_ERROR_RATIO, SMALLEST_VALUE } from '../../plugin/log/histogram.ts'

const duration = fc.oneof(fc.double({ min: SMALLEST_VALUE, max: 1e8, noNaN: true }), fc.constant(0), fc.integer({ min: 1, max: 600_000 }))
const durations = fc.array(duration, { minLength: 1, maxLength: 300 })

function of(values: readonly number[]): Histogram {
  const histogram = new Histogram()
  for (const value of values) histogram.add(value)
  return histogram
}

test('every percentile is within the stated relative error of the exact one', () => {
  fc.assert(
    fc.property(durations, fc.double({ min: 0, max: 1, noNaN: true }), (values, ratio) => {
      const sorted = [...values].sort((a, b) => a - b)
      const exact = sorted[Math.min(values.length, Math.max(1, Math.ceil(ratio * values.length))) - 1]!
      const told = of(values).percentile(ratio)
      expect(Math.abs(told - exact)).toBeLessThanOrEqual(RELATIVE_ERROR_RATIO * exact * (1 + 1e-9))
    }),
  )
})

test('merging stored histograms is counting all their values in one', () => {
  fc.assert(
    fc.property(fc.array(durations, { maxLength: 5 }), (parts) => {
      const merged = mergeHistograms(parts.map((values) => of(values).encode()))
      const direct = of(parts.flat())
      expect(merged.buckets()).toEqual(direct.buckets())
      expect([merged.count, merged.min, merged.max]).toEqual([direct.count, direct.min, direct.max])
      expect(Math.abs(merged.sum - direct.sum)).toBeLessThanOrEqual(1e-9 * direct.sum)
    }),
  )
})

test('a histogram read back is the one that was stored, byte for byte', () => {
  fc.assert(
    fc.property(durations, (values) => {
      const bytes = of(values).encode()
      expect(mergeHistograms([bytes]).encode()).toEqual(bytes)
    }),
  )
})

test('a minute of 600 calls between 50 ms and 10 s takes less than a kilobyte', () => {
  const bytes = of(Array.from({ length: 600 }, (_, i) => 50 * 200 ** (i / 600))).encode()
  expect(bytes.length).toBeLessThan(1_000)
})

test('what is no duration is refused, and so are bytes that are no histogram', () => {
  for (const value of [Number.NaN, -1, Number.POSITIVE_INFINITY]) expect(() => new Histogram().add(value)).toThrow('at least 0')
  expect(() => mergeHistograms([new Uint8Array([9, 9, 9])])).toThrow('not a histogram')
  const cut = of([1, 2, 3]).encode().slice(0, -1)
  expect(() => mergeHistograms([cut])).toThrow('not a histogram')
})

test('a histogram of nothing has no percentile, no least and no greatest value', () => {
  const empty = mergeHistograms([new Histogram().encode(), new Uint8Array()])
  expect([empty.count, empty.sum, empty.percentile(0.5), empty.min, empty.max]).toEqual([0, 0, Number.NaN, Number.NaN, Number.NaN])
})
