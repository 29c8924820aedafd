import { NOT_PROMOTED } from '../log/control/verdict-words.ts'
import { LengthDistribution } from '../prediction/distribution.ts'
import { LENGTH_FEATURE_HASH, LengthEvaluator, type LengthModel } from '../prediction/length-model.ts'
import { encodeLengthModel } from '../prediction/model-file.ts'
import type { Rng } from '../rng.ts'
import { LENGTH_PLAN, type LengthPlan, levelOf, trainLength } from './length.ts'
import { BUCKET_NAMES, bucketOf } from './measures.ts'
import { MODEL_FILE } from './model-folder.ts'
import type { HeldOutLength } from './night-gather-lengths.ts'
import { type ModelFiles, versionOf } from './registry.ts'

/** Answers that a night's length model is trained on at least: with fewer the shipped one knows more. Chosen on the learning curve of bench length. */
export const NIGHT_ROWS_LEAST = 1_000
/** Epochs: few rows are seen often, many need it less; the work is the same. The net goes on from the champion's. */
const EPOCH_ROWS = 240_000
const EPOCHS_MOST = 60

/** Plan of a night: the base model's, with as much work as suits the rows. */
export function nightLengthPlan(rows: number): LengthPlan {
  const epochs = Math.max(8, Math.min(EPOCHS_MOST, Math.round(EPOCH_ROWS / Math.max(1, rows))))
  return { ...LENGTH_PLAN, net: { ...LENGTH_PLAN.net, epochs }, trees: { ...LENGTH_PLAN.trees, trees: rows > 8_000 ? 120 : 200 } }
}

export interface NightLength {
  readonly model: LengthModel
  readonly files: ModelFiles
}

/** Trains a challenger from logged answers; its version is its content. */
export async function trainNightLength(
  examples: Parameters<typeof trainLength>[0],
  { champion, rng }: { readonly champion: LengthModel; readonly rng: Rng },
): Promise<NightLength> {
  const plan = nightLengthPlan(examples.length)
  const unnamed = await trainLength(examples, { version: 'unnamed', rng, plan, champion })
  const version = versionOf('length', filesOf(unnamed))
  const model = { ...unnamed, version }
  return { model, files: filesOf(model) }
}

function filesOf(model: LengthModel): ModelFiles {
  return new Map([[MODEL_FILE, new TextEncoder().encode(encodeLengthModel(model))]])
}

/** A part of the answers by itself, those with the smallest gain first; in nats per answer. */
export interface LengthSlice {
  readonly slice: string
  readonly rows: number
  readonly gain: number
}

/** A challenger beside the champion on answers that neither was trained on. Scores in nats per answer, lower is better. */
export interface LengthVerdict {
  readonly passed: boolean
  readonly words: string
  readonly rows: number
  readonly championScore: number
  readonly challengerScore: number
  /** Champion's score less the challenger's, with its 95 % interval: above 0 the challenger is better. */
  readonly gain: readonly [value: number, low: number, high: number]
  /** How far the stated 50, 80 and 95 % intervals are off at worst, in points. */
  readonly coveragePoints: number
  readonly byApplication: readonly LengthSlice[]
  readonly byPool: readonly LengthSlice[]
  /** By what came; not judged by: which answers are long was not known beforehand, and every honest distribution does worse on surprises. */
  readonly byBucket: readonly LengthSlice[]
  readonly featureHash: string
}

const BOOTSTRAP = 1_000
const JUDGED_LEAST = 200
/** A slice with fewer held-out answers tells nothing by itself. */
const SLICE_LEAST = 50
/** Nats by which no application and no pool may come out worse: 5 % in likelihood. */
const SLICE_WORSE_MOST = 0.05
const COVERAGE_POINTS_MOST = 10
/** A probability is never taken for smaller: one surprise must not decide. */
const PROBABILITY_LEAST = 1e-4

