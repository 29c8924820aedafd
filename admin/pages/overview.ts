import { type InstanceNow, readFleetNow, readOldestCall } from '../../plugin/log/read/now.ts'
import { type Merged, mergeSlices, type Slice } from '../../plugin/log/read/rollups.ts'
import { type Answer, type Model, mayUse, type Visit } from '../answer.ts'
import { type Chart, createChart, type Series } from '../chart.ts'
import { formatCount, formatDuration, formatNumber, formatPercent, formatPercentWhole, formatSeconds } from '../format.ts'
import { routerState } from '../frame.ts'
import type { PageParts } from '../routes.ts'
import { localInput } from '../zone.ts'
import { gainModel } from './gain.ts'
import { learningModel, noticesModel } from './overview-cards.ts'
import { switchNotice } from './switch.ts'
import { stateTone } from './tone.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000

/** The windows on offer; buckets give each chart 15 to 100 points. */
const WINDOWS = [
  { key: '15m', name: '15 min', words: 'last 15 minutes', spanMs: 15 * MINUTE_MS, bucketMs: MINUTE_MS },
  { key: '1h', name: '1 h', words: 'last hour', spanMs: HOUR_MS, bucketMs: MINUTE_MS },
  { key: '24h', name: '24 h', words: 'last 24 hours', spanMs: 24 * HOUR_MS, bucketMs: 15 * MINUTE_MS },
  { key: '7d', name: '7 d', words: 'last 7 days', spanMs: 7 * 24 * HOUR_MS, bucketMs: 2 * HOUR_MS },
  { key: '30d', name: '30 d', words: 'last 30 days', spanMs: 30 * 24 * HOUR_MS, bucketMs: 8 * HOUR_MS },
] as const
type WindowChoice = (typeof WINDOWS)[number]

/**
 * A bucket still running is shown once this much of it is over: calls count by their arrival and when they have ended, so the last moments
 * always look too quiet and too quick. With fewer buckets than BUCKETS_FEW it is shown all the same: better than nothing.
 */
const SHOWN_AFTER_MS = MINUTE_MS
const BUCKETS_FEW = 3

interface Span {
  readonly fromUnixMs: number
  readonly toUnixMs: number
  readonly bucketMs: number
  /** When the oldest call in the log arrived: a bucket that begins before covers only what is after. */
  readonly oldestUnixMs: number
}

/** How calls go, over a window: figures, charts, instances. */
export function overviewPage(parts: PageParts, visit: Visit): Answer {
  const choice = WINDOWS.find((one) => one.key === visit.query.window) ?? WINDOWS[1]
  const now = visit.nowUnixMs
  const pool = visit.query.pool
  // Ends at the end of the running bucket, so that the newest calls are in.
  const toUnixMs = (Math.floor(now / choice.bucketMs) + 1) * choice.bucketMs
  const window = { fromUnixMs: toUnixMs - choice.spanMs, toUnixMs, bucketMs: choice.bucketMs }
  const before = { ...window, fromUnixMs: window.fromUnixMs - choice.spanMs, toUnixMs: window.fromUnixMs }
  const look = parts.reader.read((query) => ({
    state: routerState(query, now),
    oldestUnixMs: readOldestCall(query),
    fleet: readFleetNow(query),
    slices: parts.rollups.slices(query, window, now),
    earlier: parts.rollups.slices(query, before, now),
  }))
  const span: Span = { ...window, oldestUnixMs: look.oldestUnixMs ?? window.fromUnixMs }
  const pools = poolNames(look.slices, look.fleet)
  const only = pool !== undefined && pools.includes(pool) ? pool : undefined
  const mine = <One extends { readonly pool: string }>(all: readonly One[]): readonly One[] =>
    only === undefined ? all : all.filter((one) => one.pool === only)
  const slices = mine(look.slices)
  const fleet = mine(look.fleet)
  const all = mergeSlices(slices)
  const buckets = all.calls === 0 ? [] : bucketsOf(slices, span, now)
  return {
    kind: 'page',
    view: 'overview',
    title: 'Overview',
    model: {
      warning: look.state.warning,
      notice: switchNotice(visit),
      isOff: look.state.router?.pools.some((one) => one.off) ?? false,
      maySwitch: mayUse(visit.user?.role, 'operator'),
      windows: WINDOWS.map((one) => ({ name: one.name, href: address(one, only), current: one === choice })),
      pools: pools.length < 2 ? [] : poolTabs(pools, only, choice),
      sub: `${only === undefined ? (pools.length === 1 ? `pool ${pools[0]}` : `${pools.length} pools`) : `pool ${only}`}, ${countOf(fleet.length, 'instance')}, ${choice.words}`,
      gain: gainModel(
        parts,
        (look.state.router?.pools ?? []).filter((one) => only === undefined || one.name === only),
      ),
      notices: noticesModel(parts, mayUse(visit.user?.role, 'operator')),
      learning: learningModel(parts, now),
      slowest: slowest(all, only, window),
      figures: all.calls === 0 ? undefined : figures({ all, earlier: mergeSlices(mine(look.earlier)), slices, buckets, span, now }),
      charts: all.calls === 0 ? [] : charts({ buckets, span, now }),
      instances: instances({ fleet, slices, all, now }),
      onePool: only !== undefined || pools.length === 1,
    },
  }
}

