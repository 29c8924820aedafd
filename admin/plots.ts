import { scaleLinear } from 'd3-scale'
import { line } from 'd3-shape'
import { round, type XTick, xTick, type YTick, yTick } from './axis.ts'
import { formatNumber, formatPercent } from './format.ts'

/** Drawings over anything but time: ranges by name, and lines over numbers. Drawn twice, since the text of an SVG shrinks with it, and told as a table. */

const SIZES = [
  { size: 'wide', width: 620 },
  { size: 'narrow', width: 340 },
] as const

/** One row of a range plot: a value with its interval, undefined where it has none. */
export interface RangeRow {
  readonly name: string
  readonly value: number
  readonly low?: number | undefined
  readonly high?: number | undefined
  /** The one that others are compared with: drawn hollow. */
  readonly base?: boolean
}

export interface RangePlot {
  readonly title: string
  readonly label: string
  readonly drawings: readonly RangeDrawing[]
  readonly rows: readonly { readonly name: string; readonly value: string; readonly low: string; readonly high: string }[]
}

interface RangeDrawing {
  readonly size: string
  readonly width: number
  readonly height: number
  readonly left: number
  readonly right: number
  readonly bottom: number
  readonly zero: number
  readonly nameAnchor: string
  readonly ticks: readonly { readonly x: number; readonly text: string }[]
  readonly rows: readonly {
    readonly y: number
    readonly textY: number
    readonly nameX: number
    readonly name: string
    readonly x: number
    readonly from: number
    readonly to: number
    readonly ranged: boolean
    readonly base: boolean
    readonly title: string
  }[]
}

const ROW_PX = 24
const CHARACTER_PX = 6.2

/** Values with their intervals, one row each; `kind` says how they read. */
export function createRangePlot(given: {
  readonly title: string
  readonly kind: 'ratio' | 'number'
  readonly rows: readonly RangeRow[]
}): RangePlot {
  const { title, kind, rows } = given
  const text = (value: number | undefined): string => (kind === 'ratio' ? formatPercent(value) : formatNumber(value)) ?? '–'
  const ends = rows.flatMap((row) => [row.value, row.low ?? row.value, row.high ?? row.value]).filter(Number.isFinite)
  const domain: [number, number] = [Math.min(0, ...ends), Math.max(0, ...ends) || 1]
  return {
    title,
    label: `${title}: drawing, its data in the table below`,
    drawings: SIZES.map(({ size, width }) => {
      const beside = size === 'wide'
      const left = beside ? 12 + Math.ceil(Math.max(0, ...rows.map(({ name }) => name.length)) * CHARACTER_PX) : 18
      const rowPx = beside ? ROW_PX : ROW_PX + 14
      const bottom = rows.length * rowPx + 8
      const x = scaleLinear()
        .domain(domain)
        .nice(5)
        .range([left, width - 24])
      return {
        size,
        width,
        height: bottom + 22,
        left,
        right: width - 24,
        bottom,
        zero: round(x(0)),
        nameAnchor: beside ? 'end' : 'start',
        ticks: x.ticks(beside ? 6 : 4).map((tick) => ({ x: round(x(tick)), text: text(tick) })),
        rows: rows.map((row, i) => {
          const y = i * rowPx + rowPx - 10
          const ranged = row.low !== undefined && row.high !== undefined
          const [low, high] = [row.low ?? row.value, row.high ?? row.value]
          return {
            y,
            textY: beside ? y + 4 : y - 10,
            nameX: beside ? left - 8 : 4,
            name: row.name,
            x: round(x(row.value)),
            from: round(x(low)),
            to: round(x(high)),
            ranged,
            base: row.base ?? false,
            title: `${row.name}: ${text(row.value)}${ranged ? ` (95 % interval ${text(low)} to ${text(high)})` : ''}`,
          }
        }),
      }
    }),
    rows: rows.map((row) => ({ name: row.name, value: text(row.value), low: text(row.low), high: text(row.high) })),
  }
}

/** One line of an x-y plot; `mark` is its colour and dash. */
export interface XySeries {
  readonly name: string
  readonly mark: 's1' | 's2' | 's3' | 's4'
  readonly points: readonly { readonly x: number; readonly y: number }[]
}

