import { solveSymmetric } from '../call/solve.ts'
import { HAND_FEATURES } from './text/hand-features.ts'

/**
 * What one application's answers teach beyond the trained model: how far its answers lie from the prediction (a shrunk mean of residuals), how that
 * depends on a few features (a ridge, once some answers came), and how much closer or wider than predicted they are. All on ln tokens.
 */

/** Answers the prior "no correction" weighs as much as: n / (n + 3). */
const LEVEL_PRIOR_ANSWERS = 3
/**
 * Prior variance of a slope, in ln tokens per standard deviation of its column. The ridge's penalty is noise ÷ this, so that an application
 * whose answers scatter must show a slope for longer. Chosen: with a third of it translations are followed too slowly (.05 less within one task).
 */
const SLOPE_VARIANCE = 0.03
/** Noise variance before any answer, and answers it weighs as much as. */
const NOISE_PRIOR = 1
const NOISE_PRIOR_ANSWERS = 4
/** Slopes are used once that many answers came. */
const SLOPES_FROM_ANSWERS = 10
/** Slopes are solved for anew once a sixteenth of the answers are new: it costs as much as a prediction, and moves them hardly. */
const SOLVED_EVERY = 16
/** Weight kept per answer: the last 300 or so decide. */
const KEPT_PER_ANSWER = 0.997
/** Answers the predicted spread weighs as much as, and the bounds of its correction. */
const SPREAD_PRIOR_ANSWERS = 4
const SCALE_LEAST = 0.3
const SCALE_MOST = 4
/** A residual beyond this (a factor of 20) pulls no further. */
const RESIDUAL_MOST = 3

/** Columns a slope is learned for: what lengths go with inside one application. */
const SLOPE_COLUMNS: readonly number[] = [
  'chars',
  'words',
  'payloadChars',
  'tokens',
  'sentences',
  'items',
  'item chars mean',
  'itemCharsMost',
  'itemCharsLeast',
  'firstLineChars',
  'lastLineChars',
  'lineLongest',
  'numbers',
  'numberDistinct',
  'questions',
  'commas',
  'quotedChars',
  'breaks',
  'wides',
  'backticks',
  'copies payload',
  'picks',
].map((name) => {
  const at = HAND_FEATURES.indexOf(name)
  if (at < 0) throw new Error(`there is no hand feature "${name}"`)
  return at
})

/** Terms of the on-line ridge: 1, the prediction itself, the slope columns. */
export const TERMS = 2 + SLOPE_COLUMNS.length
/** The prediction's term is about this centre, so that its slope leaves the level alone. */
const CENTRE_LN = 4.5

/** Writes the terms of a call: its row standardised by the model's training rows. */
export function writeTerms(
  parts: { readonly row: Float32Array; readonly mean: Float32Array; readonly spread: Float32Array; readonly meanLn: number },
  out: Float64Array,
): void {
  const { row, mean, spread, meanLn } = parts
  out[0] = 1
  out[1] = meanLn - CENTRE_LN
  for (let i = 0; i < SLOPE_COLUMNS.length; i++) {
    const column = SLOPE_COLUMNS[i] as number
    const deviation = spread[column] as number
    const value = deviation > 0 ? ((row[column] as number) - (mean[column] as number)) / deviation : 0
    out[2 + i] = Math.min(4, Math.max(-4, value))
  }
}

/** The correction of one application; learns from every whole answer. */
export class Adaptation {
  readonly #normal = new Float32Array((TERMS * (TERMS + 1)) / 2)
  readonly #moment = new Float32Array(TERMS)
  readonly #weights = new Float64Array(TERMS)
  #count = 0
  #residuals = 0
  #squares = 0
  #noise = 0
  #unsolved = 0

  /** Answers learned from, fading. */
  get count(): number {
    return this.#count
  }

