/**
 * Exponentially weighted moving average over events, NaN until the first. The first event is taken whole; an event `calls` later
 * still counts 1/e of a new one.
 */
export class MovingAverage {
  readonly #gain: number
  #value = Number.NaN

  constructor(calls: number) {
    this.#gain = 1 - Math.exp(-1 / calls)
  }

  get value(): number {
    return this.#value
  }

  /** Takes one event in. Values that are no finite number are unknown and change nothing. */
  add(value: number): void {
    if (!Number.isFinite(value)) return
    this.#value = Number.isNaN(this.#value) ? value : this.#value + this.#gain * (value - this.#value)
  }
}

/** Ratio of two decaying sums: a mean weighted by the size of each event, so that large events decide. NaN until the first. */
export class RatioAverage {
  readonly #keep: number
  #above = 0
  #below = 0

  constructor(events: number) {
    this.#keep = Math.exp(-1 / events)
  }

  get value(): number {
    return this.#below > 0 ? this.#above / this.#below : Number.NaN
  }

  /** Takes one event in; changes nothing unless `below` is > 0 and `above` is a number. */
  add(event: { readonly above: number; readonly below: number }): void {
    if (!(event.below > 0) || !Number.isFinite(event.above)) return
    this.#above = this.#above * this.#keep + event.above
    this.#below = this.#below * this.#keep + event.below
  }

  reset(): void {
    this.#above = 0
    this.#below = 0
  }
}
