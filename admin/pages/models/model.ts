import { labVersion } from '../../../plugin/log/control/lab.ts'
import type { ModelRecord, Models, VerdictRecord } from '../../../plugin/log/control/models.ts'
import { withoutOutcome } from '../../../plugin/log/control/verdict-words.ts'
import { type Answer, mayUse, type Visit } from '../../answer.ts'
import { formatInstant } from '../../format.ts'
import type { PageParts } from '../../routes.ts'
import { KINDS } from './kinds.ts'
import { aliasTag } from './models.ts'
import { cardFacts, measureRows, measuresOf, parsedObject } from './numbers.ts'
import { plotsOf } from './plots.ts'

/** One version: its card, what was measured, drawings, and how it differs from the champion. */
export function modelPage(parts: PageParts, visit: Visit): Answer {
  const model = parts.control.models.get(Number(visit.params.modelId))
  if (model === undefined) return noModel(visit)
  const { models } = parts.control
  const champion = models.withAlias(model.kind, 'champion')
  const other = champion?.modelId === model.modelId ? models.withAlias(model.kind, 'previous') : champion
  const verdicts = models.verdicts(model.modelId)
  const card = parsedObject(model.card)
  const numbers = numbersOf(model.kind, verdicts[0])
  const theirs = other && [...measuresOf(parsedObject(other.card)), ...measuresOf(numbersOf(model.kind, models.verdicts(other.modelId)[0]))]
  const measured = [...measuresOf({ measured: card.measured ?? {} }), ...measuresOf(numbers)]
  const mayAct = mayUse(visit.user?.role, 'operator')
  const serves = model.alias === 'champion'
  const trying = parts.control.trials.running() !== undefined
  return {
    kind: 'page',
    view: 'model',
    title: `Model ${model.version}`,
    model: {
      id: model.modelId,
      version: model.version,
      does: KINDS.find(({ kind }) => kind === model.kind)?.does,
      kind: model.kind,
      alias: aliasTag(model),
      at: formatInstant(model.registeredUnixMs),
      promoteHref: mayAct && !serves ? `/models/${model.modelId}/promote` : undefined,
      rollBackHref: mayAct && serves ? `/models/roll-back?kind=${model.kind}` : undefined,
      tryHref: mayAct && !serves && !trying && model.kind !== 'profile' ? `/models/${model.modelId}/try` : undefined,
      labHref:
        mayAct && parts.lab !== undefined && model.kind === 'policy'
          ? `/lab?${new URLSearchParams({ [`policy-${labVersion(model.version)}`]: 'yes' })}`
          : undefined,
      verdicts: verdicts.map((verdict) => ({
        passed: { text: verdict.passed === 1 ? 'passed' : 'not passed', tone: verdict.passed === 1 ? 'good' : 'warn' },
        // The tag beside it says so.
        words: withoutOutcome(verdict.words),
        at: formatInstant(verdict.madeUnixMs),
      })),
      otherName: other && `${other.version} (${other.alias ?? 'none'})`,
      measures: measureRows(measured, theirs),
      ...plotsOf(card, numbers),
      facts: [...factsOf(model, models), ...cardFacts(card)],
      card: JSON.stringify(card, null, 1),
      runHref: model.runId === null ? undefined : `/training/${model.runId}`,
    },
  }
}

/** What a verdict counted; the gain of a length model is in nats, others are shares. */
function numbersOf(kind: ModelRecord['kind'], verdict: VerdictRecord | undefined): Readonly<Record<string, unknown>> {
  const { gain, ...numbers } = parsedObject(verdict?.numbers ?? '{}')
  return gain === undefined ? numbers : { [kind === 'length' ? 'gainNats' : 'gain']: gain, ...numbers }
}

const factsOf = (model: ModelRecord, models: Models): { readonly name: string; readonly text: string }[] => [
  { name: 'SHA-256', text: model.sha256 },
  { name: 'Column list', text: model.featureHash ?? 'reads none' },
  { name: 'Trained on from', text: model.parent ?? 'nothing' },
  ...(model.profileModelId === null
    ? []
    : [{ name: 'Goes with', text: models.get(model.profileModelId)?.version ?? `model ${model.profileModelId}` }]),
  { name: 'Folder', text: model.folder === '' ? 'none' : model.folder },
]

/** What is said where no such model is registered. */
export function noModel({ params }: Visit): Answer {
  const text = `There is no model ${params.modelId} in the registry. Nothing was changed. Models lists those there are.`
  return { kind: 'problem', status: 404, title: 'No such model', text }
}
