import type { DispatchView, LedgerView } from '../../fleet/instance.ts'
import { expectedTokens, nextAskedTokens } from '../../fleet/ledger.ts'
import type { EngineCore } from '../engine/core.ts'
import { DECODING } from '../engine/sequences.ts'
import type { CallTable } from './call-table.ts'

/** The time of the simulation, shared by all that needs it. */
export interface SimulatedTime {
  nowMs: number
}

/**
 * What one router dispatched to one instance and has not seen end: the same numbers as the router's own ledger keeps. Tokens come out of the engine
 * by the step; they are not metered one by one here but counted when somebody asks.
 */
export class TwinLedger implements LedgerView {
  readonly #calls: CallTable
  readonly #core: EngineCore
  readonly #time: SimulatedTime
  /** Slots in order of dispatch. */
  #slots = new Int32Array(16)
  #inFlight = 0
  #prefillTokensPending = 0
  #promptTokens = 0
  #placed = 0
  #awaitingFirstToken = 0
  #countedMs = Number.NaN
  #outputTokensLeft = 0
  #outputTokensDone = 0
  readonly #open: DispatchView[] = []

  constructor(parts: { readonly calls: CallTable; readonly core: EngineCore; readonly time: SimulatedTime }) {
    this.#calls = parts.calls
    this.#core = parts.core
    this.#time = parts.time
  }

  get inFlight(): number {
    return this.#inFlight
  }
  get prefillTokensPending(): number {
    return this.#prefillTokensPending
  }
  get promptTokens(): number {
    return this.#promptTokens
  }
  get placed(): number {
    return this.#placed
  }
  get awaitingFirstToken(): number {
    return this.#awaitingFirstToken
  }
  /** Every call of the twin is streamed. */
  get awaitingWhole(): number {
    return 0
  }
  get outputTokensLeft(): number {
    this.#count()
    return this.#outputTokensLeft
  }
  get outputTokensDone(): number {
    this.#count()
    return this.#outputTokensDone
  }

  open(): Iterable<DispatchView> {
    const steps = this.#core.decodeStepsBy(this.#time.nowMs)
    this.#open.length = this.#inFlight
    for (let i = 0; i < this.#inFlight; i++) {
      const slot = this.#slots[i] as number
      const { belief } = this.#calls.of(slot)
      belief.outputTokens = this.#outputOf(slot, steps)
      if (belief.outputTokens >= (this.#calls.sequences.askedAgain[slot] as number)) this.#askAgain(slot, belief.outputTokens)
      this.#open[i] = belief
    }
    return this.#open
  }

  /** Slots in flight, in order of dispatch. */
  slots(): Int32Array {
    return this.#slots.subarray(0, this.#inFlight)
  }

  /** Books a call whose belief has been written. */
  dispatch(slot: number): void {
    if (this.#inFlight === this.#slots.length) {
      const wide = new Int32Array(2 * this.#inFlight)
      wide.set(this.#slots)
      this.#slots = wide
    }
    const { belief, predicted } = this.#calls.of(slot)
    this.#calls.sequences.predicted[slot] = belief.predictedOutputTokens
    this.#calls.sequences.askedAgain[slot] = predicted.outlook ? 1 : Number.POSITIVE_INFINITY
    this.#calls.sequences.heard[slot] = 0
    this.#slots[this.#inFlight++] = slot
    this.#placed++
    this.#promptTokens += belief.promptTokens
    this.#prefillTokensPending += belief.uncachedPromptTokens
    this.#awaitingFirstToken++
    this.#countedMs = Number.NaN
  }

  /** The first token reached the router. */
  firstToken(slot: number, nowMs: number): void {
    const { belief } = this.#calls.of(slot)
    belief.firstTokenMs = nowMs
    this.#calls.sequences.heard[slot] = 1
    this.#prefillTokensPending -= belief.uncachedPromptTokens
    this.#awaitingFirstToken--
    this.#countedMs = Number.NaN
  }

  /** Takes an ended call out. Throws when it is not in. */
  release(slot: number): void {
    const at = this.#slots.indexOf(slot)
    if (at < 0 || at >= this.#inFlight) throw new Error(`slot ${slot} is not in this ledger`)
    this.#slots.copyWithin(at, at + 1, this.#inFlight--)
    const { belief } = this.#calls.of(slot)
    this.#promptTokens -= belief.promptTokens
    if (Number.isNaN(belief.firstTokenMs)) {
      this.#prefillTokensPending -= belief.uncachedPromptTokens
      this.#awaitingFirstToken--
    }
    this.#countedMs = Number.NaN
  }

  #count(): void {
    const { nowMs } = this.#time
    if (nowMs === this.#countedMs) return
    this.#countedMs = nowMs
    const { emittedLag, state, heard, predicted, askedAgain } = this.#calls.sequences
    const slots = this.#slots
    const steps = this.#core.decodeStepsBy(nowMs)
    let done = 0
    let left = 0
    for (let i = 0; i < this.#inFlight; i++) {
      const slot = slots[i] as number
      const output = heard[slot] === 0 ? 0 : (emittedLag[slot] as number) + (state[slot] === DECODING ? steps : 0)
      done += output
      if (output >= (askedAgain[slot] as number)) this.#askAgain(slot, output)
      const rest = (predicted[slot] as number) - output
      // False for NaN too: nobody predicted.
      if (rest > 0) left += rest
    }
    this.#outputTokensDone = done
    this.#outputTokensLeft = left
  }

  #askAgain(slot: number, output: number): void {
    const { sequences } = this.#calls
    const { belief, predicted } = this.#calls.of(slot)
    sequences.askedAgain[slot] = nextAskedTokens(output)
    if (predicted.outlook) belief.predictedOutputTokens = expectedTokens(predicted.outlook, output) ?? belief.predictedOutputTokens
    sequences.predicted[slot] = belief.predictedOutputTokens
  }

  #outputOf(slot: number, steps: number): number {
    const { emittedLag, state, heard } = this.#calls.sequences
    return heard[slot] === 0 ? 0 : (emittedLag[slot] as number) + (state[slot] === DECODING ? steps : 0)
  }
}
