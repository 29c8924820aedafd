import type { DispatchView, InstanceView } from '../fleet/instance.ts'

/**
 * Running calls, and waiting ones, that are kept one by one. Beyond, neighbours (by what is left, by place in the queue) are taken together as so many equal
 * calls, so that a crowd costs no more than this. Chosen: exact up to 64 and 64; at hundreds the mean of a few neighbours says as much as each.
 */
const APART_MAX = 64
/** Two whole numbers below this fit into one sortable double. */
const PACK = 2 ** 26
/** Output taken for granted where nobody predicted it: about the mean of public chat traces. */
const UNPREDICTED_OUTPUT_TOKENS = 256
/**
 * A call that has outlived its prediction is taken to go on for this share of what it has produced, since lengths are roughly log-normal: the longer
 * it ran, the longer it will. Chosen.
 */
const OUTLIVED_RATIO = 0.2

/** What the router believes of the calls on one instance, as arrays that are filled anew for each instance and grow by need. */
export class Belief {
  /** Running calls, ascending by what is left: how many alike, decode steps until their end, and context tokens of the next step of each. */
  alike = new Float64Array(64)
  left = new Float64Array(64)
  context = new Float64Array(64)
  running = 0
  #packed = new Float64Array(64)
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
  load(instance: InstanceView, nowMs: number): void {
    const { ledger, scrape, wholePaceMs } = instance
    this.#reserve(ledger.inFlight + 1)
    this.running = 0
    this.waiting = 0
    let silent = believedSilent(instance)
    const awaiting = ledger.awaitingFirstToken - silent
    const together = Math.ceil(awaiting / APART_MAX)
    const crowded = ledger.inFlight - awaiting > APART_MAX
    let seen = 0
    for (const dispatch of ledger.open()) {
      const produced = producedOf(dispatch, wholePaceMs, nowMs)
      // Oldest first, as an engine admits them: the youngest are those that wait.
      if (!Number.isNaN(dispatch.firstTokenMs)) this.#addRunning(dispatch, Math.max(1, produced), crowded)
      else if (produced >= 1 && silent-- > 0) this.#addRunning(dispatch, produced, crowded)
      else this.#addWaiting(dispatch, together > 1 ? Math.floor(seen++ / together) : seen++)
    }
    if (together > 1) this.#average()
    if (crowded) this.#gatherRunning(Math.ceil(this.running / APART_MAX))
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

  #addRunning({ promptTokens, predictedOutputTokens }: DispatchView, produced: number, crowded: boolean): void {
    const predicted = predictedOutputTokens > 0 ? predictedOutputTokens : UNPREDICTED_OUTPUT_TOKENS
    const left = Math.max(1, Math.round(Math.max(predicted - produced, OUTLIVED_RATIO * produced)))
    const context = promptTokens + produced
    let at = this.running++
    if (crowded) {
      this.#packed[at] = left * PACK + Math.round(context)
      return
    }
    for (; at > 0 && (this.left[at - 1] as number) > left; at--) {
      this.left[at] = this.left[at - 1] as number
      this.context[at] = this.context[at - 1] as number
    }
    this.left[at] = left
    this.context[at] = context
    this.alike[this.running - 1] = 1
  }

  /** Sorts the packed calls and takes each `together` of them as so many equal ones. */
  #gatherRunning(together: number): void {
    const packed = this.#packed.subarray(0, this.running).sort()
    this.running = 0
    for (let from = 0; from < packed.length; from += together) {
      const calls = Math.min(together, packed.length - from)
      let left = 0
      let context = 0
      for (let k = from; k < from + calls; k++) {
        const one = Math.floor((packed[k] as number) / PACK)
        left += one
        context += (packed[k] as number) - one * PACK
      }
      const at = this.running++
      this.alike[at] = calls
      this.left[at] = Math.round(left / calls)
      this.context[at] = context / calls
    }
  }

  #reserve(calls: number): void {
    if (calls <= this.left.length) return
    const size = 2 * calls
    this.alike = new Float64Array(size)
    this.#packed = new Float64Array(size)
    this.left = new Float64Array(size)
    this.context = new Float64Array(size)
    this.calls = new Float64Array(size)
    this.prompt = new Float64Array(size)
    this.uncached = new Float64Array(size)
    this.output = new Float64Array(size)
  }
}

/**
 * Calls that run although no token of them was seen, because their answers come whole or past us: those that the scrape does not count as waiting. None where
 * nobody knows the pace of such answers, for then all that can be said is that they have not ended.
 */
function believedSilent({ ledger, scrape, wholePaceMs }: InstanceView): number {
  if (!(wholePaceMs > 0)) return 0
  const streams = ledger.awaitingFirstToken - ledger.awaitingWhole
  const waiting = Number.isNaN(scrape.waiting) ? 0 : Math.max(0, scrape.waiting - streams)
  return Math.max(0, ledger.awaitingWhole - waiting)
}

/** Output tokens so far: as counted, or by the usual pace where nobody counts them. */
function producedOf({ stream, outputTokens, firstTokenMs, dispatchedMs }: DispatchView, paceMs: number, nowMs: number): number {
  if (stream || !(paceMs > 0)) return outputTokens
  return Math.floor((nowMs - (Number.isNaN(firstTokenMs) ? dispatchedMs : firstTokenMs)) / paceMs)
}
