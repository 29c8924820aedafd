import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { LENGTH_PLAN, trainLength } from './learning/length.ts'
import { createCard, describeData, measureAll } from './learning/length-card.ts'
import { describeErrors, ERRORS_FILE, encodeErrors } from './learning/length-errors.ts'
import { crossValidate, foldsOf, predictInOrder } from './learning/length-evaluation.ts'
import { shuffle } from './learning/length-net.ts'
import { caseOf, type LengthCase, type LengthRow, RowError, readRows } from './learning/length-rows.ts'
import type { Judged } from './learning/measures.ts'
import {
  BASE_FOLDER,
  CARD_FILE,
  checksumOf,
  hasTable,
  MODEL_FILE,
  readLengthModel,
  readTextReader,
  TABLE_FILES,
} from './learning/model-folder.ts'
import { openSetsIn, readOpenRows } from './learning/open-rows.ts'
import type { LengthModel } from './prediction/length-model.ts'
import { encodeLengthModel } from './prediction/model-file.ts'
import { createRng, type Rng } from './rng.ts'

/** Calls between a prediction and its answer: what is in flight on a fleet of a few instances. */
const ERRORS_DELAY_CALLS = 16

export interface TrainCommand {
  readonly data: readonly string[]
  readonly out: string
  readonly seed: number
  readonly folds: number
}

/** `phasewise train length`: trains on open sets and JSONL rows, writes the model, its token table and its card. Throws RowError on unreadable rows. */
export async function runTrainLength(command: TrainCommand): Promise<void> {
  const rng = createRng(command.seed)
  const folder = resolve(command.out)
  mkdirSync(folder, { recursive: true })
  const tableFolder = hasTable(folder) ? folder : BASE_FOLDER
  if (tableFolder !== folder) for (const file of TABLE_FILES) copyFileSync(join(tableFolder, file), join(folder, file))
  const cases = await readCases(command.data, folder, rng)
  const version = versionOf(cases, command.seed)
  console.log(`${cases.length} rows of ${new Set(cases.map((one) => one.of.set)).size} sets; version ${version}`)
  const folds = foldsOf(cases, command.folds, rng.stream('folds'))
  const { judged } = await crossValidate(cases, {
    partOf: (one) => folds.get(one),
    plan: LENGTH_PLAN,
    rng,
    told: (done) => console.log(`cross-validation: fold ${done} of ${command.folds}`),
  })
  const values = measureAll(judged, rng.stream('bootstrap'))
  printMeasures(values)
  const model = await trainLength(cases, { version, rng: rng.stream('final') })
  writeFileSync(join(folder, MODEL_FILE), encodeLengthModel(model))
  const unseen = await judgeUnseen(cases, rng.stream('errors'))
  writeFileSync(join(folder, ERRORS_FILE), encodeErrors(describeErrors(unseen.judged, { version, how: unseen.how })))
  const card = createCard({
    version,
    command: `npm run phasewise -- train length ${command.data.map((one) => `--data ${one}`).join(' ')} --out ${command.out} --seed ${command.seed} --folds ${command.folds}`,
    seed: command.seed,
    data: describeData(cases),
    embeddings: { from: 'all-MiniLM-L6-v2 by distil.py', licence: 'Apache-2.0', sha256: checksumOf(folder, 'embeddings.bin') },
    plan: LENGTH_PLAN,
    measured: { how: `${command.folds}-fold cross-validation, 95 % bootstrap intervals`, values },
    unseen: { how: unseen.how, values: measureAll(unseen.judged, rng.stream('unseen')) },
  })
  writeFileSync(join(folder, CARD_FILE), `${JSON.stringify(card, null, 2)}\n`)
  console.log(`written: ${join(command.out, MODEL_FILE)}, ${ERRORS_FILE}, ${CARD_FILE}`)
}