const address = (choice: WindowChoice, pool: string | undefined): string =>
  `/?window=${choice.key}${pool === undefined ? '' : `&pool=${encodeURIComponent(pool)}`}`

/** The slowest hundredth of the window's calls, to look into; undefined where none was completed. */
function slowest(all: Merged, pool: string | undefined, { fromUnixMs }: { readonly fromUnixMs: number }): Model | undefined {
  const p99Ms = all.e2e.percentile(0.99)
  if (!Number.isFinite(p99Ms)) return undefined
  const query = { ...(pool === undefined ? {} : { pool }), since: localInput(fromUnixMs), e2e: String(Math.floor(p99Ms) / 1000) }
  return { href: `/decisions?${new URLSearchParams(query)}`, from: formatDuration(p99Ms) }
}

const countOf = (count: number, noun: string): string => `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`

function poolNames(slices: readonly Slice[], fleet: readonly InstanceNow[]): string[] {
  return [...new Set([...fleet, ...slices].map((one) => one.pool))].sort()
}

function poolTabs(pools: readonly string[], only: string | undefined, choice: WindowChoice): Model[] {
  return [undefined, ...pools].map((pool) => ({ name: pool ?? 'All pools', href: address(choice, pool), current: pool === only }))
}

const failures = (all: Merged): number => all.instanceErrors + all.timedOut

function figures(parts: {
  readonly all: Merged
  readonly earlier: Merged
  readonly slices: readonly Slice[]
  readonly buckets: readonly Bucket[]
  readonly span: Span
  readonly now: number
}): Model[] {
  const { all, earlier, slices, buckets, span, now } = parts
  const first = startOf(Math.min(...slices.map((slice) => slice.atUnixMs)), span)
  const perSecond = all.calls / Math.max(1, (now - first) / 1000)
  const peak = Math.max(perSecond, ...buckets.map((bucket) => bucket.perSecond))
  const was = (ms: number): string =>
    earlier.completed === 0 ? 'nothing before to compare with' : `p99 was ${formatDuration(ms)} the window before`
  return [
    {
      name: 'Calls',
      value: formatCount(all.calls),
      detail: `${formatNumber(perSecond)} /s on average, ${formatNumber(peak)} /s at peak`,
    },
    { name: 'E2E p50 / p95 / p99', ...triple(all.e2e), detail: was(earlier.e2e.percentile(0.99)) },
    { name: 'TTFT p50 / p95 / p99', ...triple(all.ttft), detail: was(earlier.ttft.percentile(0.99)) },
    {
      name: 'Errors',
      value: formatCount(failures(all)),
      unit: failures(all) === 0 ? undefined : formatPercent(failures(all) / all.calls),
      detail: `${formatCount(all.retried)} retried, ${formatCount(all.clientsGone)} left by the caller`,
    },
    {
      name: 'Held',
      value: formatCount(all.held),
      unit: all.held === 0 ? undefined : formatPercent(all.held / all.calls),
      detail: all.held === 0 ? 'every call was placed at once' : `${formatDuration(all.heldMsSum / all.held)} on average`,
    },
  ]
}

/** All in the unit that suits the greatest. */
function triple(histogram: { percentile(ratio: number): number }): Model {
  const values = [0.5, 0.95, 0.99].map((ratio) => histogram.percentile(ratio))
  const inMs = (values[2] ?? 0) < 1000
  const text = (ms: number): string => (inMs ? formatCount(Math.round(ms)) : formatSeconds(ms)) ?? '–'
  return { value: values.map(text).join(' / '), unit: inMs ? 'ms' : 's', long: true }
}

interface Bucket {
  readonly atUnixMs: number
  readonly perSecond: number
  readonly sum: Merged
}

