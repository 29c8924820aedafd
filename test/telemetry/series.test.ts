import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createCallMetrics } from '../../plugin/telemetry/call-metrics.ts'
import { GEN_AI, LOOP, type MetricDefinition, READINGS } from '../../plugin/telemetry/metrics.ts'
import { SERIES_MAX, SeriesTable } from '../../plugin/telemetry/series.ts'
import { settledCall } from './settled.ts'

interface Point {
  readonly attributes: Readonly<Record<string, unknown>>
  readonly value: { readonly count: number; readonly sum: number; readonly buckets: { readonly counts: number[] } }
}
const histogramPoints = (table: SeriesTable, definition: MetricDefinition): Point[] =>
  (table.collect(0).find((data) => data.descriptor.name === definition.name)?.dataPoints ?? []) as unknown as Point[]

test('every value lands in the bucket whose bounds hold it, and none is lost', () => {
  const { boundaries } = GEN_AI.timePerOutputToken
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 10, noNaN: true }), { minLength: 1 }), (values) => {
      const table = new SeriesTable(0)
      const cell = table.histogram(GEN_AI.timePerOutputToken, {})
      for (const value of values) cell.record(value)
      const { count, sum, buckets } = histogramPoints(table, GEN_AI.timePerOutputToken)[0]!.value
      expect(count).toBe(values.length)
      expect(sum).toBeCloseTo(
        values.reduce((a, b) => a + b, 0),
        6,
      )
      const expected = [...boundaries, Number.POSITIVE_INFINITY].map(
        (upper, i) => values.filter((value) => value <= upper && value > (boundaries[i - 1] ?? Number.NEGATIVE_INFINITY)).length,
      )
      expect(buckets.counts).toEqual(expected)
    }),
  )
})

test('a time that is not a number is not recorded', () => {
  const table = new SeriesTable(0)
  table.histogram(GEN_AI.requestDuration, {}).record(Number.NaN)
  expect(table.collect(0)).toEqual([])
})

test('equal attributes are one series, however often they are asked for', () => {
  const table = new SeriesTable(0)
  for (let i = 0; i < 3; i++) table.counter(LOOP.lost, { 'phasewise.what': 'rows' }).add(2)
  expect(table.collect(0)[0]?.dataPoints).toMatchObject([{ value: 6 }])
})

test('model names without end do not grow the table without end, and no call goes uncounted', () => {
  const table = new SeriesTable(0)
  const settle = createCallMetrics(table)
  const calls = SERIES_MAX * 3
  for (let i = 0; i < calls; i++) settle(settledCall({ call: { api: 'openai-chat', model: `m${i}`, stream: false } }))
  const points = histogramPoints(table, GEN_AI.requestDuration)
  expect(points.length).toBe(SERIES_MAX + 1)
  expect(points.reduce((sum, point) => sum + point.value.count, 0)).toBe(calls)
  expect(points.find((point) => point.attributes['otel.metric.overflow'])?.value.count).toBe(calls - SERIES_MAX)
})

test('buckets suit seconds: they span from the fastest to the slowest call we allow, no step wider than fivefold', () => {
  const spans: [MetricDefinition, number, number][] = [
    [GEN_AI.requestDuration, 0.01, 1_300],
    [GEN_AI.timeToFirstToken, 0.001, 300],
    [GEN_AI.timePerOutputToken, 0.001, 2.5],
    [LOOP.decisionDuration, 1e-6, 0.1],
    [LOOP.holdDuration, 0.001, 60],
  ]
  for (const [definition, least, most] of spans) {
    const { boundaries } = definition
    expect(definition.unit).toBe('s')
    expect(boundaries[0]).toBeLessThanOrEqual(least)
    expect(boundaries.at(-1)).toBeGreaterThanOrEqual(most)
    for (const [i, bound] of boundaries.entries()) if (i > 0) expect(bound / boundaries[i - 1]!).toBeGreaterThan(1)
    for (const [i, bound] of boundaries.entries()) if (i > 0) expect(bound / boundaries[i - 1]!).toBeLessThanOrEqual(5.001)
  }
})

test('the conventions’ own boundaries are all among ours', () => {
  expect(GEN_AI.requestDuration.boundaries).toEqual(
    expect.arrayContaining([0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]),
  )
  expect(GEN_AI.timeToFirstToken.boundaries).toEqual(
    expect.arrayContaining([0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]),
  )
  expect(GEN_AI.timePerOutputToken.boundaries).toEqual(
    expect.arrayContaining([0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5]),
  )
  expect(GEN_AI.tokenUsage.boundaries.at(0)).toBe(1)
  expect(GEN_AI.tokenUsage.boundaries.at(-1)).toBe(67_108_864)
})

test('every metric has its own name, and ours start with phasewise', () => {
  const names = [...Object.values(GEN_AI), ...Object.values(LOOP), ...Object.values(READINGS)].map((each) => each.name)
  expect(new Set(names).size).toBe(names.length)
  for (const name of names) expect(name).toMatch(/^(gen_ai\.|phasewise\.)[a-z_.]+$/)
})
