import type { ModelRecord, Promotion } from '../../../plugin/log/control/models.ts'
import type { Trial } from '../../../plugin/log/control/trials.ts'
import { firstClause } from '../../../plugin/log/control/verdict-words.ts'
import type { Control } from '../../../plugin/log/control.ts'
import { type Answer, type Model, mayUse, type Visit } from '../../answer.ts'
import { formatDuration, formatInstant, formatPercentWhole } from '../../format.ts'
import type { PageParts } from '../../routes.ts'
import { driftModel } from './drift.ts'
import { KINDS } from './kinds.ts'
import { servingNotice } from './serve.ts'

const HISTORY_ROWS = 30

/** The registry: what serves of each kind, what was made, what is tried, who changed what. */
export function modelsPage(parts: PageParts, visit: Visit): Answer {
  const { control } = parts
  const mayAct = mayUse(visit.user?.role, 'operator')
  const before = Number(visit.query.before)
  const history = control.models.history({ limit: HISTORY_ROWS + 1, ...(before > 0 ? { beforeId: before } : {}) })
  const all = control.models.list()
  const named = new Map(all.map((model) => [model.modelId, model.version]))
  const running = control.trials.running()
  return {
    kind: 'page',
    view: 'models',
    title: 'Models',
    model: {
      notice: servingNotice(parts, visit),
      kinds: KINDS.map(({ kind, name, ships, does }) => {
        const models = all.filter((model) => model.kind === kind)
        const champion = models.find((model) => model.alias === 'champion')
        return {
          kind,
          name,
          does,
          serves: champion?.version ?? ships,
          servesHref: champion && `/models/${champion.modelId}`,
          lacks: champion && lacking(control, champion, mayAct),
          rollBackHref: mayAct && champion ? `/models/roll-back?kind=${kind}` : undefined,
          models: models.map((model) => modelLine(parts, model, { mayAct, trying: running !== undefined })),
        }
      }),
      drift: driftModel(control, mayAct),
      trial: running && trialModel(running, named, visit, mayAct),
      trials: control.trials
        .list({ limit: 10 })
        .filter((trial) => trial.state !== 'running')
        .map((trial) => trialModel(trial, named, visit, false)),
      history: history.slice(0, HISTORY_ROWS).map((one) => historyLine(one, named)),
      olderHref: history.length > HISTORY_ROWS ? `/models?before=${history[HISTORY_ROWS - 1]?.promotionId}` : undefined,
    },
  }
}

/** The profiles that the serving policy was judged with, where others serve: it decides otherwise than its judgement says. */
function lacking({ models }: Control, { modelId, version }: ModelRecord, mayAct: boolean): Model | undefined {
  const profiles = models.goesWith(modelId)
  return profiles && { version, profiles: profiles.version, href: mayAct ? `/models/${profiles.modelId}/promote` : undefined }
}

interface LineParts {
  readonly mayAct: boolean
  readonly trying: boolean
}

function modelLine({ control }: PageParts, model: ModelRecord, { mayAct, trying }: LineParts): Model {
  const [verdict] = control.models.verdicts(model.modelId)
  const serves = model.alias === 'champion'
  return {
    id: model.modelId,
    version: model.version,
    alias: aliasTag(model),
    verdict: verdict && {
      text: verdict.passed === 1 ? 'passed' : 'not passed',
      tone: verdict.passed === 1 ? 'good' : 'warn',
      words: verdict.words,
    },
    parent: model.parent ?? '–',
    runId: model.runId ?? undefined,
    at: formatInstant(model.registeredUnixMs),
    promoteHref: mayAct && !serves ? `/models/${model.modelId}/promote` : undefined,
    tryHref: mayAct && !serves && !trying && model.kind !== 'profile' ? `/models/${model.modelId}/try` : undefined,
  }
}

/** Champion, challenger, previous: as a tag; undefined for a version that is none of them. */
export function aliasTag({ alias }: ModelRecord): Model | undefined {
  if (alias === null) return undefined
  return { text: alias, tone: alias === 'champion' ? 'good' : alias === 'challenger' ? 'accent' : '' }
}

/** A trial in words: what is tried, how, since when, and what it came to. */
export function trialModel(trial: Trial, named: ReadonlyMap<number, string>, visit: Visit, mayAct: boolean): Model {
  const ids = [trial.lengthModelId, trial.policyModelId, trial.profileModelId]
  const versions = ids.flatMap((id) => (id === null ? [] : [named.get(id) ?? `model ${id}`]))
  const blocks = trial.blocksPlanned > 0 ? `, ${trial.blocksPlanned} blocks planned` : ''
  return {
    id: trial.trialId,
    mode: trial.mode,
    state: { text: trial.state, tone: trial.state === 'running' ? 'accent' : trial.state === 'ended' ? '' : 'bad' },
    versions: versions.join(', '),
    how:
      trial.mode === 'canary'
        ? `serves ${formatPercentWhole(trial.shareRatio)} of the blocks of ${formatDuration(trial.blockMs)}${blocks}`
        : 'each call is scored, nothing is obeyed',
    since: formatInstant(trial.startedUnixMs),
    for: formatDuration((trial.endedUnixMs ?? visit.nowUnixMs) - trial.startedUnixMs),
    by: trial.askedBy,
    endedWhy: trial.endedWhy ?? undefined,
    endedBy: trial.endedBy ?? undefined,
    result: resultWords(trial.result),
    mayEnd: mayAct && trial.state === 'running',
  }
}

/** The words that whoever estimated put into the result, where it has some. */
function resultWords(result: string | null): string | undefined {
  if (result === null) return undefined
  try {
    const value: unknown = JSON.parse(result)
    if (typeof value === 'object' && value !== null && 'words' in value) return String(value.words)
  } catch {
    // Not JSON: then it is words already.
    return result
  }
  return undefined
}

function historyLine(one: Promotion, named: ReadonlyMap<number, string>): Model {
  const ships = one.kind === 'policy' ? 'the configured rule' : 'what ships'
  const of = (id: number | null): string => (id === null ? ships : (named.get(id) ?? `model ${id}`))
  return {
    at: formatInstant(one.atUnixMs),
    kind: one.kind,
    action: { text: one.action, tone: one.action === 'promote' ? 'good' : one.action === 'refused' ? 'bad' : 'warn' },
    from: of(one.fromModelId),
    to: of(one.modelId),
    who: one.who,
    // What decided; the rest of a verdict's clauses is the cell's title.
    why: firstClause(one.why),
    whole: one.why,
  }
}
