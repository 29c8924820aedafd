import type { InstanceState } from './instance.ts'
import type { HealthOptions } from './options.ts'

/** How an attempt on one instance failed; the same words as a gateway's `AttemptFailure.kind`. */
export type FailureKind = 'connect' | 'reset' | 'full' | 'status' | 'aborted' | 'engine' | 'stalled' | 'timed out'

/**
 * How heavily each failure weighs against `ejectAtPoints` (6 by default). Nobody listening, and a hang proven by counters that
 * stand still, eject at once, whatever that limit is. A broken connection or an aborted answer may be the call's own doing: two
 * in a row. An error status: three. A timeout is mostly a long queue, and an instance less makes all queues longer: six. Full is not broken.
 */
export const FAILURE_POINTS: Readonly<Record<FailureKind, number>> = {
  connect: Number.POSITIVE_INFINITY,
  stalled: Number.POSITIVE_INFINITY,
  // An error event under status 200: vLLM sends it when its engine process died; the port closes a second later.
  engine: Number.POSITIVE_INFINITY,
  reset: 3,
  aborted: 3,
  status: 2,
  'timed out': 1,
  full: 0,
}

/** Calls over which the error ratio is averaged. Chosen: reacts within ten calls, forgets a single error within thirty. */
export const ERROR_AVERAGE_CALLS = 10
const GAIN = 1 - Math.exp(-1 / ERROR_AVERAGE_CALLS)

/** What one failure did to an instance, so that it can be taken back exactly. */
export interface FailureReceipt {
  readonly kind: FailureKind
  readonly points: number
  /** Answers and ejections so far, and calls ended so far: tell what is still there to take back. */
  readonly streak: number
  readonly ended: number
  /** The ejection that this failure caused, 0 for none. */
  ejection: number
}

type Phase = 'serving' | 'ejected' | 'trial' | 'slow start'

/**
 * One instance's health. serving → ejected (out for a while, doubling) → trial (one call at a time) → slow start → serving.
 * Calls dispatched before the last ejection say nothing any more: what they tell was judged.
 */
export class Health {
  readonly #options: HealthOptions
  /** Asks the pool: one more out would still leave enough in. */
  readonly #mayEject: () => boolean
  #phase: Phase = 'serving'
  #reason: string | undefined
  #points = 0
  #streak = 0
  #errorRatio = 0
  #ended = 0
  #endedSinceReset = 0
  #refusedScrapes = 0
  #ejections = 0
  #ejectionCount = 0
  #ejectedMs = Number.NEGATIVE_INFINITY
  #untilMs = 0
  #sinceMs = 0
  #slowStartRatio = 1

  constructor(parts: { readonly options: HealthOptions; readonly mayEject: () => boolean }) {
    this.#options = parts.options
    this.#mayEject = parts.mayEject
  }

