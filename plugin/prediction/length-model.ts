import type { Call } from '../call/call.ts'
import { freshShorts } from '../call/cells.ts'
import { type DenseLayer, VectorNet } from '../neural/vector-net.ts'
import { type Trees, VectorTrees } from '../neural/vector-trees.ts'
import { accumulate, BUCKETS, type Cumulative, LengthDistribution, moved, POSITIONS_PER_LN } from './distribution.ts'
import { roundToHalves } from './half.ts'
import { REQUEST_FEATURES, writeRequestFeatures } from './request-features.ts'
import { HAND_FEATURES, RULES_OF_THUMB, USUAL } from './text/hand-features.ts'
import { EMBEDDING_WIDTH, READING_WIDTH } from './text/reading.ts'
import { hashWord } from './text/word-hash.ts'

/**
 * The trained length model: four members that err differently, averaged on ln tokens. A ridge on hand features carries over to sets never seen;
 * trees on the same features catch how they interact; a small survival net on hand features and embeddings knows words and gives the
 * shape of the distribution; a ridge on hashed words knows the rest. Measured in bench `length`.
 */
export interface LengthModel {
  readonly version: string
  readonly featureHash: string
  /** Per column of a row: values are held within [low, high] before use. */
  readonly low: Float32Array
  readonly high: Float32Array
  readonly ridge: { readonly bias: number; readonly weights: Float32Array }
  readonly trees: Trees
  readonly net: readonly NetLayer[]
  /** Weight per hashed word, by hash modulo its length (a power of two). */
  readonly words: { readonly bias: number; readonly weights: Float32Array }
  readonly shares: MemberShares
  /** One per rule of thumb (RULES_OF_THUMB). */
  readonly thumbs: readonly Thumb[]
  /** What probability levels turn out to be: `levels[i]` of answers fell below the stated level i / (length − 1). */
  readonly levels: Float64Array
  /** Standard deviation of training rows per column, 0 for constant ones: the scale of on-line corrections. */
  readonly mean: Float32Array
  readonly spread: Float32Array
}

export type NetLayer = DenseLayer

export interface MemberShares {
  readonly ridge: number
  readonly trees: number
  readonly net: number
  readonly words: number
}

/**
 * How far a rule of thumb is trusted where it applies: answers copied from the prompt are as long as what is copied, those picked from options as long
 * as an option. It weighs as much as a few hundred answers: decisive for a kind of prompt that training hardly saw, little where it saw many.
 */
export interface Thumb {
  /** What answers lay beyond the rule, ln tokens. */
  readonly bias: number
  /** Share of the rule in the mean, 0 to 1. */
  readonly share: number
}

/** Hand features, then request features: what ridge and trees read. */
export const PLAIN_WIDTH = HAND_FEATURES.length + REQUEST_FEATURES.length
/** A row: plain features, then the embedding. */
export const ROW_WIDTH = PLAIN_WIDTH + EMBEDDING_WIDTH

/** Names the columns of a row; a model with another hash is refused. */
export const LENGTH_FEATURE_HASH = (hashWord([...HAND_FEATURES, '|', ...REQUEST_FEATURES, '|', EMBEDDING_WIDTH].join(',')) >>> 0)
  .toString(16)
  .padStart(8, '0')

/** A row as it is logged and trained on: half precision, half the bytes. Serving reads the same values (I7). */
export type LoggedRow = Float16Array

/** Writes the row of a call, in values that half precision keeps, and gives those; `reading` is what a TextReader made of its last user message. */
export function writeRow(
  call: Call,
  parts: { readonly reading: Float32Array | undefined; readonly promptTokens: number },
  row: Float32Array,
): LoggedRow {
  const { reading } = parts
  if (reading?.length === READING_WIDTH) {
    for (let i = 0; i < HAND_FEATURES.length; i++) row[i] = reading[i] as number
    for (let i = PLAIN_WIDTH; i < ROW_WIDTH; i++) row[i] = reading[i - REQUEST_FEATURES.length] as number
  } else row.fill(0)
  writeRequestFeatures(call, parts.promptTokens, row, HAND_FEATURES.length)
  const halves = freshShorts(ROW_WIDTH)
  roundToHalves(bitsOf(row), halves)
  return new Float16Array(halves.buffer as ArrayBuffer, halves.byteOffset, ROW_WIDTH)
}

let bitsRow: Float32Array | undefined
let rowBits: Uint32Array = new Uint32Array(0)

/** A view of a row's bits, kept for the next call: whoever writes rows writes them to one and the same array. */
function bitsOf(row: Float32Array): Uint32Array {
  if (row !== bitsRow) {
    rowBits = new Uint32Array(row.buffer, row.byteOffset, row.length)
    bitsRow = row
  }
  return rowBits
}

/** What each member says of one call, ln tokens; the average, and the distribution around it. */
export interface BasePrediction {
  readonly meanLn: number
  readonly cumulative: Cumulative
}

