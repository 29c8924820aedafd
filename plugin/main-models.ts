import { existsSync } from 'node:fs'
import { userInfo } from 'node:os'
import { systemClock } from './clock.ts'
import type { Config } from './config.ts'
import { figureOf } from './learning/figure.ts'
import { foretoldBlocks } from './learning/foretold-blocks.ts'
import { readRegistered } from './learning/registry.ts'
import { BLOCKS_LEAST } from './learning/switchback.ts'
import { challengersOf, estimateOf } from './learning/trial-conclusion.ts'
import type { ModelKind, ModelRecord } from './log/control/models.ts'
import type { Trial } from './log/control/trials.ts'
import { firstClause } from './log/control/verdict-words.ts'
import { type Control, openControl } from './log/control.ts'
import { databasePath, migrateDataDirectory } from './log/migrate.ts'
import { openReader } from './log/read/reader.ts'
import { readBlocks, readE2eP90, readShadow } from './log/read/trials.ts'
import { Unusable } from './main-child.ts'
import { configOf, readInput } from './main-config.ts'
import { embeddedConfig } from './main-embedded.ts'
import { modelLine, modelWords, trialWords } from './main-models-print.ts'
import { assertPlan, BLOCKS_DEFAULT, suggestBlocks } from './placement/switchback.ts'

export interface ModelsCommand {
  readonly config: string
  readonly why?: string
  readonly force?: true
  readonly json?: true
}

export interface CanaryCommand extends ModelsCommand {
  readonly share?: number
  readonly blockMs?: number
  readonly washoutMs?: number
  readonly blocks?: number
}

/** How long a command waits for the router's answer; it looks every 200 ms. */
const ANSWER_WAIT_MS = 5_000
const LOOK_MS = 100

interface Desk {
  readonly control: Control
  readonly config: Config
}

/** Opens what a `models` command works on, and closes it after. */
async function at<T>({ config: path }: ModelsCommand, act: (desk: Desk) => T | Promise<T>): Promise<T> {
  const config = configOf(readInput(path) ?? embeddedConfig([]))
  if (!existsSync(config.dataDir))
    throw new Unusable(
      `there is no data directory ${config.dataDir} yet: start Phasewise or train first, or run this in the folder where it runs (a relative dataDir begins there)`,
    )
  migrateDataDirectory({ dataDir: config.dataDir, nowUnixMs: systemClock.nowUnixMs() })
  const control = openControl({ path: databasePath(config.dataDir, 'control'), clock: systemClock })
  try {
    return await act({ control, config })
  } finally {
    control.close()
  }
}

/** `phasewise models list`: every version, what it is now and what was found of it, newest first. */
export async function listModels(kind: string | undefined, command: ModelsCommand): Promise<void> {
  await at(command, ({ control }) => {
    const models = control.models.list(kind === undefined ? undefined : kindOf(kind))
    if (command.json) return console.log(JSON.stringify(models.map((model) => ({ ...model, card: JSON.parse(model.card) as unknown }))))
    if (models.length === 0) console.log('no trained models yet: what ships serves; make some with npm run phasewise -- train')
    for (const model of models) console.log(modelLine(model, control.models.verdicts(model.modelId)[0]))
    const trial = control.trials.running()
    if (trial) console.log(`${trial.mode} ${trial.trialId} runs: npm run phasewise -- models ${trial.mode} status`)
  })
}

/** `phasewise models show`: a version's card, verdicts and history. */
export async function showModel(version: string, command: ModelsCommand): Promise<void> {
  await at(command, ({ control, config }) => {
    const model = modelNamed(control, version)
    const history = control.models
      .history({ limit: 500, kind: model.kind })
      .filter((one) => [one.modelId, one.fromModelId].includes(model.modelId))
    const verdicts = control.models.verdicts(model.modelId)
    const files = filesOf(config, model)
    if (!command.json) return console.log(modelWords({ model, verdicts, history, files, versionOf: (id) => versionOf(control, id) }))
    const judged = verdicts.map((one) => ({ ...one, numbers: JSON.parse(one.numbers) as unknown }))
    console.log(JSON.stringify({ ...model, card: JSON.parse(model.card) as unknown, verdicts: judged, history, files }))
  })
}

