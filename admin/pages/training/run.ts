import { madeBy, type TrainingPoint, type TrainingRun } from '../../../plugin/log/control/training.ts'
import { type Answer, type Model, mayUse, type Visit } from '../../answer.ts'
import { formatCount, formatDuration, formatInstant, formatNumber, formatPercentWhole } from '../../format.ts'
import { createXyPlot } from '../../plots.ts'
import type { PageParts } from '../../routes.ts'
import { measureWords, parsedObject } from '../models/numbers.ts'
import { runTone } from '../tone.ts'
import { noRun, windowWords } from './training.ts'

/** A trainer gives a sign of life every few seconds; silent for this long it is taken to be gone. */
const SILENT_MS = 60_000

/** One run: how far it is, its log and curves, what it made or why it failed. */
export function trainingRunPage(parts: PageParts, visit: Visit): Answer {
  const run = parts.control.trainingRuns.get(Number(visit.params.runId))
  if (run === undefined) return noRun(visit)
  return { kind: 'page', view: 'training-run', title: `Training run ${run.runId}`, model: runModel(parts, run, visit) }
}

/** The part of the page that moves while the run does. */
export function trainingRunEvents(parts: PageParts, visit: Visit): Answer {
  const id = Number(visit.params.runId)
  if (parts.control.trainingRuns.get(id) === undefined) return noRun(visit)
  return {
    kind: 'events',
    view: 'live-training',
    model: () => {
      const run = parts.control.trainingRuns.get(id)
      return run && runModel(parts, run, { ...visit, nowUnixMs: parts.clock.nowUnixMs() })
    },
  }
}

function runModel({ control }: PageParts, run: TrainingRun, visit: Visit): Model {
  const open = run.state === 'waiting' || run.state === 'running'
  const mayAct = mayUse(visit.user?.role, 'operator')
  const now = visit.nowUnixMs
  const silentMs = run.state === 'running' && run.beatUnixMs !== null ? now - run.beatUnixMs : 0
  return {
    id: run.runId,
    open,
    live: open ? `/training/${run.runId}/live` : undefined,
    state: { text: run.state, tone: runTone(run.state) },
    phase: run.state === 'waiting' ? 'waits for the trainer, which looks every few seconds' : (run.phase ?? ''),
    progress: formatPercentWhole(run.progressRatio),
    progressPx: Math.round(run.progressRatio * 100),
    took: run.startedUnixMs === null ? undefined : formatDuration((run.endedUnixMs ?? now) - run.startedUnixMs),
    silent: silentMs > SILENT_MS ? formatDuration(silentMs) : undefined,
    error: run.error ?? undefined,
    askedBy: run.askedBy,
    at: formatInstant(run.askedUnixMs),
    mayCancel: mayAct && open && run.cancelAskedBy === null,
    cancelAsked: open && run.cancelAskedBy !== null ? `cancel asked by ${run.cancelAskedBy}` : undefined,
    mayRetry: mayAct && !open,
    facts: factsOf(run),
    made: madeBy(run, control.models.list()).map((model) => {
      const [verdict] = control.models.verdicts(model.modelId)
      return {
        id: model.modelId,
        version: model.version,
        kind: model.kind,
        passed: verdict && { text: verdict.passed === 1 ? 'passed' : 'not passed', tone: verdict.passed === 1 ? 'good' : 'warn' },
        words: verdict?.words ?? '',
      }
    }),
    curves: curvesOf(control.trainingRuns.points(run.runId)),
    lines: control.trainingRuns.lines(run.runId).map(({ atUnixMs, text }) => ({ at: formatInstant(atUnixMs), text })),
  }
}

/** What the trainer tells of a run, in words. */
const TOLD: Readonly<Record<string, string>> = {
  calls: 'Rows read',
  used: 'Rows used',
  mended: 'Rows of an older feature list, mended',
  pool: 'Busiest pool',
  generations: 'Generations searched',
  peakMiB: 'Memory at most, MiB',
}

/** What the run was asked, and the counts that the trainer keeps in its detail. */
function factsOf(run: TrainingRun): Model[] {
  const { plan } = run
  const asked = [
    { name: 'Window', text: windowWords(run) },
    { name: 'Asked for', text: plan.only ?? 'all parts' },
    { name: 'Started by', text: plan.trigger === run.askedBy ? run.askedBy : `${plan.trigger}, ${run.askedBy}` },
    ...(plan.application === undefined ? [] : [{ name: 'Application', text: plan.application }]),
    ...(plan.minutes === undefined ? [] : [{ name: 'Minutes for the search', text: formatNumber(plan.minutes) ?? '–' }]),
    ...(run.attempts > 1 ? [{ name: 'Taken up', text: `${run.attempts} times: a trainer ended before it was done` }] : []),
  ]
  const told = Object.entries(parsedObject(run.detail)).flatMap(([name, value]): Model[] => {
    if (typeof value === 'number')
      return /unixMs$/i.test(name) || (name === 'mended' && value === 0)
        ? []
        : [{ name: TOLD[name] ?? measureWords(name), text: formatCount(value) }]
    if (name === 'leftOut' && typeof value === 'object' && value !== null)
      return Object.entries(value).map(([why, count]) => ({ name: `Left out: ${why}`, text: formatCount(Number(count)) }))
    return typeof value === 'string' ? [{ name: TOLD[name] ?? measureWords(name), text: value }] : []
  })
  return [...asked, ...told]
}

const CURVES_MAX = 12

function curvesOf(points: readonly TrainingPoint[]): Model[] {
  const names = [...new Set(points.map((point) => point.curve))].slice(0, CURVES_MAX)
  return names.map((name) => ({
    ...createXyPlot({
      title: name,
      xName: 'generation',
      yName: name,
      series: [{ name, mark: 's1', points: points.filter((point) => point.curve === name) }],
    }),
  }))
}
