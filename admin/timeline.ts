import { scaleLinear } from 'd3-scale'
import type { Decision, NeighbourCall } from '../plugin/log/read/decision.ts'
import { formatCount, formatNumber } from './format.ts'

/** One stretch of a call's life, from its arrival, ms. */
export interface Phase {
  readonly name: string
  readonly tone: 'held' | 'failed' | 'prefill' | 'decode' | 'cut'
  readonly fromMs: number
  readonly toMs: number
  readonly where: string
}

interface Bar {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
  readonly tone: string
  readonly title: string
  /** Inside the bar, where it fits. */
  readonly text: string | undefined
  readonly textX: number
  readonly textY: number
}

/** The drawing for its view, once for wide windows and once for narrow ones. */
export interface Timeline {
  readonly drawings: readonly {
    readonly size: 'wide' | 'narrow'
    readonly width: number
    readonly height: number
    readonly left: number
    readonly right: number
    readonly axisY: number
    readonly ticks: readonly { readonly x: number; readonly text: string; readonly anchor: string }[]
    readonly bars: readonly Bar[]
    readonly labels: readonly { readonly y: number; readonly text: string }[]
  }[]
  readonly hidden: number
}

const SIZES = [
  { size: 'wide', width: 760, left: 92, right: 752, ticks: 6 },
  { size: 'narrow', width: 340, left: 2, right: 334, ticks: 4 },
] as const
/** Rows of other calls drawn at most; more would be a grey block. */
const LANES_MAX = 12
const LANE_PX = 14
const CHARACTER_PX = 6.4

/** What the call went through, in order: held, tries that failed, waiting for the first token, decoding. */
export function phasesOf({ call, attempts, instance }: Decision): Phase[] {
  const phases: Phase[] = []
  const add = (phase: Phase): void => {
    if (phase.toMs > phase.fromMs) phases.push(phase)
  }
  const where = instance ?? 'nowhere'
  if (call.heldMs > 0) add({ name: 'held', tone: 'held', fromMs: 0, toMs: call.heldMs, where: 'in the router' })
  for (const attempt of attempts.slice(0, -1))
    add({
      name: attempt.error ?? attempt.outcome,
      tone: 'failed',
      fromMs: attempt.startedMs,
      toMs: attempt.endedMs,
      where: attempt.instance,
    })
  const last = attempts.at(-1)
  const startMs = last?.startedMs ?? call.placedMs
  const endMs = call.e2eMs
  const at = last?.instance ?? where
  const tokens = call.outputTokens === null ? '' : `, ${formatCount(call.outputTokens)} tokens`
  const cut = call.outcome === 'completed' ? undefined : (call.error ?? call.outcome)
  if (call.ttftMs === null || call.ttftMs >= endMs)
    add({ name: cut ?? `answer${tokens}`, tone: cut === undefined ? 'decode' : 'cut', fromMs: startMs, toMs: endMs, where: at })
  else {
    add({ name: 'prefill', tone: 'prefill', fromMs: startMs, toMs: call.ttftMs, where: at })
    add({
      name: cut === undefined ? `decode${tokens}` : `decode${tokens}, ${cut}`,
      tone: cut ? 'cut' : 'decode',
      fromMs: call.ttftMs,
      toMs: endMs,
      where: at,
    })
  }
  return phases
}

/** The call's phases over the other calls that were on its instance meanwhile. */
export function createTimeline(decision: Decision, phases: readonly Phase[]): Timeline {
  const { lanes, hidden } = lanesOf(decision)
  return { hidden, drawings: SIZES.map((size) => draw({ decision, phases, lanes, size })) }
}

interface Stretch {
  readonly fromMs: number
  readonly toMs: number
}

/** Packs the others into rows, first come first. */
function lanesOf({ call, neighbours }: Decision): { readonly lanes: readonly (readonly Stretch[])[]; readonly hidden: number } {
  const lanes: Stretch[][] = []
  let hidden = 0
  const stretches = neighbours.map((other) => stretchOf(other, call.arrivedUnixMs)).sort((a, b) => a.fromMs - b.fromMs)
  for (const { fromMs, toMs } of stretches) {
    const stretch = { fromMs: Math.max(0, fromMs), toMs: Math.min(call.e2eMs, toMs) }
    if (stretch.toMs <= stretch.fromMs) continue
    const lane = lanes.find((row) => (row.at(-1)?.toMs ?? 0) < stretch.fromMs)
    if (lane !== undefined) lane.push(stretch)
    else if (lanes.length < LANES_MAX) lanes.push([stretch])
    else hidden++
  }
  return { lanes, hidden }
}

/** When another call was on the instance, from this call's arrival, ms. */
export const stretchOf = (other: NeighbourCall, arrivedUnixMs: number): Stretch => ({
  fromMs: other.arrivedUnixMs - arrivedUnixMs + other.placedMs,
  toMs: other.arrivedUnixMs - arrivedUnixMs + other.e2eMs,
})

function draw(parts: {
  readonly decision: Decision
  readonly phases: readonly Phase[]
  readonly lanes: readonly (readonly Stretch[])[]
  readonly size: (typeof SIZES)[number]
}): Timeline['drawings'][number] {
  const { phases, lanes, decision } = parts
  const { size, width, left, right, ticks } = parts.size
  const beside = size === 'wide'
  const top = beside ? 12 : 22
  const below = top + 26 + (beside ? 18 : 30)
  const axisY = lanes.length === 0 ? top + 26 + 12 : below + lanes.length * LANE_PX + 6
  const inSeconds = scaleLinear()
    .domain([0, Math.max(0.001, decision.call.e2eMs / 1000)])
    .range([left, right])
  const x = (ms: number): number => inSeconds(ms / 1000)
  const tickText = inSeconds.tickFormat(ticks)
  const bar = (
    stretch: Stretch,
    box: { readonly y: number; readonly height: number; readonly tone: string; readonly name: string },
  ): Bar => {
    const from = round(x(stretch.fromMs))
    const wide = Math.max(1.5, round(x(stretch.toMs) - x(stretch.fromMs)))
    const fits = box.name.length * CHARACTER_PX + 8 < wide
    return {
      x: from,
      y: box.y,
      width: wide,
      height: box.height,
      tone: box.tone,
      title: `${box.name}: ${seconds(stretch.fromMs)} to ${seconds(stretch.toMs)}`,
      text: fits && box.height > 12 ? box.name : undefined,
      textX: round(from + wide / 2),
      textY: box.y + 17,
    }
  }
  const own = phases.map((phase) => bar(phase, { y: top, height: 26, tone: phase.tone, name: phase.name }))
  const others = lanes.flatMap((lane, i) =>
    lane.map((stretch) => bar(stretch, { y: below + i * LANE_PX, height: 9, tone: 'other', name: 'another call' })),
  )
  const label = (text: string, y: number, height: number) => ({ text, y: beside ? y + height / 2 + 4 : y - 7 })
  return {
    size,
    width,
    height: axisY + 26,
    left,
    right,
    axisY,
    ticks: inSeconds.ticks(ticks).map((tick) => {
      const at = round(inSeconds(tick))
      return { x: at, text: `${tickText(tick)} s`, anchor: at < left + 12 ? 'start' : at > right - 12 ? 'end' : 'middle' }
    }),
    bars: [...own, ...others],
    labels: [
      label('this call', top, 26),
      ...(lanes.length === 0 ? [] : [label('others there', below, Math.max(9, lanes.length * LANE_PX - 5))]),
    ],
  }
}

const seconds = (ms: number): string => `${formatNumber(ms / 1000)} s`
const round = (value: number): number => Math.round(value * 10) / 10
