import { type Cumulative, cumulativeAt, positionOf } from './distribution.ts'

/** Answers before an application's own probability levels count. */
const ENOUGH_ANSWERS = 40
/** Answers the stated levels weigh as much as. */
const PRIOR_ANSWERS = 40
/** Weight kept per answer: the last 500 or so decide. */
const KEPT_PER_ANSWER = 0.998
const STEPS = 16
const STATED = Float64Array.from({ length: STEPS + 1 }, (_, i) => i / STEPS)

/** Recalibration of one application: how often its answers fell below each stated probability level (randomised PIT, its expectation). */
export class Levels {
  readonly #hits = new Float64Array(STEPS)
  readonly #knots = Float64Array.from(STATED)
  /** Answers came since the knots were made. */
  #stale = true
  #count = 0

  /** An answer of `outputTokens` came where `stated` was said. */
  learn(stated: Cumulative, outputTokens: number): void {
    const low = cumulativeAt(stated, positionOf(Math.max(1, outputTokens) - 0.5)) * STEPS
    const high = Math.max(low + 1e-9, cumulativeAt(stated, positionOf(Math.max(1, outputTokens) + 0.5)) * STEPS)
    this.#count = this.#count * KEPT_PER_ANSWER + 1
    this.#stale = true
    for (let k = 0; k < STEPS; k++) {
      const share = Math.max(0, Math.min(high, k + 1) - Math.max(low, k)) / (high - low)
      this.#hits[k] = (this.#hits[k] as number) * KEPT_PER_ANSWER + share
    }
  }

  /** What stated levels are worth at equally spaced knots; as stated until enough answers came. Valid until the next answer. */
  knots(): Float64Array {
    if (this.#count < ENOUGH_ANSWERS) return STATED
    if (!this.#stale) return this.#knots
    this.#stale = false
    let below = 0
    for (let k = 0; k < STEPS; k++) {
      below += this.#hits[k] as number
      this.#knots[k + 1] = (below + PRIOR_ANSWERS * (STATED[k + 1] as number)) / (this.#count + PRIOR_ANSWERS)
    }
    this.#knots[STEPS] = 1
    return this.#knots
  }

  /** Writes its state to `out` from `at`: LEVEL_NUMBERS numbers. */
  save(out: Float32Array, at: number): void {
    out[at] = this.#count
    out.set(this.#hits, at + 1)
  }

  /** Takes over what was saved from `at`. */
  restore(saved: Float32Array, at: number): void {
    this.#count = saved[at] as number
    this.#stale = true
    this.#hits.set(saved.subarray(at + 1, at + LEVEL_NUMBERS))
  }
}

/** Numbers that saved levels are made of. */
export const LEVEL_NUMBERS = STEPS + 1
