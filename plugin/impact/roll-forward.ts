import type { DispatchView, InstanceView } from '../fleet/instance.ts'
import { type EngineShape, SHAPE_BLOCK_TOKENS } from './engine-shape.ts'
import { addChunk, clearWork, emptyWork, type StepWork, stepMs } from './step.ts'

/** The call that may be placed, as predicted. Whole tokens; output at least 1. */
export interface NewCall {
  readonly promptTokens: number
  /** The part of the prompt that the instance has to compute, at least 1. */
  readonly uncachedPromptTokens: number
  readonly outputTokens: number
}

/** Output taken for granted where nobody predicted it: about the mean of public chat traces. */
const UNPREDICTED_OUTPUT_TOKENS = 256
/**
 * A call that has outlived its prediction is taken to go on for this share of what it has produced, since lengths are roughly log-normal: the longer
 * it ran, the longer it will. Chosen.
 */
const OUTLIVED_RATIO = 0.2

/**
 * Plays an instance's near future from the router's belief: its calls in flight with predicted lengths, the one step law, and the engine's order. Steps
 * between two events are an arithmetic series and are jumped over, so that a roll costs per call, not per token. Left out, because the ledger does not know
 * them: the step under way, how far a prompt has been computed, and preemption.
 */
export class RollForward {
  /** Running calls: decode steps until each ends, and the context of its next step, both less the steps taken; ascending by end. */
  #endAt = new Float64Array(64)
  #context = new Float64Array(64)
  #isOwn = new Uint8Array(64)
  /** Waiting calls, first come first. */
  #prompt = new Float64Array(64)
  #uncached = new Float64Array(64)
  #output = new Float64Array(64)
  /** The loaded belief: running calls as above at step 0, how many run, how many wait. */
  #loadedEndAt = new Float64Array(64)
  #loadedContext = new Float64Array(64)
  #loadedRunning = 0
  #loadedWaiting = 0
  #foreign = 0
  #foreignTokens = 0
  #kvTokens = Number.NaN
  readonly #work: StepWork = emptyWork()

  /** State of the roll under way. */
  #shape!: EngineShape
  #nowMs = 0
  #steps = 0
  #first = 0
  #end = 0
  #contextTokens = 0
  #next = 0
  #waiting = 0
  #chunked = 0
  #ownIndex = -1
  #endsMs = 0
  #limitTokens = 0

  /** When the new call of the last roll gets its first token and its last, ms from now; NaN where there was none. */
  ownTtftMs = Number.NaN
  ownE2eMs = Number.NaN

  /** Takes the belief of one instance in; rolls start from it until the next `load`. */
  load(instance: InstanceView): void {
    const { ledger, scrape } = instance
    this.#reserve(ledger.inFlight + 1)
    this.#loadedRunning = 0
    this.#loadedWaiting = 0
    for (const dispatch of ledger.open()) this.#loadOne(dispatch)
    this.#foreign = Number.isNaN(scrape.foreignInFlight) ? 0 : scrape.foreignInFlight
    this.#foreignTokens = this.#foreign > 0 && scrape.kvTokensUnseen > 0 ? scrape.kvTokensUnseen : 0
    this.#kvTokens = scrape.kvBlocks * scrape.kvBlockTokens
  }

  /**
   * Rolls until everybody has ended and returns the sum of the ends of the loaded calls, ms from now; with `own` placed last, its times stand
   * in `ownTtftMs` and `ownE2eMs`. Foreign calls slow every step and never end.
   */
  run(shape: EngineShape, own?: NewCall): number {
    this.#begin(shape, own)
    while (this.#first < this.#end || this.#next < this.#waiting) {
      if (this.#next < this.#waiting && this.#mayStart(this.#next, 0, 0)) {
        if (shape.order === 'v0') this.#prefillAlone()
        else this.#prefillBesideDecodes()
      } else this.#decodeToNextEnd()
    }
    return this.#endsMs
  }

