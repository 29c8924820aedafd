import { freshDoubles } from '../call/cells.ts'
import { BUCKETS, type Cumulative, cumulativeAt, positionOf } from './distribution.ts'

/**
 * Mixing several predictions of one application by how well each has done for it (exponentially weighted forecasters on log loss; Vovk, 1990;
 * Cesa-Bianchi and Lugosi, Prediction, Learning, and Games, ch. 9): never much worse than the best of them.
 */

/** Kept of each score per answer: the last fifty or so decide. */
const KEPT_PER_ANSWER = 0.98
/** A forecaster that thought an answer impossible is not silenced for ever. */
const PROBABILITY_LEAST = 1e-4

/** Log scores of a fixed number of forecasters. */
export class Experts {
  readonly #scores: Float64Array

  /** `start` are the scores before anything came: what is trusted first. */
  constructor(start: readonly number[]) {
    this.#scores = Float64Array.from(start)
  }

  /** Weights of the forecasters that are there, summing to 1; 0 for those absent. */
  weights(present: readonly (Cumulative | undefined)[]): number[] {
    let best = Number.NEGATIVE_INFINITY
    for (let i = 0; i < present.length; i++) if (present[i]) best = Math.max(best, this.#scores[i] as number)
    let all = 0
    const weights: number[] = []
    for (let i = 0; i < present.length; i++) {
      const weight = present[i] ? Math.exp((this.#scores[i] as number) - best) : 0
      weights.push(weight)
      all += weight
    }
    for (let i = 0; i < weights.length; i++) weights[i] = (weights[i] as number) / all
    return weights
  }

  /** An answer came; each forecaster that was there is scored by the probability it gave. */
  learn(present: readonly (Cumulative | undefined)[], outputTokens: number): void {
    const [low, high] = [positionOf(Math.max(1, outputTokens) - 0.5), positionOf(Math.max(1, outputTokens) + 0.5)]
    for (let i = 0; i < present.length; i++) {
      const one = present[i]
      if (!one) continue
      const probability = cumulativeAt(one, high) - cumulativeAt(one, low)
      this.#scores[i] = KEPT_PER_ANSWER * (this.#scores[i] as number) + Math.log(Math.max(PROBABILITY_LEAST, probability))
    }
    // Only differences count; an absent one keeps its distance to the best.
    let best = Number.NEGATIVE_INFINITY
    for (const score of this.#scores) best = Math.max(best, score)
    for (let i = 0; i < this.#scores.length; i++) this.#scores[i] = (this.#scores[i] as number) - best
  }

  /** Writes its scores to `out` from `at`. */
  save(out: Float32Array, at: number): void {
    out.set(this.#scores, at)
  }

  /** Takes over what was saved from `at`. */
  restore(saved: Float32Array, at: number): void {
    this.#scores.set(saved.subarray(at, at + this.#scores.length))
  }
}

/** The weighted mean of cumulative distributions, written to `out`. */
export function mix(
  present: readonly (Cumulative | undefined)[],
  weights: readonly number[],
  out: Cumulative = freshDoubles(BUCKETS + 1),
): Cumulative {
  out.fill(0)
  for (let i = 0; i < present.length; i++) {
    const one = present[i]
    const weight = weights[i] as number
    if (one && weight > 0) for (let k = 0; k <= BUCKETS; k++) out[k] = (out[k] as number) + weight * (one[k] as number)
  }
  out[BUCKETS] = 1
  return out
}
