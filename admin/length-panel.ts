import { scaleLinear, scaleLog } from 'd3-scale'
import type { StoredCall } from '../plugin/log/read/decision.ts'
import { BUCKETS, positionOf, storedLength, tokensAt, unpackCumulative } from '../plugin/log/read/lengths.ts'
import { round, type XTick, xTick } from './axis.ts'
import { formatCount, formatPercentWhole } from './format.ts'

/** The predicted distribution of the answer's length against what came, for its view: drawn for wide and narrow windows, and as a table. */
export interface LengthPanel {
  /** What predicted, in words. */
  readonly from: string
  readonly label: string
  /** Where what came lies in what was predicted, in words; undefined where nothing came. */
  readonly verdict: string | undefined
  readonly drawings: readonly Drawing[]
  readonly rows: readonly { readonly name: string; readonly text: string }[]
}

interface Drawing {
  readonly size: 'wide' | 'narrow'
  readonly width: number
  readonly height: number
  readonly left: number
  readonly right: number
  readonly axisY: number
  readonly ticks: readonly XTick[]
  readonly bars: readonly {
    readonly x: number
    readonly y: number
    readonly width: number
    readonly height: number
    readonly inner: boolean
    readonly title: string
  }[]
  readonly marks: readonly {
    readonly kind: 'median' | 'actual'
    readonly x: number
    readonly top: number
    readonly text: string
    readonly anchor: string
    readonly textX: number
  }[]
}

const SIZES = [
  { size: 'wide', width: 420, height: 190, left: 6, right: 412, ticks: 7 },
  { size: 'narrow', width: 340, height: 180, left: 4, right: 334, ticks: 5 },
] as const
const TOP = 34
const BOTTOM = 24
/** Buckets outside are not drawn: they would be flat. */
const SHOWN_FROM = 0.002
/** Levels listed in the table. */
const LEVELS = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95] as const
/** The darker bars hold so much, in the middle. */
const INNER = [0.1, 0.9] as const
const DECADES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000]

/** What a call's row tells of its predicted length; undefined where no distribution was logged. */
export function createLengthPanel(call: StoredCall): LengthPanel | undefined {
  const cumulative = call.predictedLength === null ? undefined : unpackCumulative(storedLength(call.predictedLength))
  if (!cumulative) return undefined
  const quantiles = LEVELS.map((level) => ({ level, tokens: quantileOf(cumulative, level) }))
  const actual = call.outputTokens ?? undefined
  return {
    from: sourceWords(call),
    label: 'Predicted distribution of output tokens and what came, its data in the table below',
    verdict: actual === undefined ? undefined : verdictOf(cumulative, { actual, cut: call.censored === 1 }),
    drawings: SIZES.map((size) => draw({ cumulative, actual, cut: call.censored === 1, size })),
    rows: quantiles.map(({ level, tokens }) => ({
      name: `${formatPercentWhole(level)} stay below`,
      text: `${formatCount(Math.round(tokens))} tokens`,
    })),
  }
}

function sourceWords({ lengthSource, lengthVersion }: StoredCall): string {
  if (lengthSource === 'model') return `by ${lengthVersion}`
  return lengthSource === null ? 'source unknown' : `by the ${lengthSource.replace(' history', '’s history')}`
}

/** The tokens below which a share of answers stays: linear between edges on the logarithmic axis. */
function quantileOf(cumulative: Float64Array, level: number): number {
  let k = 0
  while (k < BUCKETS - 1 && (cumulative[k + 1] as number) < level) k++
  const low = cumulative[k] as number
  const mass = (cumulative[k + 1] as number) - low
  return tokensAt(k + (mass > 0 ? Math.min(1, Math.max(0, (level - low) / mass)) : 0.5))
}

function levelOf(cumulative: Float64Array, tokens: number): number {
  const position = positionOf(tokens)
  const k = Math.min(BUCKETS - 1, Math.floor(position))
  const low = cumulative[k] as number
  return low + (position - k) * ((cumulative[k + 1] as number) - low)
}