  #begin(shape: EngineShape, own: NewCall | undefined): void {
    this.#shape = shape
    const capacity = this.#kvTokens > 0 ? this.#kvTokens : shape.kvBlocks * SHAPE_BLOCK_TOKENS
    this.#limitTokens = capacity * shape.admissionKvRatio
    this.#nowMs = 0
    this.#steps = 0
    this.#first = 0
    this.#end = this.#loadedRunning
    this.#contextTokens = this.#foreignTokens
    for (let i = 0; i < this.#end; i++) {
      this.#endAt[i] = this.#loadedEndAt[i] as number
      const context = this.#loadedContext[i] as number
      this.#context[i] = context
      this.#contextTokens += context
      this.#isOwn[i] = 0
    }
    this.#next = 0
    this.#chunked = 0
    this.#endsMs = 0
    this.#waiting = this.#loadedWaiting
    this.#ownIndex = -1
    this.ownTtftMs = Number.NaN
    this.ownE2eMs = Number.NaN
    if (!own) return
    this.#ownIndex = this.#waiting++
    this.#prompt[this.#ownIndex] = own.promptTokens
    this.#uncached[this.#ownIndex] = own.uncachedPromptTokens
    this.#output[this.#ownIndex] = own.outputTokens
  }

  #loadOne({ promptTokens, uncachedPromptTokens, predictedOutputTokens, firstTokenMs, outputTokens }: DispatchView): void {
    const predicted = predictedOutputTokens > 0 ? predictedOutputTokens : UNPREDICTED_OUTPUT_TOKENS
    if (Number.isNaN(firstTokenMs)) {
      const i = this.#loadedWaiting++
      this.#prompt[i] = promptTokens
      this.#uncached[i] = Math.max(1, uncachedPromptTokens)
      this.#output[i] = Math.max(1, Math.round(predicted))
      return
    }
    const produced = Math.max(1, outputTokens)
    const left = Math.max(1, Math.round(Math.max(predicted - produced, OUTLIVED_RATIO * produced)))
    let at = this.#loadedRunning++
    for (; at > 0 && (this.#loadedEndAt[at - 1] as number) > left; at--) {
      this.#loadedEndAt[at] = this.#loadedEndAt[at - 1] as number
      this.#loadedContext[at] = this.#loadedContext[at - 1] as number
    }
    this.#loadedEndAt[at] = left
    this.#loadedContext[at] = promptTokens + produced
  }

  /** A seat and the memory for its context and one more token are there, or nothing runs that could free them. */
  #mayStart(index: number, startedCalls: number, startedTokens: number): boolean {
    const running = this.#end - this.#first
    if (running + startedCalls === 0 || (index === this.#next && this.#chunked > 0)) return true
    if (running + startedCalls + this.#foreign >= this.#shape.seats) return false
    return this.#contextTokens + startedTokens + (this.#prompt[index] as number) + 1 <= this.#limitTokens
  }

  /** v0: one step prefills as many whole prompts as budget, seats and memory allow; nobody decodes meanwhile. */
  #prefillAlone(): void {
    const work = this.#work
    clearWork(work)
    const from = this.#next
    let budget = this.#shape.budgetTokens
    let startedTokens = 0
    let i = from
    for (; i < this.#waiting; i++) {
      const prompt = this.#prompt[i] as number
      if (i > from && (prompt > budget || !this.#mayStart(i, i - from, startedTokens))) break
      const uncached = this.#uncached[i] as number
      addChunk(work, { tokens: uncached, cachedTokens: prompt - uncached })
      budget -= uncached
      startedTokens += prompt + 1
    }
    this.#nowMs += stepMs(this.#shape.law, work)
    for (this.#next = i, i = from; i < this.#next; i++) this.#answerFirst(i)
  }

  /** v1: one step decodes all and prefills with what is left of the budget. */
  #prefillBesideDecodes(): void {
    const work = this.#work
    clearWork(work)
    const decoding = this.#end - this.#first + this.#foreign
    work.tokens = decoding
    work.decoding = decoding
    work.contextTokens = this.#contextTokens
    const from = this.#next
    // A budget eaten up by decodes still lets the prompt on by a token: else it would stand still for ever.
    let budget = Math.max(1, this.#shape.budgetTokens - decoding)
    let startedTokens = 0
    let i = from
    while (i < this.#waiting && budget > 0 && (i === from || this.#mayStart(i, i - from, startedTokens))) {
      const uncached = this.#uncached[i] as number
      const done = i === from ? this.#chunked : 0
      const tokens = Math.min(uncached - done, budget)
      addChunk(work, { tokens, cachedTokens: (this.#prompt[i] as number) - uncached + done })
      budget -= tokens
      startedTokens += (this.#prompt[i] as number) + 1
      if (done + tokens < uncached) {
        this.#chunked = done + tokens
        break
      }
      this.#chunked = 0
      i++
    }
    this.#nowMs += stepMs(this.#shape.law, work)
    this.#countSteps(1)
    for (let k = from; k < i; k++) this.#answerFirst(k)
    this.#next = i
  }

  /** Decode steps up to the next end: with B calls and K context tokens in the first of them, Σ over n steps is n·c(B) + c_kv·(n·K + B·n(n−1)/2). */
  #decodeToNextEnd(): void {
    const { law } = this.#shape
    const work = this.#work
    const ending = this.#end - this.#first
    const n = (this.#endAt[this.#first] as number) - this.#steps
    clearWork(work)
    work.tokens = ending + this.#foreign
    work.decoding = ending + this.#foreign
    work.contextTokens = this.#contextTokens
    this.#nowMs += n * stepMs(law, work) + (law.decode.perContextTokenMs * ending * n * (n - 1)) / 2
    this.#countSteps(n)
  }

  /** `n` decode steps are over: contexts grew, and who had that many left has ended. */
  #countSteps(n: number): void {
    this.#steps += n
    this.#contextTokens += n * (this.#end - this.#first)
    while (this.#first < this.#end && (this.#endAt[this.#first] as number) <= this.#steps) {
      this.#contextTokens -= (this.#context[this.#first] as number) + this.#steps
      this.#record(this.#isOwn[this.#first] === 1)
      this.#first++
    }
  }

  /** The prompt is computed: its first token comes now, and it decodes from the next step on. */
  #answerFirst(index: number): void {
    const own = index === this.#ownIndex
    if (own) this.ownTtftMs = this.#nowMs
    const left = (this.#output[index] as number) - 1
    if (left <= 0) {
      this.#record(own)
      return
    }
    const endAt = this.#steps + left
    let at = this.#end++
    for (; at > this.#first && (this.#endAt[at - 1] as number) > endAt; at--) {
      this.#endAt[at] = this.#endAt[at - 1] as number
      this.#context[at] = this.#context[at - 1] as number
      this.#isOwn[at] = this.#isOwn[at - 1] as number
    }
    const context = (this.#prompt[index] as number) + 1
    this.#endAt[at] = endAt
    this.#context[at] = context - this.#steps
    this.#isOwn[at] = own ? 1 : 0
    this.#contextTokens += context
  }

  #record(own: boolean): void {
    if (own) this.ownE2eMs = this.#nowMs
    else this.#endsMs += this.#nowMs
  }

  #reserve(calls: number): void {
    if (calls <= this.#endAt.length) return
    const size = 2 * calls
    this.#endAt = new Float64Array(size)
    this.#context = new Float64Array(size)
    this.#isOwn = new Uint8Array(size)
    this.#prompt = new Float64Array(size)
    this.#uncached = new Float64Array(size)
    this.#output = new Float64Array(size)
    this.#loadedEndAt = new Float64Array(size)
    this.#loadedContext = new Float64Array(size)
  }
}
