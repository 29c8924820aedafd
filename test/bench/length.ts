import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { LENGTH_PLAN, trainLength } from '../../plugin/learning/length.ts'
import { crossValidate, foldsOf, predictAlone, predictInOrder } from '../../plugin/learning/length-evaluation.ts'
import { caseOf, type LengthCase } from '../../plugin/learning/length-rows.ts'
import {
  bootstrap,
  bucketAccuracy,
  coverage,
  coverageWorstPoints,
  INTERVALS,
  inTaskSpearman,
  type Judged,
  medianAccuracy,
  pooledSpearman,
} from '../../plugin/learning/measures.ts'
import { BASE_FOLDER, readLengthModel, readTextReader } from '../../plugin/learning/model-folder.ts'
import { readOpenRows } from '../../plugin/learning/open-rows.ts'
import type { MemberShares } from '../../plugin/prediction/length-model.ts'
import { createRng } from '../../plugin/rng.ts'
import { atLeast, atMost, type BenchResult, progress, type Row, rounded } from './harness.ts'
import { type Baseline, hashedNgrams, judgeGuesses, majority, majorityShare, perTask, runningMean, tfIdf } from './length/baselines.ts'
import { classifyBuckets } from './length/paper.ts'
import { drawCurves, reliability, UNIT_TICKS } from './length/plots.ts'
import { measureTime } from './length/timing.ts'

/**
 * The table of length predictors on the open sets: five folds over all, one set left out (LODO), and LODO with on-line adaptation in an
 * order drawn by chance. Plots go to .phasewise/bench/. One seed; nothing is chosen by looking at its folds.
 */
const DATA = new URL('../../../shared/data/', import.meta.url).pathname
const PLOTS = new URL('../../.phasewise/bench/', import.meta.url).pathname
const SEED = 1
const FOLDS = 5
/** Calls between a prediction and its answer: what is in flight on a fleet of a few instances. */
const DELAYS = [0, 16, 64]
const CURVE_ROWS = [250, 500, 1_000, 2_000]
const UNLEVELLED = { ...LENGTH_PLAN, levelRowsRatio: 0 }

const MEMBERS: Readonly<Record<string, MemberShares>> = {
  'ridge on hand features': { ridge: 1, trees: 0, net: 0, words: 0 },
  'trees on hand features': { ridge: 0, trees: 1, net: 0, words: 0 },
  'survival net on hand + static embeddings': { ridge: 0, trees: 0, net: 1, words: 0 },
  'ridge averaged with net': { ridge: 0.5, trees: 0, net: 0.5, words: 0 },
}

const three = (value: number): string => value.toFixed(3)
const justEval = (rows: readonly Judged[]): readonly Judged[] => rows.filter((row) => row.set === 'just-eval')

function rowOf(protocol: string, predictor: string, rows: readonly Judged[], options: { readonly levels?: false } = {}): Row {
  return {
    protocol,
    predictor,
    spearman: three(pooledSpearman(rows)),
    'above median': three(medianAccuracy(rows)),
    buckets: three(bucketAccuracy(rows)),
    'within a task': three(inTaskSpearman(rows)),
    'just-eval buckets': three(bucketAccuracy(justEval(rows))),
    coverage: options.levels === false ? '' : INTERVALS.map((interval) => (coverage(rows, interval) * 100).toFixed(1)).join(' / '),
  }
}

function shuffled(cases: readonly LengthCase[], seed: number): LengthCase[] {
  const rng = createRng(seed)
  return cases
    .map((one) => ({ one, lot: rng.next() }))
    .sort((a, b) => a.lot - b.lot)
    .map(({ one }) => one)
}

/** Baselines over the same parts as the models. */
function judgeBaseline<Part>(cases: readonly LengthCase[], partOf: (one: LengthCase) => Part, baseline: Baseline): Judged[] {
  const found = new Map<LengthCase, Judged>()
  for (const [part, own] of Map.groupBy(cases, partOf)) {
    const others = cases.filter((one) => partOf(one) !== part)
    for (const [i, one] of judgeGuesses(own, baseline(others, own)).entries()) found.set(own[i]!, one)
  }
  return cases.map((one) => found.get(one)!)
}

