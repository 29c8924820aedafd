import type { Clock } from '../../clock.ts'
import type { Emission, Engine, EngineCall, StepResult, Submitted } from '../engine.ts'

/** Who gets a call's tokens. Called at the real time at which the engine step that made them ends. */
export type TokenSink = (emission: Emission) => void

/** Timers fire up to a millisecond late; a step that is due within this much is delivered now, so that no timer is spent on the rest. */
const EARLY_MS = 0.5

/** Steps delivered in one go before the event loop gets its turn, when the process has fallen behind. */
const CATCH_UP_STEPS = 64

/** Further behind than this (a suspended laptop, a starved process) time is given up and counted, instead of a storm of late tokens. */
const LAG_LIMIT_MS = 2000

/**
 * An engine in real time. Each step is due at the ideal end of the one before plus its own duration, not at "now plus duration",
 * so lateness of timers never adds up.
 */
export class EngineLoop {
  readonly #engine: Engine
  readonly #clock: Clock
  readonly #timeFactor: number
  readonly #sinks = new Map<number, TokenSink>()
  #slowdown = 1
  #paused = false
  #stepUnderWay: StepResult | undefined
  #dueMs = 0
  #timer: NodeJS.Timeout | undefined
  #starting: NodeJS.Immediate | undefined
  #lostMs = 0

  constructor(parts: { readonly engine: Engine; readonly clock: Clock; readonly timeFactor: number }) {
    if (!(parts.timeFactor > 0)) throw new Error(`the time factor must be above 0, got ${parts.timeFactor}`)
    this.#engine = parts.engine
    this.#clock = parts.clock
    this.#timeFactor = parts.timeFactor
  }

  /** Real ms that were given up because the process could not keep pace. */
  get lostMs(): number {
    return this.#lostMs
  }

  submit(call: EngineCall, sink: TokenSink): Submitted {
    const submitted = this.#engine.submit(call)
    if (submitted !== 'queued') return submitted
    this.#sinks.set(call.id, sink)
    this.#wake()
    return submitted
  }

  abort(id: number): void {
    this.#sinks.delete(id)
    this.#engine.abort(id)
  }

  /** Steps take `factor` times as long from the next one on. */
  slowDown(factor: number): void {
    this.#slowdown = factor
  }

  /** The engine stands still: no step ends, no counter moves. */
  pause(): void {
    this.#paused = true
    this.#disarm()
  }

  /** Goes on where it stood. */
  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#dueMs = this.#clock.nowMs()
    if (this.#stepUnderWay) this.#arm()
    else this.#wake()
  }

  stop(): void {
    this.pause()
    this.#sinks.clear()
  }

  #wake(): void {
    if (this.#paused || this.#stepUnderWay || this.#starting) return
    // One turn of the event loop later, so that calls that arrive together start together.
    this.#starting = setImmediate(() => {
      this.#starting = undefined
      if (this.#paused || this.#stepUnderWay) return
      this.#dueMs = this.#clock.nowMs()
      this.#begin()
      if (this.#stepUnderWay) this.#arm()
    })
  }

  #begin(): void {
    const step = this.#engine.step()
    this.#stepUnderWay = step.durationMs > 0 ? step : undefined
    this.#dueMs += (step.durationMs * this.#slowdown) / this.#timeFactor
  }

  #tick(): void {
    this.#timer = undefined
    const nowMs = this.#clock.nowMs()
    if (nowMs - this.#dueMs > LAG_LIMIT_MS) {
      this.#lostMs += nowMs - this.#dueMs
      this.#dueMs = nowMs
    }
    for (let i = 0; i < CATCH_UP_STEPS && this.#stepUnderWay && this.#dueMs <= nowMs + EARLY_MS; i++) {
      this.#deliver(this.#stepUnderWay)
      this.#begin()
    }
    if (this.#stepUnderWay && !this.#paused) this.#arm()
  }

  #deliver(step: StepResult): void {
    for (const emission of step.emitted) {
      const sink = this.#sinks.get(emission.id)
      if (emission.finished) this.#sinks.delete(emission.id)
      sink?.(emission)
    }
  }

  #arm(): void {
    this.#timer = setTimeout(() => this.#tick(), Math.max(0, Math.round(this.#dueMs - this.#clock.nowMs())))
  }

  #disarm(): void {
    if (this.#timer) clearTimeout(this.#timer)
    if (this.#starting) clearImmediate(this.#starting)
    this.#timer = undefined
    this.#starting = undefined
  }
}
