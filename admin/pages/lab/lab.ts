import type { LabRun } from '../../../plugin/log/control/lab.ts'
import { readFleetNow } from '../../../plugin/log/read/now.ts'
import { type Answer, type Model, mayUse, type Visit } from '../../answer.ts'
import { formatInstant, formatPercentWhole } from '../../format.ts'
import type { PageParts } from '../../routes.ts'
import { localInput } from '../../zone.ts'
import { runTone } from '../tone.ts'
import { AS_LOGGED, type LabDoor, type LabLearned, learnedPolicies, readPlan, sourceWords } from './plan.ts'

/** Runs on one page. */
const PAGE_RUNS = 20

/** Ticked where nobody chose: the shortest list that shows what matters. */
const TICKED = ['least-request', 'least-kv', 'impact']
const HOUR_MS = 3_600_000

/** What was compared, and a form for the next comparison. */
export function labPage(parts: PageParts, visit: Visit): Answer {
  return labAnswer(parts, visit, { form: visit.query, problems: [] })
}

function labAnswer(parts: PageParts, visit: Visit, given: { readonly form: Visit['form']; readonly problems: readonly string[] }): Answer {
  const { control, lab, reader } = parts
  const before = Number(visit.query.before)
  const runs = control.labRuns.list({ limit: PAGE_RUNS + 1, ...(before > 0 ? { beforeId: before } : {}) })
  const shown = runs.slice(0, PAGE_RUNS)
  const pools = [...new Set(reader.read(readFleetNow).map((one) => one.pool))]
  return {
    kind: 'page',
    view: 'lab',
    title: 'Lab',
    ...(given.problems.length > 0 ? { status: 422 as const } : {}),
    model: {
      problems: given.problems,
      runs: shown.map(runLine),
      done: control.labRuns
        .list({ limit: 100 })
        .filter((run) => run.state === 'done')
        .map((run) => ({ id: run.runId, text: `${run.runId}: ${sourceWords(run.plan)}` })),
      olderHref: runs.length > PAGE_RUNS ? `/lab?before=${shown.at(-1)?.runId}` : undefined,
      form:
        lab !== undefined && mayUse(visit.user?.role, 'operator')
          ? formModel({ lab, learned: learnedPolicies(lab, control.models), form: given.form, pools, nowUnixMs: visit.nowUnixMs })
          : undefined,
    },
  }
}

/** A run as a line of the list. */
export function runLine(run: LabRun): Model {
  const best = run.result?.rows.filter((row) => row.gain !== undefined).sort((a, b) => (b.gain?.mean ?? 0) - (a.gain?.mean ?? 0))[0]
  return {
    id: run.runId,
    at: formatInstant(run.askedUnixMs),
    by: run.askedBy,
    what: sourceWords(run.plan),
    arms: run.plan.arms.length,
    state: { text: run.state === 'running' ? `running, ${formatPercentWhole(run.progressRatio)}` : run.state, tone: runTone(run.state) },
    best: best && `${best.arm}, ${formatPercentWhole(best.gain?.mean)} sooner than ${run.plan.arms[0]}`,
  }
}

function formModel(given: {
  readonly lab: LabDoor
  readonly learned: readonly LabLearned[]
  readonly form: Visit['form']
  readonly pools: readonly string[]
  readonly nowUnixMs: number
}): Model {
  const { lab, learned, form, pools, nowUnixMs } = given
  const chosen = Object.keys(form).some((name) => name.startsWith('policy-'))
  const source = form.source ?? (form.pool === undefined && pools.length === 0 ? 'scenario' : 'stored')
  return {
    stored: source !== 'scenario',
    pools: pools.map((name) => ({ name, selected: name === form.pool })),
    since: form.since ?? localInput(nowUnixMs - HOUR_MS),
    until: form.until ?? localInput(nowUnixMs),
    scenarios: lab.scenarios.map((one) => ({ ...one, selected: one.name === form.scenario })),
    bases: [
      { name: AS_LOGGED, text: 'what was done (stored calls)' },
      ...learned,
      ...lab.policies.map((name) => ({ name, text: name })),
    ].map(({ name, text }) => ({
      name,
      text,
      selected: name === (form.base ?? (source === 'scenario' ? 'round-robin' : AS_LOGGED)),
    })),
    learned: learned.map(({ name, text }) => ({ name, text, checked: form[`policy-${name}`] !== undefined })),
    policies: lab.policies.map((name) => ({ name, checked: chosen ? form[`policy-${name}`] !== undefined : TICKED.includes(name) })),
    more: form.more ?? '',
    example: `least-kv + ${lab.holds[0] ?? 'fcfs'}`,
    loads: form.loads ?? '1',
    seeds: form.seeds ?? '5',
  }
}

/** Asks for a run; it is played by a process of its own. */
export function askForRun(parts: PageParts, visit: Visit): Answer {
  const { control, lab } = parts
  if (lab === undefined)
    return { kind: 'problem', status: 404, title: 'No Lab here', text: 'This admin was started without a twin. Nothing was changed.' }
  const { plan, problems } = readPlan(visit.form, lab, learnedPolicies(lab, control.models))
  if (problems.length > 0) return labAnswer(parts, visit, { form: visit.form, problems })
  const who = visit.user?.name ?? 'nobody'
  const runId = control.together(() => {
    const id = control.labRuns.append({ plan, askedBy: who })
    control.audit.append({ who, address: visit.address, action: 'lab run', subject: `lab ${id}`, after: sourceWords(plan) })
    return id
  })
  lab.nudge()
  return { kind: 'see other', to: `/lab/${runId}` }
}