const versionOf = ({ models }: Control, modelId: number | null): string =>
  modelId === null ? 'what ships' : (models.get(modelId)?.version ?? `model ${modelId}`)

function filesOf({ dataDir }: Config, model: ModelRecord): Readonly<Record<string, number>> | string {
  try {
    return Object.fromEntries([...readRegistered(dataDir, model)].map(([name, bytes]) => [name, bytes.byteLength]))
  } catch (error) {
    return (error as Error).message
  }
}

/** `phasewise models promote`: the version serves from now on. Refused where its verdict says no, unless forced. Gives the exit code. */
export async function promoteModel(version: string, command: ModelsCommand): Promise<number> {
  return at(command, async ({ control, config }) => {
    const model = modelNamed(control, version)
    readRegistered(config.dataDir, model)
    const [verdict] = control.models.verdicts(model.modelId)
    if (verdict?.passed !== 1 && !command.force)
      throw new Unusable(`${version}: ${verdict?.words ?? 'it was never judged'}; --force promotes it all the same`)
    const why = command.why ?? (verdict?.passed === 1 ? firstClause(verdict.words) : 'forced')
    tellProfiles(control, config, model)
    return told(control, control.models.promote(model.modelId, { who: whoAmI(), why }).intentId)
  })
}

/** Says which profiles go with a policy, and finds that they are whole. */
function tellProfiles({ models }: Control, { dataDir }: Config, { modelId, version }: ModelRecord): void {
  const profiles = models.goesWith(modelId)
  if (!profiles) return
  readRegistered(dataDir, profiles)
  console.log(`with it goes ${profiles.version}: ${version} was trained and judged with these profiles`)
}

/** `phasewise models rollback`: what served before serves again. Gives the exit code. */
export async function rollBackModel(kind: string, command: ModelsCommand): Promise<number> {
  return at(command, ({ control }) =>
    told(control, control.models.rollBack(kindOf(kind), { who: whoAmI(), why: command.why ?? 'rolled back' }).intentId),
  )
}

/** `phasewise models shadow|canary VERSION… | status | end`. Gives the exit code. */
export async function tryModels(mode: 'shadow' | 'canary', words: readonly string[], command: CanaryCommand): Promise<number> {
  return at(command, async ({ control, config }) => {
    if (words.length === 0 || words[0] === 'status') return showTrial({ control, config }, mode, command)
    if (words[0] === 'end') {
      const trial = control.trials.running()
      if (!trial) throw new Unusable('neither shadow nor canary runs')
      if (trial.mode !== mode)
        throw new Unusable(`no ${mode} runs, but ${trial.mode} ${trial.trialId}; npm run phasewise -- models ${trial.mode} end ends it`)
      control.trials.end({ trialId: trial.trialId, state: 'ended', by: whoAmI(), why: command.why ?? 'ended by command' })
      console.log(`${trial.mode} ${trial.trialId} is ended`)
      return 0
    }
    const models = triedModels(control, words)
    for (const model of models) readRegistered(config.dataDir, model)
    if (!models.some(({ kind }) => kind === 'profile')) for (const model of models) tellProfiles(control, config, model)
    const foretold = models.flatMap((model) => foretoldBlocks(control, model) ?? [])[0]
    const plan = planOf(command, config, foretold?.blocks)
    if (mode === 'canary' && foretold) console.log(foretold.words)
    const { trialId, intentId } = control.trials.start({
      ...plan,
      mode,
      blocksPlanned: mode === 'canary' ? plan.blocksPlanned : 0,
      models: Object.fromEntries(models.map(({ kind, modelId }) => [kind, modelId])),
      asked: { who: whoAmI(), why: command.why ?? 'asked by command' },
    })
    const blocks = `${plan.blocksPlanned} blocks of ${plan.blockMs / 1_000} s, ${100 * plan.shareRatio} % of them the challenger's, wash-out ${plan.washoutMs / 1_000} s`
    const enough = Math.ceil(BLOCKS_LEAST / plan.shareRatio)
    if (mode === 'canary' && plan.blocksPlanned < enough)
      console.log(`so few blocks measure no gain: ${BLOCKS_LEAST} of each arm are the least, at this share ${enough} blocks`)
    console.log(mode === 'canary' ? `canary ${trialId}: ${blocks}` : `shadow ${trialId}: every call is scored, nothing is obeyed`)
    return told(control, intentId)
  })
}