export interface XyPlot {
  readonly title: string
  readonly xName: string
  readonly yName: string
  readonly label: string
  readonly legend: readonly { readonly name: string; readonly mark: string }[]
  readonly drawings: readonly XyDrawing[]
  readonly rows: readonly { readonly x: string; readonly values: readonly string[] }[]
}

interface XyDrawing {
  readonly size: string
  readonly width: number
  readonly height: number
  readonly left: number
  readonly right: number
  readonly bottom: number
  readonly diagonal: { readonly x1: number; readonly y1: number; readonly x2: number; readonly y2: number } | undefined
  readonly yTicks: readonly YTick[]
  readonly xTicks: readonly XTick[]
  readonly paths: readonly { readonly d: string; readonly mark: string }[]
  readonly dots: readonly { readonly x: number; readonly y: number; readonly mark: string; readonly title: string }[]
}

/** Dots are drawn on lines with at most so many points; more would be a worm. */
const DOTS_MAX = 40
const HEIGHT = { wide: 210, narrow: 200 } as const

/** Lines over a number. `diagonal` draws where x equals y, e.g. a perfect calibration. */
export function createXyPlot(given: {
  readonly title: string
  readonly xName: string
  readonly yName: string
  readonly series: readonly XySeries[]
  readonly diagonal?: boolean
}): XyPlot {
  const { title, xName, yName, series } = given
  const all = series.flatMap(({ points }) => points).filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y))
  const [xs, ownYs] = [spanOf(all.map(({ x }) => x)), spanOf(all.map(({ y }) => y))]
  const ys = given.diagonal ? spanOf([...xs, ...ownYs]) : ownYs
  return {
    title,
    xName,
    yName,
    label: `${title}: ${yName} over ${xName}, drawing, its data in the table below`,
    legend: series.map(({ name, mark }) => ({ name, mark })),
    drawings: SIZES.map(({ size, width }) => drawXy({ size, width, xs, ys, series, diagonal: given.diagonal ?? false })),
    rows: [...new Set(all.map(({ x }) => x))]
      .sort((a, b) => a - b)
      .map((x) => ({
        x: formatNumber(x) ?? '–',
        values: series.map(({ points }) => formatNumber(points.find((point) => point.x === x)?.y) ?? '–'),
      })),
  }
}

/** From the least to the greatest; where all are one value, a stretch around it, so that its labels differ. */
function spanOf(values: readonly number[]): [number, number] {
  if (values.length === 0) return [0, 1]
  const [least, most] = [Math.min(...values), Math.max(...values)]
  const around = Math.abs(least) / 10 || 1
  return least === most ? [least - around, most + around] : [least, most]
}

function drawXy(given: {
  readonly size: (typeof SIZES)[number]['size']
  readonly width: number
  readonly xs: [number, number]
  readonly ys: [number, number]
  readonly series: readonly XySeries[]
  readonly diagonal: boolean
}): XyDrawing {
  const { size, width, series, diagonal } = given
  const height = HEIGHT[size]
  const [left, right, bottom] = [46, width - 12, height - 26]
  const x = scaleLinear().domain(given.xs).nice(5).range([left, right])
  const y = scaleLinear().domain(given.ys).nice(4).range([bottom, 10])
  const draw = line<{ readonly x: number; readonly y: number }>()
    .defined((point) => Number.isFinite(point.y))
    .x((point) => x(point.x))
    .y((point) => y(point.y))
    .digits(1)
  const [low = 0, high = 1] = x.domain()
  return {
    size,
    width,
    height,
    left,
    right,
    bottom,
    diagonal: diagonal ? { x1: round(x(low)), y1: round(y(low)), x2: round(x(high)), y2: round(y(high)) } : undefined,
    yTicks: y.ticks(4).map((tick) => yTick({ y: y(tick), text: y.tickFormat(4)(tick) })),
    xTicks: x.ticks(size === 'wide' ? 7 : 4).map((tick) => xTick({ x: x(tick), text: String(tick), left, right })),
    paths: series.map(({ points, mark }) => ({ d: draw(points.toSorted((a, b) => a.x - b.x)) ?? '', mark })),
    dots: series.flatMap(({ name, points, mark }) =>
      points.length > DOTS_MAX
        ? []
        : points.flatMap((point) =>
            Number.isFinite(point.y)
              ? [{ x: round(x(point.x)), y: round(y(point.y)), mark, title: `${name}: ${formatNumber(point.x)}, ${formatNumber(point.y)}` }]
              : [],
          ),
    ),
  }
}