async function pooledRows(cases: readonly LengthCase[]): Promise<{ rows: Row[]; ours: Judged[] }> {
  const rng = createRng(SEED)
  const folds = foldsOf(cases, FOLDS, rng.stream('folds'))
  const partOf = (one: LengthCase): number => folds.get(one)!
  const rows = Object.entries({
    majority,
    'task majority / median': perTask,
    'TF-IDF ridge': tfIdf,
    'hashed n-grams ridge': hashedNgrams,
  }).map(([name, baseline]) => rowOf('5-fold', name, judgeBaseline(cases, partOf, baseline), { levels: false }))
  const { models, judged } = await crossValidate(cases, {
    partOf,
    plan: LENGTH_PLAN,
    rng,
    told: (done) => progress(done, FOLDS, 'folds'),
  })
  const byFold = [...Map.groupBy(cases, partOf)]
  for (const [name, shares] of Object.entries(MEMBERS))
    rows.push(
      rowOf(
        '5-fold',
        name,
        byFold.flatMap(([part, own]) => predictAlone({ ...models.get(part)!, shares }, own, createRng(2))),
        { levels: false },
      ),
    )
  rows.push(rowOf('5-fold', 'ours, text and request alone', judged))
  // As in service: what an application was answered before is an input too.
  const online = predictInOrder(shuffled(cases, SEED), {
    modelOf: (one) => models.get(partOf(one))!,
    delayCalls: 16,
    warmCalls: Number.POSITIVE_INFINITY,
    rng: createRng(2),
  })
  rows.push(rowOf('5-fold on-line, delay 16', 'ours', online))
  return { rows, ours: judged }
}

/** The paper's predictor reads "This is a … task" before the prompt. */
function withHint(cases: readonly LengthCase[]): LengthCase[] {
  const readText = readTextReader(BASE_FOLDER)
  return cases.map((one, i) => caseOf({ ...one.of, prompt: `This is a ${one.of.task} task. ${one.of.prompt}` }, readText, i))
}

/** The paper's own variant: a classifier of the text into three buckets, with the hint and without. */
async function paperRow(cases: readonly LengthCase[], predictor: string): Promise<Row> {
  const rng = createRng(SEED)
  const folds = foldsOf(cases, FOLDS, rng.stream('folds'))
  const right = new Map<LengthCase, boolean>()
  for (const [fold, own] of Map.groupBy(cases, (one) => folds.get(one)!)) {
    const others = cases.filter((one) => folds.get(one) !== fold)
    for (const [i, one] of (await classifyBuckets(others, own, rng.stream(`fold ${fold}`))).entries()) right.set(own[i]!, one)
  }
  const share = (list: readonly LengthCase[]): string => three(list.filter((one) => right.get(one)).length / list.length)
  progress(1, 1, predictor)
  return {
    protocol: '5-fold',
    predictor,
    spearman: '',
    'above median': '',
    buckets: share(cases),
    'within a task': '',
    'just-eval buckets': share(cases.filter((one) => one.of.set === 'just-eval')),
    coverage: '',
  }
}

async function hintRow(hinted: readonly LengthCase[]): Promise<Row> {
  const rng = createRng(SEED)
  const folds = foldsOf(hinted, FOLDS, rng.stream('folds'))
  const { judged } = await crossValidate(hinted, {
    partOf: (one) => folds.get(one),
    plan: UNLEVELLED,
    rng,
    told: (done) => progress(done, FOLDS, 'folds with the task as a hint'),
  })
  return rowOf('5-fold', 'ours with the paper’s hint', judged, { levels: false })
}

async function unseenRows(cases: readonly LengthCase[]): Promise<{ rows: Row[]; lodo: Judged[]; online: Judged[]; delayed: Judged[] }> {
  const partOf = (one: LengthCase): string => one.of.set
  const rows = Object.entries({ 'TF-IDF ridge': tfIdf, 'hashed n-grams ridge': hashedNgrams }).map(([name, baseline]) =>
    rowOf('LODO', name, judgeBaseline(cases, partOf, baseline), { levels: false }),
  )
  const { models, judged } = await crossValidate(cases, {
    partOf,
    plan: UNLEVELLED,
    rng: createRng(SEED),
    told: (done) => progress(done, 5, 'sets left out'),
  })
  for (const [name, shares] of Object.entries(MEMBERS)) {
    const own = [...Map.groupBy(cases, partOf)].flatMap(([set, list]) => predictAlone({ ...models.get(set)!, shares }, list, createRng(2)))
    rows.push(rowOf('LODO', name, own, { levels: false }))
  }
  rows.push(rowOf('LODO', 'ours', judged))
  const ordered = shuffled(cases, SEED)
  rows.push(
    rowOf('LODO on-line, delay 16', 'running mean per application', judgeGuesses(ordered, runningMean(ordered, 16)), { levels: false }),
  )
  const online = DELAYS.map((delayCalls) =>
    predictInOrder(ordered, {
      modelOf: (one) => models.get(partOf(one))!,
      delayCalls,
      warmCalls: Number.POSITIVE_INFINITY,
      rng: createRng(2),
    }),
  )
  for (const [i, list] of online.entries()) rows.push(rowOf(`LODO on-line, delay ${DELAYS[i]}`, 'ours', list))
  return { rows, lodo: judged, online: online[0]!, delayed: online[1]! }
}

