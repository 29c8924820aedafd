import type { LabGain, LabResult, LabRow, LabRun } from '../../../plugin/log/control/lab.ts'
import { type Answer, type Model, mayUse, type Visit } from '../../answer.ts'
import { formatCount, formatDuration, formatInstant, formatPercent, formatPercentWhole, formatSeconds } from '../../format.ts'
import { createRangePlot, createXyPlot, type XySeries } from '../../plots.ts'
import type { PageParts } from '../../routes.ts'
import { localInput } from '../../zone.ts'
import { runTone } from '../tone.ts'
import { sourceWords } from './plan.ts'

const MARKS = ['s1', 's2', 's3', 's4'] as const

/** One run: how far it is, or what it came to. Its address can be passed on. */
export function labRunPage(parts: PageParts, visit: Visit): Answer {
  const run = parts.control.labRuns.get(Number(visit.params.labId))
  if (run === undefined) return noRun(visit)
  return { kind: 'page', view: 'lab-run', title: `Lab ${run.runId}`, model: { ...runModel(run, visit) } }
}

/** The part of the page that moves while the run does. */
export function labRunEvents(parts: PageParts, visit: Visit): Answer {
  const id = Number(visit.params.labId)
  if (parts.control.labRuns.get(id) === undefined) return noRun(visit)
  return {
    kind: 'events',
    view: 'live-lab',
    model: () => {
      const run = parts.control.labRuns.get(id)
      return run && runModel(run, visit)
    },
  }
}

function noRun({ params }: Visit): Answer {
  return {
    kind: 'problem',
    status: 404,
    title: 'No such run',
    text: `There is no Lab run ${params.labId}: the oldest are forgotten. The Lab lists those there are.`,
  }
}

function runModel(run: LabRun, visit: Visit): Model {
  const { plan, result } = run
  const open = run.state === 'waiting' || run.state === 'running'
  const mayAct = mayUse(visit.user?.role, 'operator')
  return {
    id: run.runId,
    what: result?.label ?? sourceWords(plan),
    askedBy: run.askedBy,
    at: formatInstant(run.askedUnixMs),
    state: { text: run.state, tone: runTone(run.state) },
    open,
    live: open ? `/lab/${run.runId}/live` : undefined,
    progress: formatPercentWhole(run.progressRatio),
    progressPx: Math.round(run.progressRatio * 100),
    says: run.state === 'waiting' ? 'waits for the run before it' : run.says,
    error: run.error ?? undefined,
    took: run.startedUnixMs === null ? undefined : formatDuration((run.endedUnixMs ?? visit.nowUnixMs) - run.startedUnixMs),
    mayCancel: mayAct && open && run.cancelAskedBy === null,
    cancelAsked: open && run.cancelAskedBy !== null ? `cancel asked by ${run.cancelAskedBy}` : undefined,
    againHref: mayAct && !open ? `/lab?${againQuery(run)}` : undefined,
    result: result === null ? undefined : resultModel(result, run),
    compareHref: result === null ? undefined : `/lab/compare?a=${run.runId}`,
  }
}

/** The form with this run's plan in it. */
function againQuery({ plan }: LabRun): string {
  const { source, arms, loads, seeds } = plan
  const [base = '', ...others] = arms
  const where =
    source.kind === 'scenario'
      ? { source: 'scenario', scenario: source.name }
      : { source: 'stored', pool: source.pool, since: localInput(source.fromUnixMs), until: localInput(source.toUnixMs) }
  const plain = others.filter((arm) => !arm.includes('+'))
  const more = others.filter((arm) => arm.includes('+')).join(', ')
  const query = new URLSearchParams({ ...where, base, loads: loads.join(', '), seeds: String(seeds), ...(more === '' ? {} : { more }) })
  for (const arm of plain) query.set(`policy-${arm}`, 'yes')
  return query.toString()
}

/** A gain with its interval in words, e.g. "12.1 % (9.8 to 14.4)". */
export function gainWords(gain: LabGain | undefined): string {
  if (gain === undefined) return '–'
  const mean = formatPercent(gain.mean) ?? '–'
  if (gain.low === null || gain.high === null) return mean
  const bare = (ratio: number): string => (formatPercent(ratio) ?? '–').replace(' %', '')
  return `${mean} (${bare(gain.low)} to ${bare(gain.high)})`
}

function resultModel(result: LabResult, { plan }: LabRun): Model {
  const loads = [...new Set(result.rows.map((row) => row.load))]
  const [base = ''] = plan.arms
  return {
    calls: formatCount(result.calls),
    samples: `intervals over ${result.samples} ${result.sampleName}`,
    base,
    manyLoads: loads.length > 1,
    fleet: result.fleet,
    rows: result.rows.map((row) => rowModel(row)),
    plots: loads.flatMap((load) => rangesAt(result, load, loads.length > 1)),
    curve: loads.length > 1 ? curveOf(result, loads) : undefined,
  }
}

