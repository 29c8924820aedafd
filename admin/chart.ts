import { scaleLinear, scaleTime } from 'd3-scale'
import { line } from 'd3-shape'
import { round, type XTick, xTick, type YTick, yTick } from './axis.ts'
import { formatClock, formatDay, formatInstant, formatNumber } from './format.ts'

/** One line or one part of the bars; `mark` is its colour and dash in the style sheet. */
export interface Series {
  readonly name: string
  readonly mark: 's1' | 's2' | 's3' | 's4'
  /** One per bucket; undefined leaves a gap. */
  readonly values: readonly (number | undefined)[]
}

export interface ChartInput {
  readonly title: string
  /** As in the heading: 's', 'calls/s'. */
  readonly unit: string
  readonly kind: 'lines' | 'bars'
  readonly fromUnixMs: number
  readonly toUnixMs: number
  readonly bucketMs: number
  /** Starts of the buckets that the series have values for. */
  readonly atUnixMs: readonly number[]
  readonly series: readonly Series[]
}

/** A chart for its view: drawn twice, since the text of an SVG shrinks with it, and as a table. */
export interface Chart {
  readonly title: string
  readonly unit: string
  readonly label: string
  readonly bars: boolean
  /** Bars without a single one: said in words. */
  readonly none: boolean
  readonly legend: readonly { readonly name: string; readonly mark: string }[]
  readonly drawings: readonly Drawing[]
  readonly rows: readonly { readonly at: { readonly text: string; readonly utc: string }; readonly values: readonly string[] }[]
}

interface Drawing {
  readonly size: 'wide' | 'narrow'
  readonly width: number
  readonly height: number
  readonly left: number
  readonly right: number
  readonly bottom: number
  readonly yTicks: readonly (YTick & { readonly base: boolean })[]
  readonly xTicks: readonly XTick[]
  readonly paths: readonly { readonly d: string; readonly mark: string }[]
  readonly dots: readonly { readonly x: number; readonly y: number; readonly mark: string }[]
  readonly bars: readonly {
    readonly x: number
    readonly y: number
    readonly width: number
    readonly height: number
    readonly mark: string
  }[]
  readonly hits: readonly { readonly x: number; readonly width: number; readonly centre: number; readonly text: string }[]
}

const SIZES = [
  { size: 'wide', width: 620, height: 190, ticks: 5 },
  { size: 'narrow', width: 340, height: 180, ticks: 3 },
] as const
const MARGIN = { left: 40, right: 8, top: 10, bottom: 24 } as const
const DAY_MS = 86_400_000

/** Lines or stacked bars over time, from 0 up. */
export function createChart(input: ChartInput): Chart {
  const { title, unit, series, atUnixMs } = input
  // Written once: zones make an instant the dearest text of a page, and it stands in both drawings and the table.
  const instants = atUnixMs.map(formatInstant)
  const figures = series.map(({ values }) => atUnixMs.map((_, i) => formatNumber(values[i])))
  const texts = instants.map(({ text }, i) => [text, ...series.map(({ name }, k) => `${name} ${figures[k]?.[i] ?? 'unknown'}`)].join('\n'))
  return {
    title,
    unit,
    label: `${title}, ${unit}: chart, its data in the table below`,
    bars: input.kind === 'bars',
    none: input.kind === 'bars' && series.every(({ values }) => values.every((value) => !value)),
    legend: series.map(({ name, mark }) => ({ name, mark })),
    drawings: SIZES.map((size) => draw(input, size, texts)),
    rows: instants.map((at, i) => ({ at, values: figures.map((own) => own[i] ?? '–') })).reverse(),
  }
}