/** Evaluates models, mostly one and the same; holds its arrays, so one per thread. */
export class LengthEvaluator {
  readonly #row = new Float32Array(ROW_WIDTH)
  #net: readonly NetLayer[] | undefined
  #vectorNet: VectorNet | undefined
  #grown: Trees | undefined
  #vectorTrees: VectorTrees | undefined
  readonly #masses = new Float64Array(BUCKETS)
  readonly #shape = new Float64Array(BUCKETS + 1)

  /** The model's prediction for a row (see `writeRow`) and hashed words. Throws where the model gives no number. */
  evaluate(model: LengthModel, row: Float32Array, words: ArrayLike<number>): BasePrediction {
    const held = this.#hold(model, row)
    const cumulative = this.#survival(model.net, held)
    const shape = new LengthDistribution(cumulative)
    const netLn = shape.meanLn
    const { shares } = model
    const wordShare = words.length > 0 ? shares.words : 0
    const sum =
      shares.ridge * dot(model.ridge, held) +
      shares.trees * this.#trees(model.trees, held) +
      shares.net * netLn +
      (wordShare > 0 ? wordShare * ofWords(model.words, words) : 0)
    const meanLn = byThumb(model.thumbs, row, sum / (shares.ridge + shares.trees + shares.net + wordShare))
    if (!Number.isFinite(meanLn)) throw new Error(`the length model gave ${meanLn}`)
    return { meanLn, cumulative: relevel(moved(cumulative, { shift: (meanLn - netLn) * POSITIONS_PER_LN }), model.levels) }
  }

  #hold({ low, high }: LengthModel, row: Float32Array): Float32Array {
    const held = this.#row
    for (let i = 0; i < held.length; i++) {
      const value = row[i] as number
      const least = low[i] as number
      const most = high[i] as number
      held[i] = value < least ? least : Math.min(value, most)
    }
    return held
  }

  #trees(trees: Trees, row: Float32Array): number {
    if (trees !== this.#grown || !this.#vectorTrees) {
      this.#vectorTrees = new VectorTrees(trees)
      this.#grown = trees
    }
    return this.#vectorTrees.evaluate(row)
  }

  #survival(net: readonly NetLayer[], row: Float32Array): Cumulative {
    if (net !== this.#net || !this.#vectorNet) {
      this.#vectorNet = new VectorNet(net)
      this.#net = net
    }
    return survivalOf(this.#vectorNet.evaluate(row), this.#masses, this.#shape)
  }
}

/** Hazard logits per bucket to the cumulative distribution: a bucket's hazard is the probability of ending in it once it was reached. */
export function survivalOf(
  logits: ArrayLike<number>,
  masses: Float64Array = new Float64Array(BUCKETS),
  out: Cumulative = new Float64Array(BUCKETS + 1),
): Cumulative {
  let alive = 1
  for (let k = 0; k < BUCKETS; k++) {
    const hazard = k === BUCKETS - 1 ? 1 : 1 / (1 + Math.exp(-(logits[k] as number)))
    masses[k] = alive * hazard
    alive *= 1 - hazard
  }
  return accumulate(masses, out)
}

/** The mean of ln tokens where a rule of thumb applies: the first that does. Unheld values: what training never saw is what the rules are for. */
function byThumb(thumbs: readonly Thumb[], row: Float32Array, meanLn: number): number {
  for (let i = 0; i < thumbs.length; i++) {
    const value = row[RULES_OF_THUMB[i] as number] as number
    const { bias, share } = thumbs[i] as Thumb
    if (value !== 0) return share * (USUAL + value + bias) + (1 - share) * meanLn
  }
  return meanLn
}

function dot({ bias, weights }: LengthModel['ridge'], row: Float32Array): number {
  let sum = bias
  for (let i = 0; i < weights.length; i++) sum += (row[i] as number) * (weights[i] as number)
  return sum
}

/** Mean weight of the words, by the root of their number. */
function ofWords({ bias, weights }: LengthModel['words'], words: ArrayLike<number>): number {
  const mask = weights.length - 1
  let sum = 0
  for (let i = 0; i < words.length; i++) sum += weights[(words[i] as number) & mask] as number
  return bias + sum / Math.sqrt(words.length)
}

/** Replaces stated probability levels by what they turned out to be: piecewise linear between equally spaced knots. */
export function relevel(cumulative: Cumulative, levels: ArrayLike<number>): Cumulative {
  const steps = levels.length - 1
  if (steps < 1) return cumulative
  for (let k = 1; k < BUCKETS; k++) {
    const at = (cumulative[k] as number) * steps
    const i = Math.min(steps - 1, Math.floor(at))
    const low = levels[i] as number
    cumulative[k] = low + (at - i) * ((levels[i + 1] as number) - low)
  }
  return cumulative
}