function verdictOf(cumulative: Float64Array, { actual, cut }: { readonly actual: number; readonly cut: boolean }): string {
  const below = formatPercentWhole(levelOf(cumulative, Math.max(1, actual)))
  const came = `${formatCount(actual)} tokens came${cut ? ', then the answer was cut' : ''}`
  return `${came}: ${below} of such answers were expected to be shorter.`
}

function draw(parts: {
  readonly cumulative: Float64Array
  readonly actual: number | undefined
  readonly cut: boolean
  readonly size: (typeof SIZES)[number]
}): Drawing {
  const { cumulative, actual, cut } = parts
  const { size, width, height, left, right, ticks } = parts.size
  const masses = Array.from({ length: BUCKETS }, (_, k) => (cumulative[k + 1] as number) - (cumulative[k] as number))
  const [first, last] = shownBuckets(masses, actual)
  const axisY = height - BOTTOM
  const x = scaleLog()
    .domain([tokensAt(first), tokensAt(last + 1)])
    .range([left, right])
  const y = scaleLinear()
    .domain([0, Math.max(...masses)])
    .range([axisY, TOP])
  const bars = masses.slice(first, last + 1).map((mass, i) => {
    const k = first + i
    const from = x(tokensAt(k))
    const middle = ((cumulative[k] as number) + (cumulative[k + 1] as number)) / 2
    return {
      x: round(from + 0.5),
      y: round(y(mass)),
      width: Math.max(1, round(x(tokensAt(k + 1)) - from - 1)),
      height: round(axisY - y(mass)),
      inner: middle >= INNER[0] && middle <= INNER[1],
      title: `${formatCount(Math.ceil(tokensAt(k)))} to ${formatCount(Math.floor(tokensAt(k + 1)))} tokens: ${formatPercentWhole(mass)}`,
    }
  })
  const shown = DECADES.filter((tick) => tick >= tokensAt(first) && tick <= tokensAt(last + 1))
  const every = Math.ceil(shown.length / ticks)
  return {
    size,
    width,
    height,
    left,
    right,
    axisY,
    ticks: shown.filter((_, i) => i % every === 0).map((tick) => xTick({ x: x(tick), text: formatCount(tick) ?? '', left, right })),
    bars,
    marks: marksOf({ x, median: quantileOf(cumulative, 0.5), actual, cut, left, right }),
  }
}

/** From the first to the last bucket that holds something or what came, and one on either side. */
function shownBuckets(masses: readonly number[], actual: number | undefined): readonly [number, number] {
  const held = masses.flatMap((mass, k) => (mass >= SHOWN_FROM ? [k] : []))
  const came = actual === undefined ? [] : [Math.min(BUCKETS - 1, Math.floor(positionOf(Math.max(1, actual))))]
  const all = [...held, ...came]
  return [Math.max(0, Math.min(...all) - 1), Math.min(BUCKETS - 1, Math.max(...all) + 1)]
}

function marksOf(parts: {
  readonly x: (tokens: number) => number
  readonly median: number
  readonly actual: number | undefined
  readonly cut: boolean
  readonly left: number
  readonly right: number
}): Drawing['marks'] {
  const { x, median, actual, cut, left, right } = parts
  const mark = (kind: 'median' | 'actual', tokens: number, text: string) => {
    const at = round(Math.min(right, Math.max(left, x(Math.max(1, tokens)))))
    const anchor = at > (left + right) / 2 ? 'end' : 'start'
    return { kind, x: at, top: kind === 'actual' ? 4 : 18, text, anchor, textX: round(at + (anchor === 'end' ? -4 : 4)) }
  }
  return [
    mark('median', median, `median ${formatCount(Math.round(median))}`),
    ...(actual === undefined ? [] : [mark('actual', actual, `came ${formatCount(actual)}${cut ? ', cut' : ''}`)]),
  ]
}
