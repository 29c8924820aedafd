import type { ModelKind, ModelRecord } from '../../../plugin/log/control/models.ts'
import { SET_ASIDE, TAKE_UP } from '../../../plugin/log/control/set-aside.ts'
import type { Answer, Model, Visit } from '../../answer.ts'
import { waitForAnswer } from '../../intents.ts'
import type { PageParts } from '../../routes.ts'
import { shipsOf } from './kinds.ts'
import { noModel } from './model.ts'
import { membersOf, parsedObject } from './numbers.ts'

const KIND_NAMES: readonly string[] = ['length', 'policy', 'profile']
const isKind = (text: string | undefined): text is ModelKind => text !== undefined && KIND_NAMES.includes(text)

/** Reasons are kept for ever: a sentence, not a story. */
const WHY_CHARS_MAX = 300

const askedBy = (visit: Visit): { readonly who: string; readonly why: string; readonly address: string } => ({
  who: visit.user?.name ?? 'nobody',
  why: (visit.form.why ?? 'no reason given').slice(0, WHY_CHARS_MAX),
  address: visit.address,
})

/** Asks whether this version is to serve, with what its judgement was. */
export function confirmPromote(parts: PageParts, visit: Visit): Answer {
  const model = parts.control.models.get(Number(visit.params.modelId))
  if (model === undefined) return noModel(visit)
  const champion = parts.control.models.withAlias(model.kind, 'champion')
  const [verdict] = parts.control.models.verdicts(model.modelId)
  const notPassed = verdict?.passed !== 1
  return confirmation({
    question: `Promote ${model.version}?`,
    sub: `${model.kind} model`,
    texts: [
      `It serves from then on instead of ${champion?.version ?? shipsOf(model.kind)}, within a second; calls under way end as they were placed. One click rolls it back.`,
      ...goesWith(parts, model),
      verdict === undefined ? 'It was never judged.' : `Its judgement: ${verdict.words}`,
    ],
    warning: notPassed ? 'It has not passed its judgement. Promote it only if you know why.' : undefined,
    action: `/models/${model.modelId}/promote`,
    button: `Promote ${model.version}`,
    danger: notPassed,
    fields: [],
  })
}

/** The profiles that a policy brings along, in words. */
function goesWith({ control }: PageParts, { modelId }: ModelRecord): readonly string[] {
  const profiles = control.models.goesWith(modelId)
  return profiles ? [`With it goes ${profiles.version}: it was trained and judged with these profiles of the instances.`] : []
}

/** Makes a version the champion; the router swaps and answers. */
export async function promote(parts: PageParts, visit: Visit): Promise<Answer> {
  const model = parts.control.models.get(Number(visit.params.modelId))
  if (model === undefined) return noModel(visit)
  return change(parts, () => parts.control.models.promote(model.modelId, askedBy(visit)))
}

/** Asks whether what served before is to serve again. */
export function confirmRollBack({ control }: PageParts, visit: Visit): Answer {
  const { kind } = visit.query
  const champion = isKind(kind) ? control.models.withAlias(kind, 'champion') : undefined
  if (!isKind(kind) || champion === undefined) return nothingServes()
  const next = control.models.withAlias(kind, 'previous')?.version ?? shipsOf(kind)
  return confirmation({
    question: `Roll back ${champion.version}?`,
    sub: `${kind} model`,
    texts: [
      `From then on, within a second, ${next} serves. ${champion.version} stays registered.`,
      ...(champion.profileModelId === null ? [] : ['Profiles that were promoted with it are rolled back with it.']),
    ],
    warning: undefined,
    action: '/models/roll-back',
    button: `Roll back to ${next}`,
    danger: true,
    fields: [{ name: 'kind', value: kind }],
  })
}

/** What served before the champion serves again. */
export async function rollBack(parts: PageParts, visit: Visit): Promise<Answer> {
  const { kind } = visit.form
  if (!isKind(kind) || parts.control.models.withAlias(kind, 'champion') === undefined) return nothingServes()
  return change(parts, () => parts.control.models.rollBack(kind, askedBy(visit)))
}

const nothingServes = (): Answer => ({
  kind: 'problem',
  status: 404,
  title: 'Nothing to roll back',
  text: 'No trained model of this kind serves now. Nothing was changed.',
})

async function change(parts: PageParts, act: () => { readonly intentId: number }): Promise<Answer> {
  try {
    const { intentId } = act()
    await waitForAnswer(parts.control, intentId)
    return { kind: 'see other', to: `/models?asked=${intentId}` }
  } catch (error) {
    return cannot(error)
  }
}

const cannot = (error: unknown): Answer => ({
  kind: 'problem',
  status: 409,
  title: 'Nothing was changed',
  text: `It could not be done: ${error instanceof Error ? error.message : String(error)}.`,
})

/** How a version is tried on real calls: shadow or canary. */
export function tryPage(parts: PageParts, visit: Visit): Answer {
  const { control } = parts
  const model = control.models.get(Number(visit.params.modelId))
  if (model === undefined) return noModel(visit)
  return {
    kind: 'page',
    view: 'model-try',
    title: `Try ${model.version}`,
    model: {
      id: model.modelId,
      version: model.version,
      running: control.trials.running()?.mode,
      goesWith: goesWith(parts, model),
      ...foretold(control, model),
    },
  }
}

