import type { Call, TextCounts } from './call.ts'
import { solveSymmetric } from './solve.ts'

/**
 * Prompt tokens of a call before any tokeniser saw it. A pool's instances all run one tokeniser and one chat template, and they tell the
 * true count after each call, so one estimator per pool learns both: tokens are a weighted sum of what the text is made of (words, letters of long
 * words, digits …), turns and a constant, and the weights are those with the least relative squared error over the recent calls (ridge
 * regression towards the stated prior; Hoerl and Kennard, 1970).
 */

/** What one unit of each term costs in tokens before anything is learned, and how far off that may be (standard deviation). */
interface Term {
  readonly name: string
  readonly of: (call: Call, text: TextCounts) => number
  readonly prior: number
  readonly spread: number
}

/** Chosen for byte-pair tokenisers of 100,000 to 200,000 entries on English; other tokenisers and scripts are what the learning is for. */
const TERMS: readonly Term[] = [
  { name: 'call', of: () => 1, prior: 3, spread: 20 },
  { name: 'turn', of: (call) => call.request.turns, prior: 4, spread: 2 },
  { name: 'word', of: (_, text) => text.words, prior: 1, spread: 0.2 },
  { name: 'long letter', of: (_, text) => text.longLetters, prior: 0.12, spread: 0.1 },
  { name: 'digit', of: (_, text) => text.digits, prior: 0.8, spread: 0.4 },
  { name: 'sign run', of: (_, text) => text.signRuns, prior: 0.9, spread: 0.3 },
  { name: 'more signs', of: (_, text) => text.signsMore, prior: 0.1, spread: 0.2 },
  { name: 'gap', of: (_, text) => text.gaps, prior: 0.6, spread: 0.4 },
  { name: 'accent', of: (_, text) => text.accents, prior: 1.5, spread: 1 },
  { name: 'alphabet', of: (_, text) => text.alphabets, prior: 0.4, spread: 0.3 },
  { name: 'wide', of: (_, text) => text.wides, prior: 1, spread: 0.5 },
  { name: 'media', of: (_, text) => text.media, prior: 500, spread: 500 },
]

/** Bytes of raw JSON per token where a door gave no text counts: English prose in a chat body. */
const BYTES_PER_TOKEN_PRIOR = 4.5

/** Calls the prior ratio weighs as much as. */
const RATIO_PRIOR_CALLS = 4

/** Relative error that remains when the weights are right: measured 3 to 8 % on the public sets of the tests. */
const NOISE_RATIO = 0.06

/** A count this far (relative) from the estimate, more than five times the noise, pulls only linearly: a server's own preamble or a cache's odd usage. */
const OUTLIER_RATIO = 0.35

/** Weight kept per call: the last 500 calls or so decide, so that a changed template is followed. */
const KEPT_PER_CALL = 0.998

/** The weights are solved for anew at each of the first calls, then once in so many. */
const SOLVED_EACH_CALLS = 100
const SOLVED_EVERY_CALLS = 8

/** Estimates tokens of one pool's prompts and learns from what its instances count; a new one knows only the priors. */
export class TokenEstimator {
  readonly #size = TERMS.length
  readonly #normal = new Float64Array(this.#size * this.#size)
  readonly #moment = new Float64Array(this.#size)
  readonly #weights = Float64Array.from(TERMS, (term) => term.prior)
  /** A call's terms; and the system to be solved, which solving overwrites. */
  readonly #row = new Float64Array(this.#size)
  readonly #left = new Float64Array(this.#size * this.#size)
  readonly #right = new Float64Array(this.#size)
  #ratioBytes = BYTES_PER_TOKEN_PRIOR * RATIO_PRIOR_CALLS
  #ratioTokens = RATIO_PRIOR_CALLS
  #learned = 0

  /** Calls learned from since start. */
  get learned(): number {
    return this.#learned
  }

  /** Prompt tokens of the call, at least 1; exact where the caller sent token ids. */
  estimate(call: Call): number {
    if (call.promptTokensExact !== undefined) return Math.max(1, call.promptTokensExact)
    if (!call.promptText) return Math.max(1, Math.round((call.promptBytes * this.#ratioTokens) / this.#ratioBytes))
    let sum = 0
    for (let i = 0; i < this.#size; i++) sum += (this.#weights[i] ?? 0) * termOf(i, call, call.promptText)
    return Math.max(1, Math.round(sum))
  }

  /** Takes in that an instance counted `promptTokens` for the call; counts that cannot be are ignored. */
  learn(call: Call, promptTokens: number): void {
    if (!(promptTokens > 0 && Number.isFinite(promptTokens)) || call.promptTokensExact !== undefined) return
    this.#learned++
    this.#learnRatio(call, promptTokens)
    if (call.promptText) this.#learnWeights(call, call.promptText, promptTokens)
  }

  #learnRatio(call: Call, promptTokens: number): void {
    // Each call weighs the same, whatever its length: the error that counts is relative.
    this.#ratioBytes = this.#ratioBytes * KEPT_PER_CALL + call.promptBytes / promptTokens
    this.#ratioTokens = this.#ratioTokens * KEPT_PER_CALL + 1
  }

  #learnWeights(call: Call, text: TextCounts, promptTokens: number): void {
    const row = this.#row
    let estimateRatio = 0
    for (let i = 0; i < this.#size; i++) {
      const value = termOf(i, call, text) / promptTokens
      row[i] = value
      estimateRatio += value * (this.#weights[i] ?? 0)
    }
    const missRatio = Math.abs(1 - estimateRatio)
    const trust = missRatio > OUTLIER_RATIO ? OUTLIER_RATIO / missRatio : 1
    for (let i = 0; i < this.#size; i++) {
      const left = (row[i] ?? 0) * trust
      this.#moment[i] = (this.#moment[i] ?? 0) * KEPT_PER_CALL + left
      for (let j = 0; j <= i; j++) {
        const at = i * this.#size + j
        this.#normal[at] = (this.#normal[at] ?? 0) * KEPT_PER_CALL + left * (row[j] ?? 0)
      }
    }
    // Every call moves the weights at first; later a few together move them as far, and solving is the costly half.
    if (this.#learned <= SOLVED_EACH_CALLS || this.#learned % SOLVED_EVERY_CALLS === 0) this.#solve()
  }

  #solve(): void {
    const [left, right] = [this.#left, this.#right]
    left.set(this.#normal)
    right.set(this.#moment)
    for (const [i, term] of TERMS.entries()) {
      const stiffness = (NOISE_RATIO / term.spread) ** 2
      left[i * this.#size + i] = (left[i * this.#size + i] ?? 0) + stiffness
      right[i] = (right[i] ?? 0) + stiffness * term.prior
    }
    this.#weights.set(solveSymmetric(left, right))
  }
}

function termOf(index: number, call: Call, text: TextCounts): number {
  return TERMS[index]?.of(call, text) ?? 0
}