function draw(input: ChartInput, { size, width, height, ticks }: (typeof SIZES)[number], texts: readonly string[]): Drawing {
  const { fromUnixMs, toUnixMs, kind } = input
  const right = width - MARGIN.right
  const bottom = height - MARGIN.bottom
  const x = scaleTime().domain([fromUnixMs, toUnixMs]).range([MARGIN.left, right])
  const y = scaleLinear()
    .domain([0, greatest(input)])
    .nice(4)
    .range([bottom, MARGIN.top])
  const values = y.ticks(4).filter((tick) => kind === 'lines' || Number.isInteger(tick))
  const longer = toUnixMs - fromUnixMs > 2 * DAY_MS
  return {
    size,
    width,
    height,
    left: MARGIN.left,
    right,
    bottom,
    yTicks: values.map((tick) => ({
      ...yTick({ y: y(tick), text: kind === 'bars' ? String(tick) : y.tickFormat(4)(tick) }),
      base: tick === 0,
    })),
    // Labels are of minutes: within a young log d3 would offer seconds, and the same label twice.
    xTicks: x
      .ticks(ticks)
      .filter((tick) => tick.getTime() % 60_000 === 0)
      .map((tick) => {
        const text = longer ? formatDay(tick.getTime()) : formatClock(tick.getTime())
        return xTick({ x: x(tick), text, left: MARGIN.left, right })
      }),
    ...(kind === 'lines' ? drawLines(input, x, y) : drawBars(input, x, y)),
    hits: hits(input, x, texts),
  }
}

type Scale = (value: number) => number

/** Bucket i stands at its middle: what it holds happened around there. */
const middle = (input: ChartInput, x: Scale, i: number): number => x((input.atUnixMs[i] ?? 0) + input.bucketMs / 2)

function drawLines(input: ChartInput, x: Scale, y: Scale): Pick<Drawing, 'paths' | 'dots' | 'bars'> {
  const paths = input.series.map(({ values, mark }) => {
    const curve = line<number | undefined>()
      .defined((value) => value !== undefined)
      .x((_, i) => middle(input, x, i))
      .y((value) => y(value ?? 0))
      .digits(1)
    return { d: curve(values) ?? '', mark }
  })
  const dots = input.series.flatMap(({ values, mark }) =>
    values.flatMap((value, i) => {
      const alone = value !== undefined && values[i - 1] === undefined && values[i + 1] === undefined
      return alone ? [{ x: round(middle(input, x, i)), y: round(y(value)), mark }] : []
    }),
  )
  return { paths, dots, bars: [] }
}

function drawBars(input: ChartInput, x: Scale, y: Scale): Pick<Drawing, 'paths' | 'dots' | 'bars'> {
  const width = Math.max(1, round((x(input.fromUnixMs + input.bucketMs) - x(input.fromUnixMs)) * 0.8))
  const bars = input.atUnixMs.flatMap((_, i) => {
    let below = 0
    return input.series.flatMap(({ values, mark }) => {
      const value = values[i] ?? 0
      const from = y(below)
      below += value
      if (value === 0) return []
      return [{ x: round(middle(input, x, i) - width / 2), y: round(y(below)), width, height: round(from - y(below)), mark }]
    })
  })
  return { paths: [], dots: [], bars }
}

/** A strip per bucket that shows its figures when pointed at: the browser's own tooltip, no script. */
function hits({ atUnixMs, bucketMs, toUnixMs }: ChartInput, x: Scale, texts: readonly string[]): Drawing['hits'] {
  return atUnixMs.map((at, i) => {
    const from = round(x(at))
    const width = Math.max(0, round(x(Math.min(at + bucketMs, toUnixMs)) - from))
    return { x: from, width, centre: round(from + width / 2), text: texts[i] ?? '' }
  })
}

function greatest({ series, atUnixMs, kind }: ChartInput): number {
  const sums = atUnixMs.map((_, i) => {
    const values = series.map(({ values }) => values[i] ?? 0)
    return kind === 'lines' ? Math.max(0, ...values) : values.reduce((sum, value) => sum + value, 0)
  })
  return Math.max(0, ...sums) || 1
}
