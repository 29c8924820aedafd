import type { DispatchView, InstanceView } from '../fleet/instance.ts'

/**
 * Waiting calls kept one by one. Beyond, as many neighbours as needed are taken together as so many equal calls, so that a deep queue costs no more than
 * this. Chosen: exact up to a queue that no instance should have.
 */
const WAITING_APART_MAX = 64
/** Output taken for granted where nobody predicted it: about the mean of public chat traces. */
const UNPREDICTED_OUTPUT_TOKENS = 256
/**
 * A call that has outlived its prediction is taken to go on for this share of what it has produced, since lengths are roughly log-normal: the longer
 * it ran, the longer it will. Chosen.
 */
const OUTLIVED_RATIO = 0.2

/** What the router believes of the calls on one instance, as arrays that are filled anew for each instance and grow by need. */
export class Belief {
  /** Running calls, ascending by what is left: decode steps until the end, and context tokens of the next step. */
  left = new Float64Array(64)
  context = new Float64Array(64)
  running = 0
  /** Waiting calls, first come first: how many alike, and what each of them is. One place beyond the last is free. */
  calls = new Float64Array(64)
  prompt = new Float64Array(64)
  uncached = new Float64Array(64)
  output = new Float64Array(64)
  waiting = 0
  /** Calls of others that run there, and their context tokens. */
  foreign = 0
  foreignTokens = 0
  /** KV capacity as the instance tells it; NaN unknown. */
  kvTokens = Number.NaN

  /** Takes in what ledger and scrape say of this instance now. */
  load({ ledger, scrape }: InstanceView): void {
    this.#reserve(ledger.inFlight + 1)
    this.running = 0
    this.waiting = 0
    const together = Math.ceil(ledger.awaitingFirstToken / WAITING_APART_MAX)
    let seen = 0
    for (const dispatch of ledger.open()) {
      if (Number.isNaN(dispatch.firstTokenMs)) this.#addWaiting(dispatch, together > 1 ? Math.floor(seen++ / together) : seen++)
      else this.#addRunning(dispatch)
    }
    if (together > 1) this.#average()
    this.foreign = Number.isNaN(scrape.foreignInFlight) ? 0 : scrape.foreignInFlight
    this.foreignTokens = this.foreign > 0 && scrape.kvTokensUnseen > 0 ? scrape.kvTokensUnseen : 0
    this.kvTokens = scrape.kvBlocks * scrape.kvBlockTokens
  }

  #addWaiting({ promptTokens, uncachedPromptTokens, predictedOutputTokens }: DispatchView, i: number): void {
    const output = Math.max(1, Math.round(predictedOutputTokens > 0 ? predictedOutputTokens : UNPREDICTED_OUTPUT_TOKENS))
    const uncached = Math.max(1, uncachedPromptTokens)
    if (i < this.waiting) {
      this.calls[i] = (this.calls[i] as number) + 1
      this.prompt[i] = (this.prompt[i] as number) + promptTokens
      this.uncached[i] = (this.uncached[i] as number) + uncached
      this.output[i] = (this.output[i] as number) + output
      return
    }
    this.waiting = i + 1
    this.calls[i] = 1
    this.prompt[i] = promptTokens
    this.uncached[i] = uncached
    this.output[i] = output
  }

  #average(): void {
    for (let i = 0; i < this.waiting; i++) {
      const calls = this.calls[i] as number
      this.prompt[i] = (this.prompt[i] as number) / calls
      this.uncached[i] = (this.uncached[i] as number) / calls
      this.output[i] = Math.round((this.output[i] as number) / calls)
    }
  }

  #addRunning({ promptTokens, predictedOutputTokens, outputTokens }: DispatchView): void {
    const predicted = predictedOutputTokens > 0 ? predictedOutputTokens : UNPREDICTED_OUTPUT_TOKENS
    const produced = Math.max(1, outputTokens)
    const left = Math.max(1, Math.round(Math.max(predicted - produced, OUTLIVED_RATIO * produced)))
    let at = this.running++
    for (; at > 0 && (this.left[at - 1] as number) > left; at--) {
      this.left[at] = this.left[at - 1] as number
      this.context[at] = this.context[at - 1] as number
    }
    this.left[at] = left
    this.context[at] = promptTokens + produced
  }

  #reserve(calls: number): void {
    if (calls <= this.left.length) return
    const size = 2 * calls
    this.left = new Float64Array(size)
    this.context = new Float64Array(size)
    this.calls = new Float64Array(size)
    this.prompt = new Float64Array(size)
    this.uncached = new Float64Array(size)
    this.output = new Float64Array(size)
  }
}