/** The named versions, at most one of each kind and none that serves: it cannot be tried beside itself. */
function triedModels(control: Control, versions: readonly string[]): readonly ModelRecord[] {
  const models = [...new Set(versions)].map((version) => modelNamed(control, version))
  for (const { kind, version, alias } of models) {
    const same = models.filter((one) => one.kind === kind).map((one) => one.version)
    if (same.length > 1) throw new Unusable(`${same.join(' and ')} are both ${kind} models: one of each kind can be tried at a time`)
    if (alias === 'champion') throw new Unusable(`${version} serves already: there is nothing to try`)
  }
  return models
}

function planOf(command: CanaryCommand, { night, dataDir }: Config, foretold: number | null | undefined) {
  const { canary } = night
  const reader = openReader(databasePath(dataDir, 'log'))
  const suggested = suggestBlocks({ e2eMsP90: reader.read(readE2eP90) })
  reader.close()
  const plan = {
    shareRatio: command.share ?? canary.share,
    blockMs: (command.blockMs ?? canary.blockMs) || suggested.blockMs,
    washoutMs: (command.washoutMs ?? canary.washoutMs) || suggested.washoutMs,
    blocksPlanned: (command.blocks ?? canary.blocks) || foretold || BLOCKS_DEFAULT,
    seed: systemClock.nowUnixMs() % 2 ** 31,
  }
  try {
    assertPlan({ ...plan, startUnixMs: 0 })
  } catch (cause) {
    throw new Unusable(`this canary cannot be run: ${cause instanceof Error ? cause.message : cause}`, cause)
  }
  return plan
}

function showTrial({ control, config }: Desk, mode: Trial['mode'], { json }: ModelsCommand): number {
  const trial = control.trials.list({ limit: 20 }).find((one) => one.mode === mode)
  if (!trial) {
    console.log(`there was no ${mode} yet; npm run phasewise -- models ${mode} VERSION starts one`)
    return 1
  }
  const reader = openReader(databasePath(config.dataDir, 'log'))
  const figure = figureOf(config.night.objective)
  const blocks = mode === 'canary' ? reader.read((query) => readBlocks(query, trial.trialId, figure)) : []
  const estimate = mode === 'canary' ? estimateOf(blocks, figure) : undefined
  const shadow = mode === 'shadow' ? reader.read((query) => readShadow(query, trial.trialId)) : undefined
  reader.close()
  const versions = challengersOf(trial).map((id) => versionOf(control, id))
  const seen = { trial, versions, blocks, ...(estimate ? { estimate } : {}), ...(shadow ? { shadow } : {}) }
  console.log(json ? JSON.stringify({ ...trial, ...estimate, ...shadow }) : trialWords(seen))
  return 0
}

/** Waits for what the router says to the intent; without a router the change takes effect when one starts. */
async function told(control: Control, intentId: number): Promise<number> {
  for (let waitedMs = 0; waitedMs < ANSWER_WAIT_MS; waitedMs += LOOK_MS) {
    const intent = control.intents.get(intentId)
    if (intent && intent.state !== 'asked') {
      console.log(`${intent.state}: ${intent.answer}`)
      return intent.state === 'done' ? 0 : 1
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
  console.log('noted; no router answered yet: it takes effect when one runs')
  return 0
}

function modelNamed({ models }: Control, version: string): ModelRecord {
  const found = models.list().filter((one) => one.version === version || String(one.modelId) === version)
  const [model] = found
  if (!model) throw new Unusable(`there is no model ${version}; npm run phasewise -- models list shows all`)
  return model
}

function kindOf(text: string): ModelKind {
  const kind = text === 'profiles' ? 'profile' : text
  if (kind === 'length' || kind === 'policy' || kind === 'profile') return kind
  throw new Unusable(`${JSON.stringify(text)} is no kind of model; there are length, policy and profile`)
}

function whoAmI(): string {
  return `${userInfo().username} (command line)`
}
