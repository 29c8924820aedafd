import { FEWER_LATE } from '../../../plugin/log/control/verdict-words.ts'
import type { Model } from '../../answer.ts'
import { createRangePlot, createXyPlot } from '../../plots.ts'
import { type Measure, measuresOf, measureWords } from './numbers.ts'

/** Drawings of what a card or a verdict measured, as far as it did. */
export interface ModelPlots {
  readonly xys: readonly Model[]
  readonly ranges: readonly Model[]
}

type Json = Readonly<Record<string, unknown>>

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)
const isNumber = (value: unknown): value is number => typeof value === 'number'

/** Interval coverage is measured at these shares: what it should be is in its name. */
const COVERAGE = /coverage(\d+)$/

/** Calibration, error by bucket, gains with intervals, policies side by side. */
export function plotsOf(card: Json, numbers: Json): ModelPlots {
  const measures = [...measuresOf(card), ...measuresOf(numbers)]
  return {
    xys: calibration(measures, [card, numbers]),
    ranges: [...bucketErrors([card, numbers]), ...gains(measures, isInTime(numbers)), ...arms(numbers, isInTime(numbers))],
  }
}

/** How often an interval held what it promised to; where it was measured by quantile, that. */
function calibration(measures: readonly Measure[], sources: readonly Json[]): Model[] {
  const rows = findRows(sources, 'calibration').flatMap((row) => {
    const x = [row.predicted, row.level, row.quantile].find(isNumber)
    const y = [row.actual, row.observed, row.share].find(isNumber)
    return x === undefined || y === undefined ? [] : [{ x, y }]
  })
  const covered = measures.flatMap(({ name, value }) => {
    const promised = COVERAGE.exec(name)?.[1]
    return promised === undefined ? [] : [{ x: Number(promised) / 100, y: value }]
  })
  const points = rows.length > 0 ? rows : covered
  if (points.length < 2) return []
  const series = [{ name: 'measured', mark: 's1', points }] as const
  return [
    {
      ...createXyPlot({
        title: 'Calibration: promised against measured share',
        xName: 'promised',
        yName: 'measured',
        series,
        diagonal: true,
      }),
    },
  ]
}

function bucketErrors(sources: readonly Json[]): Model[] {
  const rows = findRows(sources, 'buckets').flatMap((row, i) => {
    const value = [row.error, row.medianFactor, row.mae, row.meanError].find(isNumber)
    const name = row.bucket ?? row.name ?? row.upTo ?? i
    return value === undefined ? [] : [{ name: String(name), value }]
  })
  return rows.length === 0 ? [] : [{ ...createRangePlot({ title: 'Error by bucket of length', kind: 'number', rows }) }]
}

/** The night's objective was calls in time, not latency. */
const isInTime = ({ gainWords }: Json): boolean => gainWords === FEWER_LATE

function gains(measures: readonly Measure[], inTime: boolean): Model[] {
  const rows = measures.flatMap(({ name, value, low, high }) =>
    // A second opinion from logged decisions is no play of the twin, nor is a gain in nats.
    /gain(?!Nats)/i.test(name) && !name.startsWith('secondOpinion') && low !== undefined
      ? [{ name: measureWords(name), value, low, high }]
      : [],
  )
  const title = `${inTime ? 'Fewer calls late' : 'Gain in mean E2E'}, in the twin, on later calls`
  return rows.length === 0 ? [] : [{ ...createRangePlot({ title, kind: 'ratio', rows }) }]
}

function arms(numbers: Json, inTime: boolean): Model[] {
  const rows = findRows([numbers], 'arms').flatMap((row) => {
    const value = inTime ? row.withinLimits : isNumber(row.meanE2eMs) ? row.meanE2eMs / 1000 : undefined
    return isNumber(value) ? [{ name: String(row.arm ?? row.policy ?? '?'), value, base: row.arm !== 'challenger' }] : []
  })
  const title = inTime ? 'Calls in time, in the twin' : 'Mean E2E in the twin, s'
  return rows.length === 0 ? [] : [{ ...createRangePlot({ title, kind: inTime ? 'ratio' : 'number', rows }) }]
}

/** The first list of objects under this name, however deep. */
function findRows(sources: readonly unknown[], name: string): Json[] {
  for (const source of sources) {
    if (!isObject(source)) continue
    const own = source[name]
    if (Array.isArray(own) && own.every(isObject)) return own
    const below = findRows(Object.values(source), name)
    if (below.length > 0) return below
  }
  return []
}