  get state(): InstanceState {
    if (this.#phase === 'ejected') return 'ejected'
    if (this.#phase !== 'serving') return 'recovering'
    return this.#reason === undefined ? 'healthy' : 'degraded'
  }
  /** Why it is in its state; undefined while healthy. */
  get reason(): string | undefined {
    return this.#phase === 'slow start' ? 'slow start' : this.#reason
  }
  /** 1 while serving, and in a trial, which its one seat bounds; the floor while out; grows from the floor in slow start. */
  get slowStartRatio(): number {
    return this.#slowStartRatio
  }
  /** Share of failed calls, moving average; NaN until one ended. */
  get errorRatio(): number {
    return this.#ended === 0 ? Number.NaN : this.#errorRatio
  }
  /** Out of the pool, or let in for one call at a time. */
  get isOut(): boolean {
    return this.#phase === 'ejected' || this.#phase === 'trial'
  }
  get isOnTrial(): boolean {
    return this.#phase === 'trial'
  }
  /** Calls dispatched until then say nothing any more. */
  get ejectedMs(): number {
    return this.#ejectedMs
  }

  /** The first token of a call dispatched since the ejection: the engine computes again. */
  firstToken(dispatchedMs: number, nowMs: number): void {
    if (this.isOut && dispatchedMs > this.#ejectedMs) this.#return(nowMs)
  }

  /** A call was answered, be it with an error of its own making. */
  answered(dispatchedMs: number, nowMs: number): void {
    if (dispatchedMs <= this.#ejectedMs) return
    if (this.isOut) this.#return(nowMs)
    // Somebody listens, whatever the scrapes say.
    this.#refusedScrapes = 0
    this.#count(0)
    if (this.#points > 0) this.#streak++
    this.#points = 0
    this.#judge(nowMs)
  }

  /** A call failed. The receipt serves `retract`; undefined where the failure weighs nothing. */
  failed(kind: FailureKind, dispatchedMs: number, nowMs: number): FailureReceipt | undefined {
    if (FAILURE_POINTS[kind] === 0 || dispatchedMs <= this.#ejectedMs || this.#phase === 'ejected') return undefined
    this.#count(1)
    const before = this.#ejectionCount
    const points = Math.min(FAILURE_POINTS[kind], this.#options.ejectAtPoints)
    this.#points += points
    const receipt = { kind, points, streak: this.#streak, ended: this.#ended, ejection: 0 }
    if (this.#phase === 'trial') this.#eject(`the trial call failed: ${kind}`, nowMs)
    else this.#judge(nowMs, kind)
    if (this.#ejectionCount > before) receipt.ejection = this.#ejectionCount
    return receipt
  }

  /** The failure followed its call to another instance: it was the call's. Undone, with the ejection it caused. */
  retract(receipt: FailureReceipt, nowMs: number): void {
    // The weight of one call in the average after the calls since.
    this.#errorRatio -= GAIN * (1 - GAIN) ** (this.#ended - receipt.ended)
    if (this.#streak === receipt.streak) this.#points = Math.max(0, this.#points - receipt.points)
    if (receipt.ejection > 0 && receipt.ejection === this.#ejectionCount && this.isOut) {
      this.#ejections = Math.max(0, this.#ejections - 1)
      this.#ejectedMs = Number.NEGATIVE_INFINITY
      this.#serve(nowMs)
    }
    this.#judge(nowMs)
  }

  scrapeAnswered(nowMs: number): void {
    if (this.#refusedScrapes === 0) return
    this.#refusedScrapes = 0
    // A listener is back: no need to sit out the rest.
    if (this.#phase === 'ejected') this.#untilMs = Math.min(this.#untilMs, nowMs)
    this.#judge(nowMs)
  }

  /** A scrape could not connect. With a failed call it is the second witness. */
  scrapeRefused(nowMs: number): void {
    this.#refusedScrapes++
    this.#judge(nowMs)
  }

  /** Moves what depends on time alone. */
  tick(nowMs: number): void {
    const { slowStartMs, slowStartFloorRatio, forgiveAfterMs, degradeAfterScrapes } = this.#options
    if (this.#phase === 'ejected' && nowMs >= this.#untilMs && this.#refusedScrapes < degradeAfterScrapes) {
      this.#phase = 'trial'
      this.#slowStartRatio = 1
      this.#reason = `on trial after: ${this.#reason ?? ''}`
    }
    if (this.#phase === 'slow start') {
      const grown = (nowMs - this.#sinceMs) / slowStartMs
      if (grown >= 1) this.#serve(nowMs)
      else this.#slowStartRatio = Math.max(slowStartFloorRatio, grown)
    }
    this.#judge(nowMs)
    if (this.state === 'healthy' && nowMs - this.#sinceMs >= forgiveAfterMs) this.#ejections = 0
  }

  #count(error: 0 | 1): void {
    this.#ended++
    this.#endedSinceReset++
    this.#errorRatio += GAIN * (error - this.#errorRatio)
  }

  #judge(nowMs: number, kind?: FailureKind): void {
    if (this.isOut) return
    const cause = this.#causeToEject(kind)
    if (cause !== undefined && this.#mayEject()) {
      this.#eject(cause, nowMs)
      return
    }
    const doubt = cause ?? this.#causeToDoubt()
    if (this.#phase !== 'serving') return
    if (this.#reason !== undefined && doubt === undefined) this.#sinceMs = nowMs
    this.#reason = doubt
  }

  #causeToEject(kind: FailureKind | undefined): string | undefined {
    const { ejectAtPoints, ejectAfterScrapes, ratioCallsMin, ejectErrorRatio } = this.#options
    if (this.#points >= ejectAtPoints) return `calls failed in a row${kind === undefined ? '' : `, the last one: ${kind}`}`
    if (this.#refusedScrapes >= ejectAfterScrapes) return `nobody listened at ${this.#refusedScrapes} scrapes in a row`
    if (this.#refusedScrapes > 0 && this.#points > 0) return 'a call failed, and nobody listens any more'
    if (this.#endedSinceReset >= ratioCallsMin && this.#errorRatio >= ejectErrorRatio)
      return `${Math.round(100 * this.#errorRatio)} % of calls failed`
    return undefined
  }

  #causeToDoubt(): string | undefined {
    const { ejectAtPoints, degradeAfterScrapes, ratioCallsMin, degradeErrorRatio } = this.#options
    if (2 * this.#points >= ejectAtPoints) return 'a call failed'
    if (this.#refusedScrapes >= degradeAfterScrapes) return `nobody listened at ${this.#refusedScrapes} scrapes in a row`
    if (this.#endedSinceReset >= ratioCallsMin && this.#errorRatio >= degradeErrorRatio)
      return `${Math.round(100 * this.#errorRatio)} % of calls failed`
    return undefined
  }

  #eject(cause: string, nowMs: number): void {
    const { ejectionMs, ejectionMsMax, slowStartFloorRatio } = this.#options
    this.#untilMs = nowMs + Math.min(ejectionMsMax, ejectionMs * 2 ** this.#ejections)
    this.#ejections++
    this.#ejectionCount++
    this.#phase = 'ejected'
    this.#reason = cause
    this.#ejectedMs = nowMs
    this.#slowStartRatio = slowStartFloorRatio
  }

  #return(nowMs: number): void {
    this.#forget()
    this.#sinceMs = nowMs
    this.#phase = 'slow start'
    this.#slowStartRatio = this.#options.slowStartFloorRatio
    if (this.#options.slowStartMs <= 0) this.#serve(nowMs)
  }

  #serve(nowMs: number): void {
    this.#phase = 'serving'
    this.#reason = undefined
    this.#sinceMs = nowMs
    this.#slowStartRatio = 1
  }

  #forget(): void {
    this.#points = 0
    this.#streak++
    this.#endedSinceReset = 0
    this.#errorRatio = 0
    this.#refusedScrapes = 0
  }
}