/** Judges by the probability that each model gave to what came: of a cut answer, to its being at least as long. Paired bootstrap over answers. */
export function judgeLength(
  heldOut: readonly HeldOutLength[],
  { champion, challenger, rng }: { readonly champion: LengthModel; readonly challenger: LengthModel; readonly rng: Rng },
): LengthVerdict {
  const evaluator = new LengthEvaluator()
  const scored = heldOut.map((one) => {
    const said = (model: LengthModel): Float64Array => evaluator.evaluate(model, one.row, one.words).cumulative
    const [before, after] = [surprise(said(champion), one), surprise(said(challenger), one)]
    return { one, before, after, difference: before - after }
  })
  const gain = bootstrapMean(
    scored.map(({ difference }) => difference),
    rng.stream('bootstrap'),
  )
  const dice = rng.stream('levels')
  const levels = heldOut
    .filter((one) => !one.censored)
    .map((one) => levelOf(evaluator.evaluate(challenger, one.row, one.words).cumulative, one.outputTokens, dice.next()))
  const coveragePoints = worstCoverage(levels)
  const sliceBy = (keyOf: (one: HeldOutLength) => string): LengthSlice[] =>
    [...Map.groupBy(scored, ({ one }) => keyOf(one))]
      .map(([slice, own]) => ({ slice, rows: own.length, gain: mean(own.map(({ difference }) => difference)) }))
      .filter(({ rows }) => rows >= SLICE_LEAST)
      .sort((x, y) => x.gain - y.gain || (x.slice < y.slice ? -1 : 1))
  const byApplication = sliceBy(({ application }) => application)
  const byPool = sliceBy(({ pool }) => pool)
  const byBucket = sliceBy(({ outputTokens }) => BUCKET_NAMES[bucketOf(outputTokens)] as string)
  const [worst] = [...byApplication, ...byPool].sort((x, y) => x.gain - y.gain)
  const reasons = [
    ...(heldOut.length < JUDGED_LEAST ? [`only ${heldOut.length} answers to judge by, ${JUDGED_LEAST} are needed`] : []),
    ...(gain[1] > 0
      ? []
      : [
          `what came of ${heldOut.length} later answers was ${times(gain[0])} times as likely by it as by the champion (95 % interval ${times(gain[1])} to ${times(gain[2])}: not above 1)`,
        ]),
    ...(worst && worst.gain < -SLICE_WORSE_MOST
      ? [`what came of answers of ${worst.slice} was only ${times(worst.gain)} times as likely`]
      : []),
    ...(coveragePoints > COVERAGE_POINTS_MOST ? [`its stated intervals are off by ${coveragePoints.toFixed(0)} points`] : []),
  ]
  const facts = {
    rows: heldOut.length,
    championScore: mean(scored.map(({ before }) => before)),
    challengerScore: mean(scored.map(({ after }) => after)),
    gain,
    coveragePoints,
    byApplication,
    byPool,
    byBucket,
    featureHash: LENGTH_FEATURE_HASH,
  }
  const better = `what came of ${heldOut.length} later answers was ${times(gain[0])} times as likely by it as by the champion (95 % interval ${times(gain[1])} to ${times(gain[2])})`
  return { passed: reasons.length === 0, words: reasons.length === 0 ? better : `${NOT_PROMOTED}${reasons.join('; ')}`, ...facts }
}

/** A gain in nats as people read it: the geometric mean of how many times as likely the challenger held what came. */
const times = (nats: number): string => Math.exp(nats).toFixed(2)

function surprise(cumulative: Float64Array, { outputTokens, censored }: HeldOutLength): number {
  const distribution = new LengthDistribution(cumulative)
  const below = distribution.atMost(outputTokens - 1)
  // Of a whole answer the probability of a tenth around it, so that buckets of another width say the same.
  const probability = censored ? 1 - below : distribution.atMost(outputTokens * 1.05) - distribution.atMost(outputTokens * 0.95 - 1)
  return -Math.log(Math.max(PROBABILITY_LEAST, probability))
}

function worstCoverage(levels: readonly number[]): number {
  if (levels.length === 0) return 0
  return Math.max(
    ...[0.5, 0.8, 0.95].map((share) => {
      const inside = levels.filter((level) => Math.abs(level - 0.5) <= share / 2).length / levels.length
      return 100 * Math.abs(inside - share)
    }),
  )
}

function bootstrapMean(values: readonly number[], rng: Rng): readonly [value: number, low: number, high: number] {
  if (values.length === 0) return [0, 0, 0]
  const means = Float64Array.from({ length: BOOTSTRAP }, () => {
    let sum = 0
    for (let i = 0; i < values.length; i++) sum += values[rng.int(values.length)] as number
    return sum / values.length
  }).sort()
  return [mean(values), means[Math.floor(0.025 * BOOTSTRAP)] as number, means[Math.floor(0.975 * BOOTSTRAP)] as number]
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length
}
