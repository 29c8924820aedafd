import type { InstanceView } from '../fleet/instance.ts'
import { Belief } from './belief.ts'
import { type EngineShape, SHAPE_BLOCK_TOKENS } from './engine-shape.ts'
import { clearWork, emptyWork, type StepWork, stepMs } from './step.ts'

/** The call that may be placed, as predicted. Whole tokens; output at least 1. */
export interface NewCall {
  readonly promptTokens: number
  /** The part of the prompt that the instance has to compute, at least 1. */
  readonly uncachedPromptTokens: number
  readonly outputTokens: number
}

/**
 * Plays an instance's near future from the router's belief: its calls in flight with predicted lengths, the one step law, and the engine's order. Steps
 * between two events are an arithmetic series and are jumped over, so that a roll costs per call, not per token. Left out, because the ledger does not know
 * them: the step under way, how far a prompt has been computed, and preemption.
 */
export class RollForward {
  /** Running calls: how many alike, decode steps until they end, and the context of their next step, both less the steps taken; ascending by end. */
  #alike = new Float64Array(64)
  #endAt = new Float64Array(64)
  #context = new Float64Array(64)
  #isOwn = new Uint8Array(64)
  readonly #belief = new Belief()
  readonly #work: StepWork = emptyWork()

  /** State of the roll under way. */
  #shape!: EngineShape
  #nowMs = 0
  #steps = 0
  #first = 0
  #end = 0
  #running = 0
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
  load(instance: InstanceView, nowMs: number): void {
    this.#belief.load(instance, nowMs)
    if (this.#endAt.length <= instance.ledger.inFlight) this.#reserve(2 * instance.ledger.inFlight)
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
    const belief = this.#belief
    this.#shape = shape
    const capacity = belief.kvTokens > 0 ? belief.kvTokens : shape.kvBlocks * SHAPE_BLOCK_TOKENS
    this.#limitTokens = capacity * shape.admissionKvRatio
    this.#nowMs = 0
    this.#steps = 0
    this.#first = 0
    this.#end = belief.running
    this.#running = 0
    this.#contextTokens = belief.foreignTokens
    for (let i = 0; i < this.#end; i++) {
      const context = belief.context[i] as number
      const calls = belief.alike[i] as number
      this.#alike[i] = calls
      this.#running += calls
      this.#endAt[i] = belief.left[i] as number
      this.#context[i] = context
      this.#isOwn[i] = 0
      this.#contextTokens += calls * context
    }
    this.#next = 0
    this.#chunked = 0
    this.#endsMs = 0
    this.#waiting = belief.waiting
    this.#ownIndex = -1
    this.ownTtftMs = Number.NaN
    this.ownE2eMs = Number.NaN
    if (!own) return
    this.#ownIndex = this.#waiting++
    belief.calls[this.#ownIndex] = 1
    belief.prompt[this.#ownIndex] = own.promptTokens
    belief.uncached[this.#ownIndex] = own.uncachedPromptTokens
    belief.output[this.#ownIndex] = own.outputTokens
  }

  /** Seats and the memory for their contexts and a token more each are there, or nothing runs that could free them. */
  #mayStart(index: number, startedCalls: number, startedTokens: number): boolean {
    if (this.#running + startedCalls === 0 || (index === this.#next && this.#chunked > 0)) return true
    if (this.#running + startedCalls + this.#belief.foreign >= this.#shape.seats) return false
    return this.#contextTokens + startedTokens + this.#needTokens(index) <= this.#limitTokens
  }

  #needTokens(index: number): number {
    return (this.#belief.calls[index] as number) * ((this.#belief.prompt[index] as number) + 1)
  }

  /** Books `tokens` of the prompts at `index` into the step, each after its cached part and its share of the `done` tokens. */
  #addPrompts(index: number, tokens: number, done: number): void {
    const work = this.#work
    const calls = this.#belief.calls[index] as number
    work.tokens += tokens
    work.chunks += calls
    work.chunkTokens += tokens
    work.chunkCachedProducts += tokens * ((this.#belief.prompt[index] as number) - (this.#belief.uncached[index] as number) + done / calls)
    work.chunkSquares += (tokens * tokens) / calls
  }

  /** v0: one step prefills as many whole prompts as budget, seats and memory allow; nobody decodes meanwhile. */
  #prefillAlone(): void {
    const work = this.#work
    clearWork(work)
    const from = this.#next
    let budget = this.#shape.budgetTokens
    let startedCalls = 0
    let startedTokens = 0
    let i = from
    for (; i < this.#waiting; i++) {
      const calls = this.#belief.calls[i] as number
      if (i > from && (calls * (this.#belief.prompt[i] as number) > budget || !this.#mayStart(i, startedCalls, startedTokens))) break
      const tokens = calls * (this.#belief.uncached[i] as number)
      this.#addPrompts(i, tokens, 0)
      budget -= tokens
      startedCalls += calls
      startedTokens += this.#needTokens(i)
    }
    this.#nowMs += stepMs(this.#shape.law, work)
    for (this.#next = i, i = from; i < this.#next; i++) this.#answerFirst(i)
  }

  /** v1: one step decodes all and prefills with what is left of the budget. */
  #prefillBesideDecodes(): void {
    const work = this.#work
    clearWork(work)
    const decoding = this.#running + this.#belief.foreign
    work.tokens = decoding
    work.decoding = decoding
    work.contextTokens = this.#contextTokens
    const from = this.#next
    // A budget eaten up by decodes still lets the prompt on by a token: else it would stand still for ever.
    let budget = Math.max(1, this.#shape.budgetTokens - decoding)
    let startedCalls = 0
    let startedTokens = 0
    let i = from
    while (i < this.#waiting && budget > 0 && (i === from || this.#mayStart(i, startedCalls, startedTokens))) {
      const calls = this.#belief.calls[i] as number
      const uncached = calls * (this.#belief.uncached[i] as number)
      const done = i === from ? this.#chunked : 0
      const tokens = Math.min(uncached - done, budget)
      this.#addPrompts(i, tokens, done)
      budget -= tokens
      startedCalls += calls
      startedTokens += this.#needTokens(i)
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
    const n = (this.#endAt[this.#first] as number) - this.#steps
    clearWork(work)
    work.tokens = this.#running + this.#belief.foreign
    work.decoding = this.#running + this.#belief.foreign
    work.contextTokens = this.#contextTokens
    this.#nowMs += n * stepMs(law, work) + (law.decode.perContextTokenMs * this.#running * n * (n - 1)) / 2
    this.#countSteps(n)
  }

  /** `n` decode steps are over: contexts grew, and who had that many left has ended. */
  #countSteps(n: number): void {
    this.#steps += n
    this.#contextTokens += n * this.#running
    while (this.#first < this.#end && (this.#endAt[this.#first] as number) <= this.#steps) {
      const calls = this.#alike[this.#first] as number
      this.#contextTokens -= calls * ((this.#context[this.#first] as number) + this.#steps)
      this.#running -= calls
      this.#record(this.#isOwn[this.#first] === 1, calls)
      this.#first++
    }
  }

  /** The prompts are computed: their first tokens come now, and they decode from the next step on. */
  #answerFirst(index: number): void {
    const own = index === this.#ownIndex
    const calls = this.#belief.calls[index] as number
    if (own) this.ownTtftMs = this.#nowMs
    const left = (this.#belief.output[index] as number) - 1
    if (left <= 0) {
      this.#record(own, calls)
      return
    }
    const endAt = this.#steps + left
    let at = this.#end++
    for (; at > this.#first && (this.#endAt[at - 1] as number) > endAt; at--) {
      this.#alike[at] = this.#alike[at - 1] as number
      this.#endAt[at] = this.#endAt[at - 1] as number
      this.#context[at] = this.#context[at - 1] as number
      this.#isOwn[at] = this.#isOwn[at - 1] as number
    }
    const context = (this.#belief.prompt[index] as number) + 1
    this.#alike[at] = calls
    this.#endAt[at] = endAt
    this.#context[at] = context - this.#steps
    this.#isOwn[at] = own ? 1 : 0
    this.#contextTokens += calls * context
    this.#running += calls
  }

  #record(own: boolean, calls: number): void {
    if (own) this.ownE2eMs = this.#nowMs
    else this.#endsMs += calls * this.#nowMs
  }

  #reserve(calls: number): void {
    this.#alike = new Float64Array(calls)
    this.#endAt = new Float64Array(calls)
    this.#context = new Float64Array(calls)
    this.#isOwn = new Uint8Array(calls)
  }
}
