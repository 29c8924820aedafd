import type { DispatchView } from '../../fleet/instance.ts'
import type { HeldCall } from '../../hold/rule.ts'
import { SequenceTable } from '../engine/sequences.ts'
import type { PredictedLength, TwinCall } from './twin-call.ts'

/** What one router believes of one call in flight; reused from call to call in the same slot. */
export type Belief = { -readonly [K in keyof DispatchView]: DispatchView[K] }

/** A call that waits at its router. */
export interface HeldSlot extends HeldCall {
  readonly slot: number
}

/** A call under way outside the engines: where it is, and what its router knows. */
export interface CallState {
  given: TwinCall
  /** Ordinal of arrival. */
  index: number
  router: number
  /** Instance it was sent to last, and the one that the policy chose; −1 before. */
  instance: number
  chosen: number
  /** What the router takes as its output length. */
  predicted: PredictedLength
  arrivedMs: number
  /** When it came to its router, the last time. */
  enteredMs: number
  /** First decision made; later ones are retries. */
  placedMs: number
  firstTokenMs: number
  /** Attempts on instances, and arrivals at the router by the client's own retries. */
  attempts: number
  returns: number
  /** Instances tried since the client sent it, and those to try next. */
  readonly tried: number[]
  fallbacks: readonly number[]
  held: HeldSlot | undefined
  /** In the ledger of `router` for `instance`. */
  booked: boolean
  /** Submitted to the engine of `instance`, and not out yet. */
  inEngine: boolean
  /** Over for its caller. */
  settled: boolean
  readonly belief: Belief
}

/** Everything under way, by slot; the same slots as in the engines' sequence table. */
export class CallTable {
  readonly sequences = new SequenceTable()
  readonly calls: CallState[] = []
  /** Grows each time a slot is given to another call, so that late events know theirs is over. */
  readonly generation: number[] = []
  #arrivals = 0
  #underWay = 0

  get underWay(): number {
    return this.#underWay
  }

  /** Takes an arrived call in. Gives its slot. */
  admit(given: TwinCall, router: number): number {
    const slot = this.sequences.claim()
    this.#underWay++
    const known = this.calls[slot]
    if (known) {
      renew(known, given, this.#arrivals++, router)
      return slot
    }
    this.calls[slot] = create(given, this.#arrivals++, router)
    this.generation[slot] = 0
    return slot
  }

  /** The call is over for everybody: the slot is free for another. */
  dismiss(slot: number): void {
    this.#underWay--
    this.generation[slot] = (this.generation[slot] as number) + 1
    this.sequences.release(slot)
  }

  of(slot: number): CallState {
    return this.calls[slot] as CallState
  }
}

function create(given: TwinCall, index: number, router: number): CallState {
  return {
    given,
    index,
    router,
    instance: -1,
    chosen: -1,
    predicted: UNPREDICTED,
    arrivedMs: given.atMs,
    enteredMs: given.atMs,
    placedMs: Number.NaN,
    firstTokenMs: Number.NaN,
    attempts: 0,
    returns: 0,
    tried: [],
    fallbacks: [],
    held: undefined,
    booked: false,
    inEngine: false,
    settled: false,
    belief: {
      stream: true,
      promptTokens: 0,
      uncachedPromptTokens: 0,
      predictedOutputTokens: 0,
      dispatchedMs: 0,
      firstTokenMs: Number.NaN,
      outputTokens: 0,
    },
  }
}

function renew(call: CallState, given: TwinCall, index: number, router: number): void {
  call.given = given
  call.index = index
  call.router = router
  call.instance = -1
  call.chosen = -1
  call.arrivedMs = given.atMs
  call.enteredMs = given.atMs
  call.placedMs = Number.NaN
  call.firstTokenMs = Number.NaN
  call.attempts = 0
  call.returns = 0
  call.tried.length = 0
  call.fallbacks = NO_FALLBACKS
  call.held = undefined
  call.booked = false
  call.inEngine = false
  call.settled = false
}

const UNPREDICTED: PredictedLength = { tokens: Number.NaN }
export const NO_FALLBACKS: readonly number[] = []
