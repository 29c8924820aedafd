import { cumulativeAt, LengthDistribution, positionOf } from '../prediction/distribution.ts'
import { LENGTH_FEATURE_HASH, LengthEvaluator, type LengthModel, type MemberShares, PLAIN_WIDTH } from '../prediction/length-model.ts'
import { RULES_OF_THUMB, USUAL } from '../prediction/text/hand-features.ts'
import type { Rng } from '../rng.ts'
import { type BoostingOptions, trainTrees } from './boosting.ts'
import { type Columns, describeColumns } from './columns.ts'
import { NET_PLAN, type NetPlan, shuffle, trainNet } from './length-net.ts'
import { trainRidge, trainWords } from './ridge.ts'

/**
 * Trains a length model from answered calls, top to bottom: the survival net first, since it alone can use cut answers; then what cut answers
 * would have been, by that net; then the three regressions on ln tokens; last, on rows kept apart, what its probability levels are worth.
 */
export interface LengthExample {
  readonly row: Float32Array
  readonly words: Uint32Array
  readonly outputTokens: number
  readonly censored: boolean
}

export interface LengthPlan {
  readonly net: NetPlan
  readonly trees: BoostingOptions
  readonly ridgePenaltyRows: number
  readonly wordPenaltyRows: number
  readonly wordEntries: number
  readonly shares: MemberShares
  /** Share of rows kept apart for the probability levels; 0 leaves them as stated. */
  readonly levelRowsRatio: number
}

export const LENGTH_PLAN: LengthPlan = {
  net: NET_PLAN,
  trees: { trees: 200, depth: 5, rate: 0.06, leafRowsLeast: 10, columnRatio: 0.5, rowRatio: 0.8, ridge: 2 },
  ridgePenaltyRows: 100,
  wordPenaltyRows: 0.3,
  wordEntries: 16_384,
  // Chosen on the first of the five folds of bench `length`: the two strong members decide, the two plain ones see what those miss. Others near it
  // differ by .003 of rank correlation, which is the noise of a fold.
  shares: { net: 0.3, trees: 0.4, ridge: 0.1, words: 0.2 },
  levelRowsRatio: 0.15,
}

/** Fewer rows than this train no model: the histograms know as much. */
export const ROWS_LEAST = 200
/** Answers that a rule of thumb weighs as much as, and those that its being right on average does. Chosen; 100 to 1,000 differ by .005 on unseen sets. */
const THUMB_ROWS = 200
const THUMB_BIAS_ROWS = 20
/** Knots of the probability levels, and how many rows the stated levels weigh as much as. */
const LEVEL_STEPS = 16
const LEVEL_PRIOR_ROWS = 40

/** Trains on the examples, the net from the champion's where one is given. Throws below ROWS_LEAST rows. */
export async function trainLength(
  examples: readonly LengthExample[],
  parts: { readonly version: string; readonly rng: Rng; readonly plan?: LengthPlan; readonly champion?: LengthModel },
): Promise<LengthModel> {
  const { version, rng, plan = LENGTH_PLAN } = parts
  const start = parts.champion?.net
  if (examples.length < ROWS_LEAST) throw new Error(`${examples.length} answers train no length model; ${ROWS_LEAST} are needed`)
  const kept = Math.floor(examples.length * plan.levelRowsRatio)
  if (kept === 0) return fit(examples, { version, plan, rng, levels: statedLevels(), start })
  const order = Int32Array.from(examples, (_, i) => i)
  shuffle(order, rng.stream('levels'))
  const pick = (rows: Int32Array): LengthExample[] => Array.from(rows, (i) => examples[i] as LengthExample)
  const trial = await fit(pick(order.subarray(kept)), { version, plan, rng, levels: statedLevels(), start })
  const levels = measureLevels(trial, pick(order.subarray(0, kept)), rng.stream('ties'))
  return fit(examples, { version, plan, rng, levels, start })
}

interface Fitting {
  readonly version: string
  readonly plan: LengthPlan
  readonly rng: Rng
  readonly levels: Float64Array
  readonly start: LengthModel['net'] | undefined
}