  /** Added to the predicted mean of ln tokens. */
  shift(terms: Float64Array): number {
    if (this.#count < SLOPES_FROM_ANSWERS) return this.#residuals / (this.#count + LEVEL_PRIOR_ANSWERS)
    let sum = 0
    for (let k = 0; k < TERMS; k++) sum += (terms[k] as number) * (this.#weights[k] as number)
    return Math.min(RESIDUAL_MOST, Math.max(-RESIDUAL_MOST, sum))
  }

  /** Times the predicted spread. */
  get scale(): number {
    const scale = Math.sqrt((this.#squares + SPREAD_PRIOR_ANSWERS) / (this.#count + SPREAD_PRIOR_ANSWERS))
    return Math.min(SCALE_MOST, Math.max(SCALE_LEAST, scale))
  }

  /** An answer lay `residualLn` beyond the model's prediction, `leftLn` beyond the corrected one; `spreadLn` had been predicted. */
  learn(terms: Float64Array, answer: { readonly residualLn: number; readonly leftLn: number; readonly spreadLn: number }): void {
    const residual = Math.min(RESIDUAL_MOST, Math.max(-RESIDUAL_MOST, answer.residualLn))
    const left = Math.min(RESIDUAL_MOST, Math.abs(answer.leftLn))
    const standard = Math.min(4, left / answer.spreadLn)
    this.#count = this.#count * KEPT_PER_ANSWER + 1
    this.#residuals = this.#residuals * KEPT_PER_ANSWER + residual
    this.#squares = this.#squares * KEPT_PER_ANSWER + standard * standard
    this.#noise = this.#noise * KEPT_PER_ANSWER + left * left
    for (let a = 0, at = 0; a < TERMS; a++) {
      const term = terms[a] as number
      this.#moment[a] = (this.#moment[a] as number) * KEPT_PER_ANSWER + term * residual
      for (let b = 0; b <= a; b++, at++) this.#normal[at] = (this.#normal[at] as number) * KEPT_PER_ANSWER + term * (terms[b] as number)
    }
    this.#unsolved++
    if (this.#count >= SLOPES_FROM_ANSWERS && this.#unsolved * SOLVED_EVERY >= this.#count) this.#solve()
  }

  #solve(): void {
    this.#unsolved = 0
    const noise = (this.#noise + NOISE_PRIOR * NOISE_PRIOR_ANSWERS) / (this.#count + NOISE_PRIOR_ANSWERS)
    const lower = new Float64Array(TERMS * TERMS)
    for (let a = 0, at = 0; a < TERMS; a++) for (let b = 0; b <= a; b++, at++) lower[a * TERMS + b] = this.#normal[at] as number
    for (let a = 0; a < TERMS; a++)
      lower[a * TERMS + a] = (lower[a * TERMS + a] as number) + (a === 0 ? LEVEL_PRIOR_ANSWERS : noise / SLOPE_VARIANCE)
    this.#weights.set(solveSymmetric(lower, Float64Array.from(this.#moment)))
  }

  /** Writes its state to `out` from `at`: ADAPTATION_NUMBERS numbers. */
  save(out: Float32Array, at: number): void {
    out.set([this.#count, this.#residuals, this.#squares, this.#noise], at)
    out.set(this.#moment, at + 4)
    out.set(this.#normal, at + 4 + TERMS)
  }

  /** Takes over what was saved from `at`. */
  restore(saved: Float32Array, at: number): void {
    ;[this.#count, this.#residuals, this.#squares, this.#noise] = saved.subarray(at, at + 4) as unknown as [number, number, number, number]
    this.#moment.set(saved.subarray(at + 4, at + 4 + TERMS))
    this.#normal.set(saved.subarray(at + 4 + TERMS, at + ADAPTATION_NUMBERS))
    if (this.#count >= SLOPES_FROM_ANSWERS) this.#solve()
  }
}

/** Numbers that a saved adaptation is made of. */
export const ADAPTATION_NUMBERS = 4 + TERMS + (TERMS * (TERMS + 1)) / 2