/** Rows trained on → measures on a fifth kept apart. */
async function learningCurve(cases: readonly LengthCase[]): Promise<{ rows: Row[]; points: [number, number][] }> {
  const mixed = shuffled(cases, SEED + 1)
  const kept = Math.floor(mixed.length / FOLDS)
  const [tested, training] = [mixed.slice(0, kept), mixed.slice(kept)]
  const rows: Row[] = []
  const points: [number, number][] = []
  const sizes = [...CURVE_ROWS, training.length]
  for (const [i, size] of sizes.entries()) {
    const model = await trainLength(training.slice(0, size), { version: 'curve', rng: createRng(SEED), plan: UNLEVELLED })
    const judged = predictAlone(model, tested, createRng(2))
    rows.push(rowOf('learning curve', `ours on ${size} rows`, judged))
    points.push([size / training.length, pooledSpearman(judged)])
    progress(i + 1, sizes.length, `learning curve: ${size} rows`)
  }
  return { rows, points }
}

function writePlots(parts: { pooled: Judged[]; lodo: Judged[]; online: Judged[]; curve: readonly [number, number][] }): void {
  mkdirSync(PLOTS, { recursive: true })
  const ticks = { xTicks: UNIT_TICKS, yTicks: UNIT_TICKS }
  const axes = { title: 'Reliability', x: 'stated probability level', y: 'share of answers below', diagonal: true, ...ticks } as const
  const curves = [
    reliability('five folds', '#0a6', parts.pooled),
    reliability('unseen set', '#c33', parts.lodo),
    reliability('unseen set, on-line', '#36c', parts.online),
  ]
  writeFileSync(`${PLOTS}length-reliability.svg`, drawCurves(axes, curves))
  const learning = { title: 'Learning curve', x: 'share of 3,384 rows', y: 'Spearman', ...ticks }
  writeFileSync(`${PLOTS}length-curve.svg`, drawCurves(learning, [{ name: 'ours, fifth kept apart', colour: '#0a6', points: parts.curve }]))
}

/** Runs all protocols; about two minutes of one core. */
export async function run(): Promise<BenchResult> {
  if (!existsSync(DATA)) throw new Error(`the open sets are not there: ${DATA}`)
  const readText = readTextReader(BASE_FOLDER)
  const open = await readOpenRows(DATA, createRng(SEED).stream('rows'))
  const cases = open.map((row, i) => caseOf(row, readText, i))
  console.log(`${cases.length} rows; majority bucket ${three(majorityShare(cases))}`)
  const timing = measureTime({ model: readLengthModel(BASE_FOLDER), readText, cases })
  console.table(timing.rows)
  const pooled = await pooledRows(cases)
  const hinted = withHint(cases)
  const hint = [
    await hintRow(hinted),
    await paperRow(cases, 'the paper’s classifier on text alone'),
    await paperRow(hinted, 'the paper’s classifier with its hint'),
  ]
  const unseen = await unseenRows(cases)
  const curve = await learningCurve(cases)
  writePlots({ pooled: pooled.ours, lodo: unseen.lodo, online: unseen.delayed, curve: curve.points })
  const interval = bootstrap(pooled.ours, pooledSpearman, { rng: createRng(4) })
  console.log(`pooled Spearman ${three(interval.value)}, 95 % bootstrap ${three(interval.low)} to ${three(interval.high)}`)
  return {
    rows: [...pooled.rows, ...hint, ...unseen.rows, ...curve.rows],
    bars: [
      atLeast('pooledSpearman', pooledSpearman(pooled.ours), 0.9),
      atLeast('pooledMedianAcc', medianAccuracy(pooled.ours), 0.91),
      atLeast('pooledBucketAcc', bucketAccuracy(pooled.ours), 0.92),
      atLeast('inTaskSpearman', inTaskSpearman(pooled.ours), 0.6),
      atLeast('justEvalBucketAcc', bucketAccuracy(justEval(pooled.ours)), 0.7),
      atLeast('lodoSpearman', pooledSpearman(unseen.lodo), 0.75),
      atLeast('lodoInTaskSpearman', inTaskSpearman(unseen.lodo), 0.33),
      atLeast('onlineSpearman', pooledSpearman(unseen.delayed), 0.88),
      atLeast('onlineInTaskSpearman', inTaskSpearman(unseen.delayed), 0.45),
      atMost('coverageWorstPoints', coverageWorstPoints(pooled.ours), 3),
      atMost('us50', rounded(timing.us50), 50),
      atMost('us99', rounded(timing.us99), 200),
    ],
  }
}
