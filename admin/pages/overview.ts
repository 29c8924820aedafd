import { Histogram } from '../../plugin/log/histogram.ts'
import { type InstanceNow, readFleetNow, readOldestCall } from '../../plugin/log/read/now.ts'
import { type Bucket, type Merged, mergeSlices, type Slice } from '../../plugin/log/read/rollups.ts'
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
    buckets: parts.rollups.buckets(query, window, now),
    earlier: parts.rollups.buckets(query, before, now),
  }))
  const span: Span = { ...window, oldestUnixMs: look.oldestUnixMs ?? window.fromUnixMs }
  const pools = poolNames(look.buckets, look.fleet)
  const only = pool !== undefined && pools.includes(pool) ? pool : undefined
  const fleet = only === undefined ? look.fleet : look.fleet.filter((one) => one.pool === only)
  const sums = look.buckets.map((one) => ({ atUnixMs: one.atUnixMs, sum: one.sum(only) }))
  const all = mergeSlices(sums.map(({ sum }) => sum))
  const points = all.calls === 0 ? [] : pointsOf(sums, span, now)
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
      sub: `${only === undefined ? (pools.length === 1 ? `pool ${pools[0]}` : `${pools.length} pools`) : `pool ${only}`}, ${fleetWords(fleet)}, ${choice.words}`,
      gain: gainModel(
        parts,
        (look.state.router?.pools ?? []).filter((one) => only === undefined || one.name === only),
      ),
      notices: noticesModel(parts, mayUse(visit.user?.role, 'operator')),
      learning: learningModel(parts, now),
      slowest: slowest(all, only, window),
      figures:
        all.calls === 0 ? undefined : figures({ all, earlier: mergeSlices(look.earlier.map((one) => one.sum(only))), points, span, now }),
      charts: all.calls === 0 ? [] : charts({ points, span, now }),
      instances: instances(fleet, look.buckets),
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

function poolNames(buckets: readonly Bucket[], fleet: readonly InstanceNow[]): string[] {
  const names = new Set(fleet.map((one) => one.pool))
  for (const { slices } of buckets) for (const slice of slices) names.add(slice.pool)
  return [...names].sort()
}

function poolTabs(pools: readonly string[], only: string | undefined, choice: WindowChoice): Model[] {
  return [undefined, ...pools].map((pool) => ({ name: pool ?? 'All pools', href: address(choice, pool), current: pool === only }))
}

/** "3 instances", and their states where not all are healthy. */
function fleetWords(fleet: readonly InstanceNow[]): string {
  const states = Map.groupBy(fleet, ({ state }) => state)
  const count = countOf(fleet.length, 'instance')
  if (fleet.length === 0) return count
  if (states.size === 1) return `${count} ${fleet[0]?.state}`
  return `${count} (${[...states].map(([state, own]) => `${own.length} ${state}`).join(', ')})`
}

const failures = (all: Merged): number => all.instanceErrors + all.timedOut

function figures(parts: {
  readonly all: Merged
  readonly earlier: Merged
  readonly points: readonly Point[]
  readonly span: Span
  readonly now: number
}): Model[] {
  const { all, earlier, points, span, now } = parts
  const first = startOf(points[0]?.atUnixMs ?? now, span)
  const perSecond = all.calls / Math.max(1, (now - first) / 1000)
  const peak = Math.max(perSecond, ...points.map((point) => point.perSecond))
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

/** One bucket as the charts have it. */
interface Point {
  readonly atUnixMs: number
  readonly perSecond: number
  readonly sum: Merged
}

/** When a bucket's calls can have begun to arrive. */
const startOf = (at: number, { oldestUnixMs, bucketMs }: Span): number => (oldestUnixMs < at + bucketMs ? Math.max(at, oldestUnixMs) : at)

/** All buckets from the first call on; the running one only once it says something, or when there are few others. */
function pointsOf(sums: readonly Pick<Point, 'atUnixMs' | 'sum'>[], span: Span, now: number): Point[] {
  const points: Point[] = []
  for (const { atUnixMs, sum } of sums) {
    if (points.length === 0 && sum.calls === 0) continue
    if (now - atUnixMs < Math.min(SHOWN_AFTER_MS, span.bucketMs) && points.length >= BUCKETS_FEW) continue
    const coveredMs = Math.min(atUnixMs + span.bucketMs, now) - startOf(atUnixMs, span)
    points.push({ atUnixMs, sum, perSecond: sum.calls / (Math.max(1000, coveredMs) / 1000) })
  }
  return points
}

function charts({ points, span, now }: { readonly points: readonly Point[]; readonly span: Span; readonly now: number }): Chart[] {
  const common = {
    ...span,
    // A log younger than the window fills the chart, instead of a corner of it.
    fromUnixMs: Math.max(span.fromUnixMs, points[0]?.atUnixMs ?? 0),
    toUnixMs: Math.max(now, (points.at(-1)?.atUnixMs ?? 0) + 1),
    atUnixMs: points.map((point) => point.atUnixMs),
  }
  const series = (name: string, mark: Series['mark'], value: (point: Point) => number): Series => ({
    name,
    mark,
    values: points.map((point) => finite(value(point))),
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
      series: [series('calls', 's1', (point) => point.perSecond)],
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

const finite = (value: number): number | undefined => (Number.isFinite(value) ? value : undefined)

function instances(fleet: readonly InstanceNow[], buckets: readonly Bucket[]): Model[] {
  const byInstance = Map.groupBy(
    buckets.flatMap(({ slices }) => slices),
    ({ pool, instanceId }) => `${instanceId} ${pool}`,
  )
  const calls = (pool: string): number => buckets.reduce((sum, bucket) => sum + bucket.sum(pool).calls, 0)
  const byPool = new Map([...new Set(fleet.map((one) => one.pool))].map((pool) => [pool, calls(pool)]))
  return fleet.map((instance) => {
    const slices = byInstance.get(`${instance.instanceId} ${instance.pool}`) ?? []
    const ofPool = byPool.get(instance.pool) ?? 0
    const own = slices.reduce((sum, slice) => sum + slice.calls, 0)
    return {
      name: instance.name,
      pool: instance.pool,
      host: hostOf(instance.url),
      href: `/fleet#i${instance.instanceId}`,
      state: { text: instance.state, tone: stateTone(instance.state) },
      inFlight: formatCount(instance.inFlight),
      kvUse: formatPercentWhole(instance.kvUsageRatio),
      share: ofPool === 0 ? undefined : formatPercent(own / ofPool),
      expected: formatPercent(instance.expectedShareRatio),
      e2e: formatSeconds(medianE2e(slices)),
    }
  })
}

function medianE2e(slices: readonly Slice[]): number {
  const all = new Histogram()
  for (const { e2e } of slices) all.merge(e2e)
  return all.percentile(0.5)
}

const hostOf = (url: string): string => (URL.canParse(url) ? new URL(url).host : url)
