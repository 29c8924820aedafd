import { MovingAverage, RatioAverage } from './average.ts'
import type { FailureJournal } from './failure-journal.ts'
import { type FailureKind, Health } from './health.ts'
import type { InstanceState, InstanceView } from './instance.ts'
import { type Dispatch, type DispatchEntry, Ledger } from './ledger.ts'
import { readMetrics } from './metrics-text.ts'
import type { FleetOptions } from './options.ts'
import { type ScrapeMark, ScrapeState } from './scrape-state.ts'
import { findStalled } from './stall.ts'

/** What the configuration or a discovery says of one instance. */
export interface InstanceConfig {
  readonly name: string
  readonly url: string
  /** > 0, 1 by default. */
  readonly weight: number
  /** > 0, 1 = reference. */
  readonly speed: number
}

/** How a dispatch ended, as far as the instance is concerned. */
export type Ending =
  | { readonly kind: 'answered'; readonly ttftMs?: number; readonly tpotMs?: number; readonly outputTokens?: number }
  /** `status` is the HTTP status or the one in an error event; a failure 'status' below 500 is the caller's own and counts as answered. */
  | { readonly kind: 'failed'; readonly failure: FailureKind; readonly status?: number }
  /** Tells nothing of the instance: the client left. */
  | { readonly kind: 'left' }

/** Calls over which the paces are averaged. Chosen: follows a load that changes within minutes, at a few calls per second. */
const PACE_CALLS = 20

/**
 * One instance of one pool, live: ledger, scrape, health and pace under one face. Its `InstanceView` part is what policies read: plain
 * fields, set by `tick` and by what happens. The fleet alone calls the methods that change it.
 */
export class LiveInstance implements InstanceView {
  readonly slot: number
  readonly name: string
  readonly pool: string
  readonly url: string
  /** "host:port" of the url, as gateways name endpoints in a subset. */
  readonly endpoint: string
  readonly ledger = new Ledger()
  readonly scrape = new ScrapeState(this.ledger)
  readonly health: Health
  state: InstanceState = 'healthy'
  speed: number
  weight: number
  slowStartRatio = 1
  /** Takes no new calls until undrained. */
  drained = false
  /** Out of the pool's list: leaves when its calls ended. */
  leaving = false
  readonly #options: FleetOptions
  readonly #ttft = new MovingAverage(PACE_CALLS)
  readonly #tpot = new MovingAverage(PACE_CALLS)
  readonly #prefill = new RatioAverage(PACE_CALLS)
  readonly #wholePace = new RatioAverage(PACE_CALLS)
  readonly #reportedStalled = new WeakSet<Dispatch>()

  constructor(given: {
    readonly slot: number
    readonly pool: string
    readonly config: InstanceConfig
    readonly options: FleetOptions
    readonly mayEject: (instance: LiveInstance) => boolean
  }) {
    this.slot = given.slot
    this.pool = given.pool
    this.name = given.config.name
    this.url = given.config.url
    this.endpoint = endpointOf(given.config.url)
    this.speed = given.config.speed
    this.weight = given.config.weight
    this.#options = given.options
    this.health = new Health({ options: given.options.health, mayEject: () => given.mayEject(this) })
  }

  /** Why it is in its state, in words; undefined while healthy. */
  get stateReason(): string | undefined {
    if (this.leaving) return 'no longer in the configuration'
    return this.drained ? 'drained by an operator' : this.health.reason
  }
  /** Moving averages of recent calls, NaN until one ended. */
  get recentTtftMs(): number {
    return this.#ttft.value
  }
  get recentTpotMs(): number {
    return this.#tpot.value
  }
  get wholePaceMs(): number {
    return this.#wholePace.value
  }
  get errorRatio(): number {
    return this.health.errorRatio
  }
  /** In the pool's list and not drained: counts as present. */
  get isPresent(): boolean {
    return !this.leaving && !this.drained
  }
  /** May take a call now: present, not ejected, and in a trial only where nobody sits on its one seat. */
  get takesCalls(): boolean {
    if (!this.isPresent) return false
    if (!this.health.isOut) return true
    return this.health.isOnTrial && !this.#isTrialSeatTaken()
  }

