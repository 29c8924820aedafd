import type { Released } from './hold-queue.ts'
import type { Holding } from './holding.ts'
import type { HeldCall, HoldInstance } from './rule.ts'

/** The answer of an agent that keeps the call waiting until the next tick. */
export const DEFER = -1

/** What decides at a tick: which of the first `count` instances the head call goes to, or `DEFER`. `queued` counts the head too. */
export interface TickAgent<T extends HeldCall, I extends HoldInstance = HoldInstance> {
  decide(asked: {
    readonly head: T
    readonly queued: number
    readonly instances: readonly I[]
    readonly count: number
    readonly nowMs: number
  }): number
}

/**
 * First come, first served, decided in ticks: every `tickMs` an agent places the head call, then the next, until nobody waits or it defers (Jain et al., "Intelligent
 * Router for LLM Workloads", arXiv 2408.13510). No deadline and no limit of seats: it runs in the twin, where every call is wanted back.
 */
export class TickQueue<T extends HeldCall, I extends HoldInstance = HoldInstance> implements Holding<T, I> {
  readonly #agent: TickAgent<T, I>
  readonly #tickMs: number
  readonly #waiting: T[] = []
  /** Ordinal of the last tick that is over, and of the next at which somebody waits. */
  #over = -1
  #next = Number.POSITIVE_INFINITY

  constructor(parts: { readonly agent: TickAgent<T, I>; readonly tickMs: number }) {
    this.#agent = parts.agent
    this.#tickMs = parts.tickMs
  }

  get length(): number {
    return this.#waiting.length
  }

  /** Next tick at which somebody waits, monotonic ms. */
  get wakeAtMs(): number {
    return this.#next * this.#tickMs
  }

  join(held: T, nowMs: number): boolean {
    if (this.#waiting.length === 0) this.#next = Math.max(Math.ceil(nowMs / this.#tickMs), this.#over + 1)
    this.#waiting.push(held)
    return true
  }

  release(instances: readonly I[], count: number, nowMs: number): Released<T, I> | undefined {
    const head = this.#waiting[0]
    if (!head || nowMs < this.wakeAtMs || count === 0) return undefined
    const chosen = this.#agent.decide({ head, queued: this.#waiting.length, instances, count, nowMs })
    const instance = instances[chosen]
    if (!instance) {
      this.#endTick(nowMs)
      return undefined
    }
    this.#waiting.shift()
    if (this.#waiting.length === 0) this.#endTick(nowMs)
    return { held: head, instances: [instance], count: 1, why: 'room' }
  }

  leave(held: T, nowMs: number): boolean {
    const at = this.#waiting.indexOf(held)
    if (at < 0) return false
    this.#waiting.splice(at, 1)
    if (this.#waiting.length === 0) this.#endTick(nowMs)
    return true
  }

  /** The tick of `nowMs` is decided; the next one comes only for somebody who waits. */
  #endTick(nowMs: number): void {
    this.#over = Math.floor(nowMs / this.#tickMs + TICK_ROUNDING)
    this.#next = this.#waiting.length === 0 ? Number.POSITIVE_INFINITY : this.#over + 1
  }
}

/** A tick's time is a product, so that its quotient may fall just short of the ordinal. */
const TICK_ROUNDING = 1e-6
