import { createMeter, type MeterEnd, type MeterParts, type ResponseHead, type StreamMeter, type Verdict } from '../../outcome/meter.ts'
import type { Outcome, OutcomeKind } from '../../outcome/outcome.ts'

/** How an attempt ended, in the words of `Outcome`. */
export interface Ending {
  readonly kind: Exclude<OutcomeKind, 'completed'>
  readonly error: string
}

export interface MeteringParts extends MeterParts {
  readonly count: (what: string) => void
  /** Makes the meter; another one in tests of what happens when it breaks. */
  readonly createMeter?: (parts: MeterParts) => StreamMeter
}

const NOTHING = Buffer.alloc(0)

/**
 * The meter behind a guard: one that throws is counted and left out, and the answer goes on untouched, from the first byte that it had
 * not given out. Then nothing is known of the call but its times.
 */
export class Metering {
  readonly #parts: MeteringParts
  #meter: StreamMeter | undefined
  #status: number | undefined
  /** Given to the meter and not yet got back, oldest first. Kept only where it gives back what it gets: without `stripUsage`. */
  #inside: Buffer[] = []
  #insideBytes = 0

  constructor(parts: MeteringParts) {
    this.#parts = parts
    this.#meter = this.#guard(() => (parts.createMeter ?? createMeter)(parts))
  }

  get verdict(): Verdict {
    return this.#meter?.verdict ?? 'good'
  }
  get failure(): string | undefined {
    return this.#meter?.failure
  }
  get firstTokenMs(): number | undefined {
    return this.#meter?.firstTokenMs
  }
  get outputTokens(): number {
    return this.#meter?.outputTokens ?? 0
  }

  head(head: ResponseHead): void {
    this.#status = head.status
    this.#guard(() => this.#meter?.head(head))
  }

  /** Takes the next chunk; gives what goes to the caller now. */
  take(chunk: Buffer, nowMs: number): Buffer {
    const meter = this.#meter
    if (!meter) return chunk
    this.#inside.push(chunk)
    this.#insideBytes += chunk.length
    try {
      const out = meter.chunk(chunk, nowMs)
      this.#forgetGiven(out)
      return out
    } catch (error) {
      return this.#giveUp(error)
    }
  }

  /** Gives what was kept back for the verdict; from here on bytes flow. */
  release(): Buffer {
    try {
      const out = this.#meter?.release() ?? NOTHING
      this.#forgetGiven(out)
      return out
    } catch (error) {
      return this.#giveUp(error)
    }
  }

  /** The answer ended by itself: what is left of it, and the outcome. */
  end(nowMs: number): MeterEnd {
    try {
      const end = this.#meter?.end(nowMs)
      return end ?? { bytes: NOTHING, outcome: this.#unmetered('completed', nowMs) }
    } catch (error) {
      return { bytes: this.#giveUp(error), outcome: this.#unmetered('completed', nowMs) }
    }
  }

  /** The answer was cut: the outcome. */
  failed(ending: Ending, nowMs: number): Outcome {
    return this.#guard(() => this.#meter?.failed(ending, nowMs)) ?? this.#unmetered(ending.kind, nowMs, ending.error)
  }

  #forgetGiven(out: Buffer): void {
    const { stripUsage } = this.#parts
    this.#insideBytes -= out.length
    if (this.#insideBytes === 0 || (stripUsage && out.length > 0)) {
      this.#inside.length = 0
      this.#insideBytes = 0
      return
    }
    let whole = this.#inside.reduce((sum, one) => sum + one.length, 0)
    while (whole - (this.#inside[0]?.length ?? 0) >= this.#insideBytes && this.#inside.length > 1)
      whole -= this.#inside.shift()?.length ?? 0
  }

  #giveUp(error: unknown): Buffer {
    this.#broke(error)
    const all = Buffer.concat(this.#inside)
    this.#inside = []
    return all.subarray(Math.max(0, all.length - this.#insideBytes))
  }

  #guard<T>(act: () => T): T | undefined {
    try {
      return act()
    } catch (error) {
      this.#broke(error)
      return undefined
    }
  }

  #broke(error: unknown): void {
    this.#meter = undefined
    this.#parts.count(`meter failed: ${error instanceof Error ? error.name : 'unknown'}`)
  }

  #unmetered(kind: OutcomeKind, nowMs: number, error?: string): Outcome {
    return {
      kind,
      ...(this.#status === undefined ? {} : { status: this.#status }),
      ...(error === undefined ? {} : { error }),
      e2eMs: nowMs - this.#parts.arrivedMs,
      censored: true,
    }
  }
}
