import type { RetryOptions } from './options.ts'

/**
 * Retries as a share of calls, a token bucket in units of retries: each call pays in, each retry takes one out (Finagle's RetryBudget, without
 * its extra per second). An outage then costs the pool at most 1.2 times its calls, not a storm.
 */
export class RetryBudget {
  readonly #options: RetryOptions
  #saved: number

  constructor(options: RetryOptions) {
    this.#options = options
    this.#saved = options.budgetBurst
  }

  /** A call was placed for the first time. */
  pay(): void {
    this.#saved = Math.min(this.#options.budgetBurst, this.#saved + this.#options.budgetRatio)
  }

  /** Takes one retry out; false when less than one is left. */
  take(): boolean {
    // Sums of 0.2 fall short of 1 by some 1e-16.
    if (this.#saved < 1 - 1e-9) return false
    this.#saved = Math.max(0, this.#saved - 1)
    return true
  }
}
