import { Cron } from 'croner'
import cronstrue from 'cronstrue'
import type { TrainingRun } from '../../../plugin/log/control/training.ts'
import { readChoices } from '../../../plugin/log/read/decisions.ts'
import { type Answer, type Model, mayUse, type Visit } from '../../answer.ts'
import { formatDuration, formatInstant, formatPercentWhole } from '../../format.ts'
import type { PageParts } from '../../routes.ts'
import { localInput, parseInstant } from '../../zone.ts'
import { membersOf, parsedObject } from '../models/numbers.ts'
import { runTone } from '../tone.ts'

/** When nights are, as configured; undefined where nobody told. */
export interface NightFacts {
  /** A cron expression, or "off". */
  readonly schedule: string
  readonly timeZone: string
  readonly jitterMinutes: number
  readonly days: number
  /** What is done with what a night made: register, shadow or canary. */
  readonly afterwards: string
}

const PAGE_RUNS = 25
const NEXT_RUNS = 3
const DAY_MS = 86_400_000
const PARTS = ['length', 'profiles', 'policy'] as const

/** The schedule in plain words, what runs, what ran, and a form to run one now. */
export function trainingPage(parts: PageParts, visit: Visit): Answer {
  return trainingAnswer(parts, visit, [])
}

function trainingAnswer(parts: PageParts, visit: Visit, problems: readonly string[]): Answer {
  const { control, reader } = parts
  const before = Number(visit.query.before)
  const runs = control.trainingRuns.list({ limit: PAGE_RUNS + 1, ...(before > 0 ? { beforeId: before } : {}) })
  const shown = runs.slice(0, PAGE_RUNS)
  const mayAct = mayUse(visit.user?.role, 'operator')
  const applications = mayAct ? reader.read((query) => readChoices(query, visit.nowUnixMs)).applications : []
  const { form } = visit
  const now = visit.nowUnixMs
  return {
    kind: 'page',
    view: 'training',
    title: 'Training',
    ...(problems.length > 0 ? { status: 422 as const } : {}),
    model: {
      problems,
      schedule: scheduleModel(parts.night?.(), now),
      runs: shown.map((run) => runLine(run, now)),
      olderHref: runs.length > PAGE_RUNS ? `/training?before=${shown.at(-1)?.runId}` : undefined,
      form: mayAct
        ? {
            since: form.since ?? localInput(now - (parts.night?.()?.days ?? 7) * DAY_MS),
            until: form.until ?? localInput(now),
            applications: applications.map((name) => ({ name, selected: name === form.application })),
            parts: PARTS.map((name) => ({ name, selected: name === form.only })),
            generations: form.generations ?? '',
          }
        : undefined,
    },
  }
}

/** The schedule as people say it, and its next times. */
function scheduleModel(night: NightFacts | undefined, nowUnixMs: number): Model {
  if (night === undefined || night.schedule === 'off')
    return {
      words: 'No nights are scheduled.',
      hint: 'Set night.schedule, e.g. "0 3 * * *", under Settings or in phasewise.yaml.',
      next: [],
      zone: '',
      cron: '',
    }
  const next = new Cron(night.schedule, { timezone: night.timeZone, paused: true }).nextRuns(NEXT_RUNS, new Date(nowUnixMs))
  return {
    words: `${cronstrue.toString(night.schedule, { use24HourTimeFormat: true })}.`,
    cron: night.schedule,
    zone: `${night.timeZone}, each up to ${night.jitterMinutes} min later`,
    hint: `Each reads the last ${spanWords(night.days)}. ${AFTERWARDS[night.afterwards] ?? ''}`,
    next: next.map((at) => ({ at: formatInstant(at.getTime()), in: formatDuration(at.getTime() - nowUnixMs) })),
  }
}

/** Days as people say them. */
function spanWords(days: number): string {
  if (days === 1) return 'day'
  return Number.isInteger(days) ? `${days} days` : (formatDuration(days * DAY_MS) ?? '–')
}

const AFTERWARDS: Readonly<Record<string, string>> = {
  register: 'What passes is registered as challenger; somebody promotes it.',
  shadow: 'What passes is then scored on real calls without being obeyed.',
  canary: 'What passes then serves some blocks of time, guarded.',
}