/** Errors as a new installation meets them: rows of a set the model never saw (a fifth where there is one set alone), with history learning on the way. */
async function judgeUnseen(cases: readonly LengthCase[], rng: Rng): Promise<{ readonly how: string; readonly judged: readonly Judged[] }> {
  const sets = new Set(cases.map((one) => one.of.set))
  const folds = foldsOf(cases, 5, rng.stream('folds'))
  const partOf = (one: LengthCase): string => (sets.size > 1 ? one.of.set : String(folds.get(one)))
  const { models } = await crossValidate(cases, {
    partOf,
    plan: { ...LENGTH_PLAN, levelRowsRatio: 0 },
    rng,
    told: (done) => console.log(`errors: part ${done} of ${sets.size > 1 ? sets.size : 5} left out`),
  })
  const judged = predictInOrder(shuffled(cases, rng.stream('order')), {
    modelOf: (one) => models.get(partOf(one)) as LengthModel,
    delayCalls: ERRORS_DELAY_CALLS,
    warmCalls: Number.POSITIVE_INFINITY,
    rng: rng.stream('within'),
  })
  const how = `${sets.size > 1 ? 'each set by a model that never saw it' : 'five folds'}, history learning ${ERRORS_DELAY_CALLS} calls later`
  return { how, judged }
}

function shuffled(cases: readonly LengthCase[], rng: Rng): LengthCase[] {
  const order = Int32Array.from(cases, (_, i) => i)
  shuffle(order, rng)
  return Array.from(order, (i) => cases[i] as LengthCase)
}

async function readCases(data: readonly string[], tableFolder: string, rng: Rng): Promise<LengthCase[]> {
  const rows: LengthRow[] = []
  for (const path of data) {
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) rows.push(...readRows(path))
    else if (openSetsIn(path).length > 0) rows.push(...(await readOpenRows(path, rng.stream('rows'))))
    else throw new RowError(`${path}: there is none of the open sets in this folder; name a JSONL file instead`)
  }
  const readText = readTextReader(tableFolder)
  return rows.map((row, i) => caseOf(row, readText, i))
}

/** Names what went in: the same rows and seed give the same version, and the same model. */
function versionOf(cases: readonly LengthCase[], seed: number): string {
  const hash = createHash('sha256').update(JSON.stringify([seed, LENGTH_PLAN]))
  for (const { row, words, outputTokens, censored } of cases) hash.update(row).update(words).update(`${outputTokens} ${censored}`)
  return `length-${hash.digest('hex').slice(0, 8)}`
}

export interface EvaluateCommand {
  readonly data: string
  readonly model: string
  readonly warm?: number
  readonly delay: number
  readonly json?: true
}

/** `phasewise evaluate length`: predicts a file's rows in order, history learning after each, and prints every measure with its interval. */
export function runEvaluateLength(command: EvaluateCommand): void {
  const model = readLengthModel(command.model)
  const readText = readTextReader(command.model)
  const cases = readRows(command.data).map((row, i) => caseOf(row, readText, i))
  if (cases.length === 0) throw new RowError(`${command.data}: there are no rows`)
  const rng = createRng(1)
  const warmCalls = command.warm ?? Number.POSITIVE_INFINITY
  const judged = predictInOrder(cases, { modelOf: () => model, delayCalls: command.delay, warmCalls, rng: rng.stream('within') })
  const whole = judged.filter((_, i) => !cases[i]?.censored)
  const values = measureAll(whole, rng.stream('bootstrap'))
  const facts = { rows: cases.length, measured: whole.length, censored: cases.length - whole.length, model: model.version }
  if (command.json) console.log(JSON.stringify({ ...facts, values }))
  else {
    console.log(`${facts.rows} rows, ${facts.censored} cut ones not measured; ${facts.model}; history ${describeWarm(warmCalls)}`)
    printMeasures(values)
  }
}

function describeWarm(warmCalls: number): string {
  if (warmCalls === 0) return 'off'
  return Number.isFinite(warmCalls) ? `learns from the first ${warmCalls} answers` : 'learns from every answer'
}

function printMeasures(values: ReturnType<typeof measureAll>): void {
  console.table(
    Object.fromEntries(Object.entries(values).map(([name, [value, low, high]]) => [name, { value, 'from 95 %': low, 'to 95 %': high }])),
  )
}