/** When a bucket's calls can have begun to arrive. */
const startOf = (at: number, { oldestUnixMs, bucketMs }: Span): number => (oldestUnixMs < at + bucketMs ? Math.max(at, oldestUnixMs) : at)

/** All buckets from the first call on; the running one only once it says something, or when there are few others. */
function bucketsOf(slices: readonly Slice[], span: Span, now: number): Bucket[] {
  const byStart = new Map<number, Slice[]>()
  for (const slice of slices) {
    const bucket = byStart.get(slice.atUnixMs)
    if (bucket === undefined) byStart.set(slice.atUnixMs, [slice])
    else bucket.push(slice)
  }
  const first = Math.min(...byStart.keys())
  const buckets: Bucket[] = []
  for (let at = first; at < span.toUnixMs; at += span.bucketMs) {
    if (now - at < Math.min(SHOWN_AFTER_MS, span.bucketMs) && buckets.length >= BUCKETS_FEW) continue
    const sum = mergeSlices(byStart.get(at) ?? [])
    const coveredMs = Math.min(at + span.bucketMs, now) - startOf(at, span)
    buckets.push({ atUnixMs: at, sum, perSecond: sum.calls / (Math.max(1000, coveredMs) / 1000) })
  }
  return buckets
}

function charts({ buckets, span, now }: { readonly buckets: readonly Bucket[]; readonly span: Span; readonly now: number }): Chart[] {
  const common = {
    ...span,
    // A log younger than the window fills the chart, instead of a corner of it.
    fromUnixMs: Math.max(span.fromUnixMs, buckets[0]?.atUnixMs ?? 0),
    toUnixMs: Math.max(now, (buckets.at(-1)?.atUnixMs ?? 0) + 1),
    atUnixMs: buckets.map((bucket) => bucket.atUnixMs),
  }
  const series = (name: string, mark: Series['mark'], value: (bucket: Bucket) => number): Series => ({
    name,
    mark,
    values: buckets.map((bucket) => (Number.isFinite(value(bucket)) ? value(bucket) : undefined)),
  })
  const percentiles = (of: 'ttft' | 'e2e'): Series[] => [
    series('p50', 's1', ({ sum }) => sum[of].percentile(0.5) / 1000),
    series('p95', 's3', ({ sum }) => sum[of].percentile(0.95) / 1000),
    series('p99', 's2', ({ sum }) => sum[of].percentile(0.99) / 1000),
  ]
  const each = span.bucketMs === MINUTE_MS ? 'per minute' : `per ${formatDuration(span.bucketMs)}`
  return [
    createChart({ ...common, kind: 'lines', title: 'E2E', unit: 's', series: percentiles('e2e') }),
    createChart({ ...common, kind: 'lines', title: 'TTFT', unit: 's', series: percentiles('ttft') }),
    createChart({
      ...common,
      kind: 'lines',
      title: 'Calls',
      unit: 'per second',
      series: [series('calls', 's1', (bucket) => bucket.perSecond)],
    }),
    createChart({
      ...common,
      kind: 'bars',
      title: 'Errors',
      unit: each,
      series: [series('instance errors', 's2', ({ sum }) => sum.instanceErrors), series('timed out', 's3', ({ sum }) => sum.timedOut)],
    }),
  ]
}

function instances(parts: {
  readonly fleet: readonly InstanceNow[]
  readonly slices: readonly Slice[]
  readonly all: Merged
  readonly now: number
}): Model[] {
  const { fleet, slices, all } = parts
  return fleet.map((instance) => {
    const own = mergeSlices(slices.filter((slice) => slice.instanceId === instance.instanceId))
    const ofPool = slices.filter((slice) => slice.pool === instance.pool).reduce((sum, slice) => sum + slice.calls, 0)
    return {
      name: instance.name,
      pool: instance.pool,
      host: hostOf(instance.url),
      href: `/fleet#i${instance.instanceId}`,
      state: { text: instance.state, tone: stateTone(instance.state) },
      inFlight: formatCount(instance.inFlight),
      kvUse: formatPercentWhole(instance.kvUsageRatio),
      share: all.calls === 0 || ofPool === 0 ? undefined : formatPercent(own.calls / ofPool),
      expected: formatPercent(instance.expectedShareRatio),
      e2e: formatSeconds(own.e2e.percentile(0.5)),
    }
  })
}

const hostOf = (url: string): string => (URL.canParse(url) ? new URL(url).host : url)