function rowModel(row: LabRow): Model {
  const gain = row.gain
  const sure = gain !== undefined && gain.low !== null && gain.high !== null && (gain.low > 0 || gain.high < 0)
  return {
    load: row.load,
    arm: row.arm,
    mean: formatSeconds(row.meanE2eMs),
    p50: formatSeconds(row.p50E2eMs),
    p95: formatSeconds(row.p95E2eMs),
    p99: formatSeconds(row.p99E2eMs),
    ttft: formatSeconds(row.meanTtftMs),
    ttft99: formatSeconds(row.p99TtftMs),
    held: formatSeconds(row.meanHeldMs),
    lost: formatCount(Math.round(row.lost)),
    gain: gainWords(gain),
    base: gain === undefined,
    sure:
      gain === undefined
        ? undefined
        : sure
          ? { text: gain.mean > 0 ? 'better' : 'worse', tone: gain.mean > 0 ? 'good' : 'bad' }
          : { text: 'no clear difference', tone: '' },
  }
}

function rangesAt(result: LabResult, load: number, many: boolean): Model[] {
  const rows = result.rows.filter((row) => row.load === load)
  const at = many ? ` at load ${load}` : ''
  const mean = createRangePlot({
    title: `Mean E2E, s${at}`,
    kind: 'number',
    rows: rows.map((row) => ({
      name: row.arm,
      value: row.meanE2eMs / 1000,
      low: row.lowE2eMs === null ? undefined : row.lowE2eMs / 1000,
      high: row.highE2eMs === null ? undefined : row.highE2eMs / 1000,
      base: row.gain === undefined,
    })),
  })
  const gain = createRangePlot({
    title: `Sooner than ${rows[0]?.arm}${at}`,
    kind: 'ratio',
    rows: rows.flatMap((row) =>
      row.gain === undefined
        ? []
        : [{ name: row.arm, value: row.gain.mean, low: row.gain.low ?? undefined, high: row.gain.high ?? undefined }],
    ),
  })
  return [{ ...mean }, { ...gain }]
}

/** Mean E2E over load, the four first arms: more lines cannot be told apart. */
function curveOf(result: LabResult, loads: readonly number[]): Model {
  const arms = [...new Set(result.rows.map((row) => row.arm))].slice(0, MARKS.length)
  const series = arms.map((arm, i): XySeries => {
    const points = loads.flatMap((load) => {
      const row = result.rows.find((one) => one.arm === arm && one.load === load)
      return row ? [{ x: load, y: row.meanE2eMs / 1000 }] : []
    })
    return { name: arm, mark: MARKS[i] ?? 's1', points }
  })
  return { ...createXyPlot({ title: 'Mean E2E over load', xName: 'load', yName: 'mean E2E, s', series }) }
}

/** Asks a run to stop. */
export function cancelRun({ control }: PageParts, visit: Visit): Answer {
  const id = Number(visit.params.labId)
  const who = visit.user?.name ?? 'nobody'
  if (!control.labRuns.cancel(id, who)) return noRun(visit)
  control.audit.append({ who, address: visit.address, action: 'cancel lab run', subject: `lab ${id}` })
  return { kind: 'see other', to: `/lab/${id}` }
}

/** Two results side by side. */
export function comparePage({ control }: PageParts, visit: Visit): Answer {
  const done = control.labRuns.list({ limit: 100 }).filter((run) => run.result !== null)
  const find = (id: string | undefined): LabRun | undefined => done.find((run) => run.runId === Number(id))
  const [a, b] = [find(visit.query.a), find(visit.query.b)]
  const options = (chosen: LabRun | undefined): Model[] =>
    done.map((run) => ({ id: run.runId, text: `${run.runId}: ${run.result?.label ?? sourceWords(run.plan)}`, selected: run === chosen }))
  return {
    kind: 'page',
    view: 'lab-compare',
    title: 'Compare two results',
    model: { as: options(a), bs: options(b), some: done.length > 1, ...(a && b ? { table: compareModel(a, b) } : { table: undefined }) },
  }
}

function compareModel(a: LabRun, b: LabRun): Model {
  const key = (row: LabRow): string => `${row.load} ${row.arm}`
  const rows = new Map((a.result?.rows ?? []).map((row): [string, { a?: LabRow; b?: LabRow }] => [key(row), { a: row }]))
  for (const row of b.result?.rows ?? []) rows.set(key(row), { ...rows.get(key(row)), b: row })
  return {
    a: { id: a.runId, label: a.result?.label },
    b: { id: b.runId, label: b.result?.label },
    rows: [...rows.values()].map(({ a: left, b: right }) => ({
      arm: (left ?? right)?.arm,
      load: (left ?? right)?.load,
      aMean: formatSeconds(left?.meanE2eMs) ?? '–',
      bMean: formatSeconds(right?.meanE2eMs) ?? '–',
      aP99: formatSeconds(left?.p99E2eMs) ?? '–',
      bP99: formatSeconds(right?.p99E2eMs) ?? '–',
      aGain: gainWords(left?.gain),
      bGain: gainWords(right?.gain),
      change: left && right ? (formatPercent(right.meanE2eMs / left.meanE2eMs - 1) ?? '–') : '–',
    })),
  }
}
