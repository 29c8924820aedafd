import type { DatasetCounts } from './learning/dataset.ts'
import { leftOutWords } from './learning/night-gather.ts'
import type { SwitchbackEstimate } from './learning/switchback.ts'
import type { ModelRecord, Promotion, VerdictRecord } from './log/control/models.ts'
import type { Trial } from './log/control/trials.ts'
import { firstClause, withoutOutcome } from './log/control/verdict-words.ts'
import type { BlockScore, ShadowScore } from './log/read/trials.ts'

/** What the `models` commands print for people: facts by name, one per line. `--json` gives the whole of it. */
type Fact = readonly [name: string, text: string | undefined]

const NAME_WIDTH = 12
const facts = (list: readonly Fact[]): string =>
  list.flatMap(([name, text]) => (text === undefined || text === '' ? [] : [`  ${name.padEnd(NAME_WIDTH)}${text}`])).join('\n')

/** UTC, to the minute. */
const instant = (unixMs: number): string => `${new Date(unixMs).toISOString().slice(0, 16).replace('T', ' ')} UTC`

/** A version as a line of the list. */
export function modelLine(model: ModelRecord, verdict: VerdictRecord | undefined): string {
  const judged = verdict === undefined ? 'not judged' : verdict.passed === 1 ? 'passed' : 'not passed'
  const words = verdict === undefined ? '' : withoutOutcome(firstClause(verdict.words))
  const cells = [model.version.padEnd(17), (model.alias ?? '').padEnd(10), instant(model.registeredUnixMs), judged.padEnd(10), words]
  return cells.join('  ').trimEnd()
}

export interface Shown {
  readonly model: ModelRecord
  /** Newest first. */
  readonly verdicts: readonly VerdictRecord[]
  readonly history: readonly Promotion[]
  /** Bytes by name, or why the version cannot serve. */
  readonly files: Readonly<Record<string, number>> | string
  /** A model's version by its id. */
  readonly versionOf: (modelId: number | null) => string
}

interface Card {
  readonly command?: string
  readonly data?: {
    readonly pool?: string
    readonly splitUnixMs?: number
    readonly read?: number
    readonly used?: number
    readonly leftOut?: DatasetCounts['leftOut']
  }
}

/** A version for people: what it is, what was found of it, where it came from, what it did. */
export function modelWords({ model, verdicts, history, files, versionOf }: Shown): string {
  const { command, data } = JSON.parse(model.card) as Card
  const [verdict] = verdicts
  const serves = model.alias === 'champion'
  const from = model.parent === null ? '' : `, from ${model.parent === 'base' ? 'the shipped model' : model.parent}`
  return [
    `${model.version}: ${model.kind} model${model.alias === null ? '' : `, ${model.alias}${serves ? ' (it serves)' : ''}`}`,
    facts([
      ['made', `${instant(model.registeredUnixMs)}${model.runId === null ? '' : ` by training run ${model.runId}`}${from}`],
      ...verdictFacts(verdict),
      ['data', data && dataWords(data)],
      ['same again', command],
      ['features', model.featureHash ?? undefined],
      ['files', typeof files === 'string' ? `CANNOT SERVE: ${files}` : filesWords(model, files)],
      ...history.map((one): Fact => ['history', `${instant(one.atUnixMs)} ${historyWords(one, versionOf)}`]),
      ['next', serves ? `npm run phasewise -- models rollback ${model.kind}` : `npm run phasewise -- models promote ${model.version}`],
    ]),
  ].join('\n')
}

function verdictFacts(verdict: VerdictRecord | undefined): readonly Fact[] {
  if (verdict === undefined) return [['verdict', 'it was never judged']]
  const [first, ...more] = withoutOutcome(verdict.words).split('; ')
  const head: Fact = ['verdict', `${verdict.passed === 1 ? 'passed' : 'not passed'}: ${first}`]
  return [head, ...more.map((clause): Fact => ['', clause])]
}

