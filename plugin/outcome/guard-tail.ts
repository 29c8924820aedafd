import { Reference } from './guard-reference.ts'

/** By how much a first token came later than control and the load lead one to expect, ln; calls stand in the order in which they were placed. */
export interface Lateness {
  readonly instance: string
  readonly over: number
}

/** What one of a hundred control calls exceeds is followed, in steps of this, ln. */
const TAIL_STEP = 0.02
const TAIL_RATIO = 0.01
/** Beyond control's 99th percentile by this, ln: the percentile itself wanders with the queues. */
const FAR_LATE = Math.log(2)
/** On top of control's worst stretch: one queue among fifty calls is no tail, nor are two. Chosen by A/A runs of the twin. */
const SPARE = 0.05
const ONE = Float64Array.of(1)

/**
 * How often calls are far late. Where memory is full a queue makes dozens of neighbours late together, and control has such a queue once in ten minutes: by calls, one accident
 * looks like a tail. Hence what is counted is accidents: an instance's far-late calls are one until a call there is as soon as expected. How long queues are is for the means to judge.
 */
export class LateTail {
  readonly #reference = new Reference({ width: 1, spare: SPARE })
  #lateAbove = 1
  /** As of the beginning of the block, for both arms: a threshold that moves along with control's own queue would find none there. */
  #blockAbove = 1
  readonly #control = new Accidents()

  get isReady(): boolean {
    return this.#reference.isReady
  }

  freeze(): void {
    this.#blockAbove = this.#lateAbove
    this.#control.clear()
    this.#reference.freeze()
  }

  /** A control call's first token has come. */
  learn(call: Lateness, nowMs: number): void {
    this.#reference.learn(ONE, this.#control.begins(call, this.#farAbove) ? 1 : 0, nowMs)
    // Stochastic quantile (Robbins and Monro, 1951): up when exceeded, down a hundredth as much when not.
    this.#lateAbove += TAIL_STEP * ((call.over > this.#lateAbove ? 1 : 0) - TAIL_RATIO)
  }

  /** Accidents among calls. */
  count(calls: readonly Lateness[]): number {
    const accidents = new Accidents()
    return calls.filter((call) => accidents.begins(call, this.#farAbove)).length
  }

  /** What accidents per call have to exceed over stretch `index` to be more than a stray of control's. */
  bound(index: number, deviations: number): number {
    return this.#reference.expect(ONE) + this.#reference.bound(index, deviations)
  }

  strayOf(index: number): number {
    return this.#reference.strayOf(index)
  }

  get #farAbove(): number {
    return this.#blockAbove + FAR_LATE
  }
}

/** Which instances are late now. */
class Accidents {
  readonly #late = new Set<string>()

  clear(): void {
    this.#late.clear()
  }

  /** This call is far late and the first of its instance's queue. */
  begins({ instance, over }: Lateness, farAbove: number): boolean {
    const wasLate = this.#late.has(instance)
    if (over > farAbove) this.#late.add(instance)
    else if (over <= 0) this.#late.delete(instance)
    return over > farAbove && !wasLate
  }
}