/** What the twin foretold of a canary of this version, and what the form says at first. */
function foretold(control: PageParts['control'], { modelId }: ModelRecord): Model {
  const { canary } = parsedObject(control.models.verdicts(modelId)[0]?.numbers ?? '{}')
  const { blocks, blockMs, washoutMs, shareRatio, words } = membersOf(canary)
  const ownMs = typeof blockMs === 'number' ? blockMs : BLOCK_MS
  return {
    foretold: typeof words === 'string' ? words : undefined,
    share: typeof shareRatio === 'number' ? Math.round(100 * shareRatio) : 25,
    seconds: ownMs / 1_000,
    washout: (typeof washoutMs === 'number' ? washoutMs : washoutOf(ownMs)) / 1_000,
    blocks: typeof blocks === 'number' ? blocks : 0,
  }
}

/** Of the blocks: more than half is a promotion by another name. */
const SHARE_MOST_PERCENT = 50
const MINUTE_MS = 60_000
const BLOCK_MOST_S = 86_400
/** Where the twin foretold none: long enough for most calls. */
const BLOCK_MS = 10 * MINUTE_MS
/** Calls of the block before still run: chosen as a fifth of the block, two minutes at most. */
const washoutOf = (blockMs: number): number => Math.min(2 * MINUTE_MS, Math.round(blockMs / 5))

/** Starts a trial. */
export async function startTrial(parts: PageParts, visit: Visit): Promise<Answer> {
  const { control, clock } = parts
  const model = control.models.get(Number(visit.params.modelId))
  if (model === undefined) return noModel(visit)
  const { form } = visit
  const mode = form.mode === 'canary' ? 'canary' : 'shadow'
  const share = Number(form.share ?? '25')
  const blockMs = Math.round(1_000 * Number(form.seconds ?? BLOCK_MS / 1_000))
  const washoutMs = form.washout === undefined ? washoutOf(blockMs) : Math.round(1_000 * Number(form.washout))
  const blocks = Number(form.blocks ?? '0')
  const fits = blockMs > 0 && blockMs <= 1_000 * BLOCK_MOST_S && washoutMs >= 0 && washoutMs < blockMs
  if (!(share > 0 && share <= SHARE_MOST_PERCENT && fits && Number.isInteger(blocks) && blocks >= 0))
    return {
      kind: 'problem',
      status: 422,
      title: 'This trial cannot be started',
      text: `The share is above 0 and at most ${SHARE_MOST_PERCENT} %, a block lasts at most ${BLOCK_MOST_S} seconds, its wash-out is shorter, and the number of blocks is whole. Nothing was changed.`,
    }
  return change(parts, () =>
    control.trials.start({
      mode,
      models: { [model.kind]: model.modelId },
      shareRatio: mode === 'canary' ? share / 100 : 0,
      blockMs,
      washoutMs,
      blocksPlanned: mode === 'canary' ? blocks : 0,
      seed: clock.nowUnixMs() % 2 ** 31,
      asked: askedBy(visit),
    }),
  )
}

/** Ends a trial before its time. */
export function endTrial({ control }: PageParts, visit: Visit): Answer {
  const { who, why, address } = askedBy(visit)
  const trialId = Number(visit.params.trialId)
  if (!control.trials.end({ trialId, state: 'ended', by: who, why, address }))
    return { kind: 'problem', status: 404, title: 'No such trial', text: 'It has ended, or there never was one. Nothing was changed.' }
  return { kind: 'see other', to: '/models' }
}

interface Confirming {
  readonly question: string
  readonly sub: string
  readonly texts: readonly string[]
  readonly warning: string | undefined
  readonly action: string
  readonly button: string
  readonly danger: boolean
  readonly fields: readonly { readonly name: string; readonly value: string }[]
}

const confirmation = (asking: Confirming): Answer => ({ kind: 'page', view: 'model-confirm', title: asking.question, model: { ...asking } })

/** What was asked, by kind of intent. */
const ASKED: Readonly<Record<string, string>> = {
  serve: 'The change of the serving model',
  try: 'The trial',
  [SET_ASIDE]: 'Setting the learned policy aside',
  [TAKE_UP]: 'Taking the learned policy up again',
}

/** What became of the change that the address names. */
export function servingNotice({ control }: PageParts, visit: Visit): Model | undefined {
  const intent = visit.query.asked === undefined ? undefined : control.intents.get(Number(visit.query.asked))
  const what = intent && ASKED[intent.kind]
  if (!intent || what === undefined) return undefined
  if (intent.state === 'done') return { tone: 'good', text: `${what}: done. ${intent.answer ?? ''}`.trim(), href: undefined }
  if (intent.state === 'refused')
    return { tone: 'bad', text: `${what}: refused by the router. ${intent.answer ?? ''}`.trim(), href: undefined }
  return { tone: 'warn', text: `${what}: asked, waiting for the router.`, href: visit.url }
}