async function fit(examples: readonly LengthExample[], { version, plan, rng, levels, start }: Fitting): Promise<LengthModel> {
  const rows = examples.map((one) => one.row)
  const columns = describeColumns(rows)
  const outputTokens = examples.map((one) => one.outputTokens)
  const net = await trainNet({ rows, outputTokens, censored: examples.map((one) => one.censored), columns, start }, plan.net, rng)
  const alone = assemble({ version, columns, net, levels })
  const targets = regressionTargets(examples, alone)
  const plain = rows.map((row) => held(row, columns))
  const dice = rng.stream('trees')
  return {
    ...alone,
    ridge: trainRidge({ rows, targets, columns }, { width: PLAIN_WIDTH, penaltyRows: plan.ridgePenaltyRows }),
    trees: trainTrees({ rows: plain, targets }, plan.trees, () => dice.next()),
    words: trainWords(
      { words: examples.map((one) => one.words), targets },
      { entries: plan.wordEntries, penaltyRows: plan.wordPenaltyRows },
    ),
    shares: plan.shares,
    thumbs: trainThumbs(rows, targets),
  }
}

/** What each rule of thumb is off by, and how far it is to be trusted: the fewer answers it could be learned from, the further. */
function trainThumbs(rows: readonly Float32Array[], targets: Float64Array): LengthModel['thumbs'] {
  return RULES_OF_THUMB.map((column) => {
    let [count, beyond] = [0, 0]
    for (const [i, row] of rows.entries()) {
      const value = row[column] as number
      if (value === 0) continue
      count++
      beyond += (targets[i] as number) - USUAL - value
    }
    return { bias: beyond / (count + THUMB_BIAS_ROWS), share: THUMB_ROWS / (count + THUMB_ROWS) }
  })
}

/** The plain columns of a row within their bounds: what the trees will see when serving. */
function held(row: Float32Array, { low, high }: Columns): Float32Array {
  return row.subarray(0, PLAIN_WIDTH).map((value, k) => Math.min(high[k] as number, Math.max(low[k] as number, value)))
}

/** A model of the net alone. */
function assemble(parts: Pick<LengthModel, 'version' | 'net' | 'levels'> & { readonly columns: Columns }): LengthModel {
  const { columns, ...rest } = parts
  return {
    ...rest,
    ...columns,
    featureHash: LENGTH_FEATURE_HASH,
    ridge: { bias: 0, weights: new Float32Array(0) },
    trees: { base: 0, depth: 0, columns: new Int16Array(0), thresholds: new Float32Array(0), leaves: new Float32Array(0) },
    words: { bias: 0, weights: new Float32Array(1) },
    shares: { net: 1, ridge: 0, trees: 0, words: 0 },
    thumbs: [],
  }
}

/** ln tokens; of a cut answer what it would have been by the net: the mean of ln tokens given that it is longer. */
function regressionTargets(examples: readonly LengthExample[], model: LengthModel): Float64Array {
  const evaluator = new LengthEvaluator()
  return Float64Array.from(examples, ({ row, words, outputTokens, censored }) => {
    const seen = Math.log(Math.max(1, outputTokens))
    if (!censored) return seen
    const longer = new LengthDistribution(evaluator.evaluate(model, row, words).cumulative).given(outputTokens)
    return Math.max(seen, longer?.meanLn ?? seen)
  })
}

function statedLevels(): Float64Array {
  return Float64Array.from({ length: LEVEL_STEPS + 1 }, (_, i) => i / LEVEL_STEPS)
}

/**
 * For each stated level the share of rows kept apart that fell below it (Kuleshov, Fenner, Ermon, 2018), pulled towards the stated one. An
 * answer of n tokens is spread evenly between the levels of n − ½ and n + ½ (randomised PIT; Czado, Gneiting, Held, 2009).
 */
function measureLevels(model: LengthModel, examples: readonly LengthExample[], rng: Rng): Float64Array {
  const evaluator = new LengthEvaluator()
  const whole = examples.filter((one) => !one.censored)
  const reached = whole.map(({ row, words, outputTokens }) =>
    levelOf(evaluator.evaluate(model, row, words).cumulative, outputTokens, rng.next()),
  )
  return statedLevels().map((level, i) => {
    if (i === 0 || i === LEVEL_STEPS) return level
    const below = reached.filter((one) => one <= level).length
    return (below + LEVEL_PRIOR_ROWS * level) / (whole.length + LEVEL_PRIOR_ROWS)
  })
}

/** The probability level at which an answer of `tokens` lies; `within` (0 to 1) says where between its neighbours. */
export function levelOf(cumulative: Float64Array, tokens: number, within: number): number {
  const low = cumulativeAt(cumulative, positionOf(Math.max(1, tokens) - 0.5))
  const high = cumulativeAt(cumulative, positionOf(Math.max(1, tokens) + 0.5))
  return low + within * (high - low)
}