function dataWords({ pool, splitUnixMs, read, used, leftOut = {} }: NonNullable<Card['data']>): string {
  const reasons = leftOutWords({ leftOut })
  const without = reasons === '' ? '' : `; left out: ${reasons}`
  const split = splitUnixMs === undefined ? '' : `; calls before ${instant(splitUnixMs)} trained, later ones judged`
  return `${used} of ${read} rows, judged on pool ${pool}${without}${split}`
}

const filesWords = ({ folder }: ModelRecord, files: Readonly<Record<string, number>>): string =>
  `${folder}: ${Object.entries(files)
    .map(([name, bytes]) => `${name} ${(bytes / 1_024).toFixed(1)} KiB`)
    .join(', ')}`

function historyWords({ kind, action, fromModelId, modelId, who, why }: Promotion, versionOf: Shown['versionOf']): string {
  const of = (id: number | null): string => (id === null && kind === 'policy' ? 'the configured rule' : versionOf(id))
  return `${action}: ${of(fromModelId)} → ${of(modelId)}, by ${who}: ${firstClause(why)}`
}

export interface Tried {
  readonly trial: Trial
  readonly versions: readonly string[]
  /** Of a canary. */
  readonly blocks: readonly BlockScore[]
  readonly estimate?: SwitchbackEstimate | { readonly words: string }
  /** Of a shadow. */
  readonly shadow?: ShadowScore
}

/** A shadow or canary for people: what is tried, since when, what was seen, and how it ended. */
export function trialWords({ trial, versions, blocks, estimate, shadow }: Tried): string {
  const { mode, trialId, state, shareRatio, blockMs, washoutMs, blocksPlanned, endedUnixMs, endedBy, endedWhy } = trial
  const planned = blocksPlanned === 0 ? 'until somebody ends it' : `${blocksPlanned} planned`
  const plan = `${planned}, ${blockMs / 1_000} s each (wash-out ${washoutMs / 1_000} s), ${Math.round(100 * shareRatio)} % the challenger's`
  return [
    `${mode} ${trialId}: ${state}`,
    facts([
      ['tries', versions.join(', ')],
      ['since', `${instant(trial.startedUnixMs)}, asked by ${trial.askedBy}`],
      ['blocks', mode === 'canary' ? plan : undefined],
      ...(['control', 'challenger'] as const).map((arm): Fact => [arm, mode === 'canary' ? armWords(blocks, arm) : undefined]),
      ['gain', estimate?.words],
      ['calls', shadow && shadowCalls(shadow)],
      ['lengths', shadow && shadowLengths(shadow)],
      ['ended', endedUnixMs === null ? undefined : `${instant(endedUnixMs)} by ${endedBy}: ${endedWhy}`],
      ['next', state === 'running' ? `npm run phasewise -- models ${mode} end` : undefined],
    ]),
  ].join('\n')
}

function armWords(blocks: readonly BlockScore[], arm: BlockScore['arm']): string {
  const own = blocks.filter((one) => one.arm === arm)
  const sum = (of: (one: BlockScore) => number): number => own.reduce((total, one) => total + of(one), 0)
  const completed = sum((one) => one.completed)
  const mean = (of: (one: BlockScore) => number | null): string =>
    `${(sum((one) => (of(one) ?? 0) * one.completed) / completed / 1_000).toFixed(2)} s`
  const seen = completed === 0 ? '' : `, mean E2E ${mean((one) => one.meanE2eMs)}, mean TTFT ${mean((one) => one.meanTtftMs)}`
  return `${own.length} blocks begun, ${sum((one) => one.calls)} calls after wash-out, ${sum((one) => one.errors)} errors${seen}`
}

const shadowCalls = ({ calls, placed, agreed }: ShadowScore): string =>
  `${calls} scored${placed === 0 ? '' : `; ${agreed} of ${placed} would have gone to the same instance (${Math.round((100 * agreed) / placed)} %)`}`

function shadowLengths({ lengths, championError, challengerError }: ShadowScore): string | undefined {
  if (lengths === 0 || championError === null || challengerError === null) return undefined
  const times = (error: number): string => Math.exp(error).toFixed(2)
  return `${lengths} answers: predictions are off ${times(challengerError)} times (challenger) and ${times(championError)} times (what serves), geometric mean`
}