/** A run as a line of the list. */
export function runLine(run: TrainingRun, nowUnixMs: number): Model {
  const { state, plan } = run
  return {
    id: run.runId,
    at: formatInstant(run.askedUnixMs),
    by: run.askedBy,
    what: [plan.only ?? 'all parts', ...(plan.application === undefined ? [] : [`calls of ${plan.application}`])].join(', '),
    window: windowWords(run),
    state: {
      text: state === 'running' ? `${run.phase ?? 'running'}, ${formatPercentWhole(run.progressRatio)}` : state,
      tone: runTone(state),
    },
    took: run.startedUnixMs === null ? '–' : (formatDuration((run.endedUnixMs ?? nowUnixMs) - run.startedUnixMs) ?? '–'),
    error: run.error ?? '',
  }
}

/** The window of stored calls that a run reads, in words: what its trainer fixed, or what was asked where none has begun. */
export function windowWords(run: TrainingRun): string {
  const fixed = membersOf(parsedObject(run.detail).range)
  const [fromUnixMs, toUnixMs] = [fixed.fromUnixMs ?? run.fromUnixMs, fixed.toUnixMs ?? run.toUnixMs].map((unixMs) =>
    typeof unixMs === 'number' ? unixMs : null,
  ) as [number | null, number | null]
  if (fromUnixMs === null && toUnixMs === null) return 'as configured'
  const at = (unixMs: number | null, absent: string): string => (unixMs === null ? absent : formatInstant(unixMs).text)
  return `${at(fromUnixMs, 'as configured')} to ${at(toUnixMs, 'now')}`
}

/** Asks for a run over a window of stored calls. */
export function askForTraining(parts: PageParts, visit: Visit): Answer {
  const { form } = visit
  const problems: string[] = []
  const [fromUnixMs, toUnixMs] = [parseInstant(form.since ?? '') ?? Number.NaN, parseInstant(form.until ?? '') ?? Number.NaN]
  if (Number.isNaN(fromUnixMs) || Number.isNaN(toUnixMs)) problems.push('The window needs a beginning and an end, e.g. 2026-11-22T14:00.')
  else if (toUnixMs <= fromUnixMs) problems.push('The end must come after the beginning.')
  const only = PARTS.find((part) => part === form.only)
  if (form.only !== undefined && only === undefined) problems.push(`There is no part “${form.only}”.`)
  const generations = form.generations === undefined ? undefined : Number(form.generations)
  if (generations !== undefined && !(Number.isInteger(generations) && generations >= 1 && generations <= 10_000))
    problems.push('Generations are a whole number from 1 to 10,000, or left out.')
  if (problems.length > 0) return trainingAnswer(parts, visit, problems)
  const who = visit.user?.name ?? 'nobody'
  const plan = {
    trigger: 'admin' as const,
    ...(only ? { only } : {}),
    ...(generations === undefined ? {} : { generations }),
    ...(form.application === undefined ? {} : { application: form.application }),
  }
  return ask(parts, visit, { askedBy: who, plan, fromUnixMs, toUnixMs })
}

/** The run goes into the table; the trainer takes it up within seconds. */
function ask({ control }: PageParts, visit: Visit, run: Parameters<typeof control.trainingRuns.append>[0]): Answer {
  const runId = control.together(() => {
    const id = control.trainingRuns.append(run)
    control.audit.append({
      who: run.askedBy,
      address: visit.address,
      action: 'train',
      subject: `run ${id}`,
      after: JSON.stringify(run.plan),
    })
    return id
  })
  return { kind: 'see other', to: `/training/${runId}` }
}

/** The same run again. */
export function retryTraining(parts: PageParts, visit: Visit): Answer {
  const run = parts.control.trainingRuns.get(Number(visit.params.runId))
  if (run === undefined) return noRun(visit)
  const { plan, fromUnixMs, toUnixMs } = run
  const window = { fromUnixMs: fromUnixMs ?? undefined, toUnixMs: toUnixMs ?? undefined }
  return ask(parts, visit, { askedBy: visit.user?.name ?? 'nobody', plan: { ...plan, trigger: 'admin' }, ...window })
}

/** Asks a run to stop. */
export function cancelTraining({ control }: PageParts, visit: Visit): Answer {
  const id = Number(visit.params.runId)
  const who = visit.user?.name ?? 'nobody'
  if (!control.trainingRuns.cancel(id, who)) return noRun(visit)
  control.audit.append({ who, address: visit.address, action: 'cancel training', subject: `run ${id}` })
  return { kind: 'see other', to: `/training/${id}` }
}

/** What is said where no such run is, or it has ended. */
export function noRun({ params }: Visit): Answer {
  return {
    kind: 'problem',
    status: 404,
    title: 'No such run',
    text: `There is no training run ${params.runId}, or it has ended. Nothing was changed.`,
  }
}