  dispatch(entry: DispatchEntry, nowMs: number): Dispatch {
    return this.ledger.dispatch(entry, nowMs)
  }

  firstToken(dispatch: Dispatch, nowMs: number): void {
    if (!this.ledger.firstToken(dispatch, nowMs)) return
    if (dispatch.stream) this.#learnPace(dispatch, nowMs - dispatch.dispatchedMs)
    this.health.firstToken(dispatch.dispatchedMs, nowMs)
  }

  /** From streams alone: the first byte of a whole answer is its last token. */
  #learnPace(dispatch: Dispatch, ttftMs: number): void {
    this.#ttft.add(ttftMs)
    // Prefill pace only from calls that found no other prompt before them, else it would measure the queue.
    if (dispatch.prefillTokensAhead === dispatch.uncachedPromptTokens && !(this.scrape.waiting > 0)) {
      this.#prefill.add({ above: ttftMs, below: dispatch.uncachedPromptTokens })
    }
  }

  progress(dispatch: Dispatch, outputTokens: number, nowMs: number): void {
    if (!dispatch.open) return
    if (Number.isNaN(dispatch.firstTokenMs)) this.firstToken(dispatch, nowMs)
    this.ledger.progress(dispatch, outputTokens, nowMs)
  }

  /** Ends a dispatch. Throws the second time (I2). */
  settle(given: { readonly dispatch: Dispatch; readonly ending: Ending; readonly journal: FailureJournal; readonly nowMs: number }): void {
    const { dispatch, ending, nowMs } = given
    this.ledger.release(dispatch)
    if (ending.kind === 'left') return
    if (ending.kind === 'failed' && !isCallersOwn(ending)) {
      const { callId, dispatchedMs } = dispatch
      given.journal.failed({ callId, health: this.health, kind: ending.failure, dispatchedMs, nowMs })
      return
    }
    if (ending.kind === 'answered') {
      if (Number.isNaN(dispatch.firstTokenMs) || !dispatch.stream) this.#ttft.add(ending.ttftMs ?? Number.NaN)
      if (!dispatch.stream) this.#wholePace.add({ above: nowMs - dispatch.dispatchedMs, below: ending.outputTokens ?? 0 })
      this.#tpot.add(ending.tpotMs ?? Number.NaN)
    }
    this.health.answered(dispatch.dispatchedMs, nowMs)
  }

  /** Takes a scrape's answer in; false where it came too late to matter. */
  applyScrape(mark: ScrapeMark, text: string, nowMs: number): boolean {
    this.health.scrapeAnswered(nowMs)
    return this.scrape.apply(mark, readMetrics(text))
  }

  /** Calls that hang, each told once. */
  stalled(nowMs: number): readonly Dispatch[] {
    if (this.ledger.inFlight === 0) return []
    const pace = {
      ledger: this.ledger,
      scrape: this.scrape,
      ttftMs: this.#ttft.value,
      tpotMs: this.#tpot.value,
      prefillMsPerToken: this.#prefill.value,
    }
    const found = findStalled(pace, this.#options.stall, nowMs).filter((dispatch) => !this.#reportedStalled.has(dispatch))
    for (const dispatch of found) this.#reportedStalled.add(dispatch)
    return found
  }

  tick(nowMs: number): void {
    this.health.tick(nowMs)
    if (this.scrape.known && this.scrape.ageMs(nowMs) > this.#options.scrapeStaleMs) this.scrape.expire()
  }

  #isTrialSeatTaken(): boolean {
    for (const dispatch of this.ledger.open()) if (dispatch.dispatchedMs > this.health.ejectedMs) return true
    return false
  }
}

function isCallersOwn(ending: Ending & { kind: 'failed' }): boolean {
  return ending.failure === 'status' && ending.status !== undefined && ending.status < 500
}

function endpointOf(url: string): string {
  const { hostname, port, protocol } = new URL(url)
  return `${hostname}:${port || (protocol === 'https:' ? '443' : '80')}`
}
