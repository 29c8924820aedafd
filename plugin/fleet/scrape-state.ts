import { RatioAverage } from './average.ts'
import type { LedgerView, ScrapeView } from './instance.ts'
import type { EngineMetrics } from './metrics-text.ts'

/** Own counts at the moment a scrape is asked for: what its answer is corrected by. */
export interface ScrapeMark {
  readonly takenMs: number
  readonly placed: number
  readonly inFlight: number
  /** KV tokens that all our calls in flight account for, and those of them that have been prefilled. */
  readonly kvTokens: number
  readonly kvTokensPrefilled: number
}

/** Scrapes over which the prefix hit ratio is averaged: about 15 s at the default interval. Chosen: a cache warms in minutes. */
const PREFIX_SCRAPES = 60
const NO_ADAPTERS: ReadonlySet<string> = new Set()
const UNKNOWN: EngineMetrics = {
  waiting: Number.NaN,
  running: Number.NaN,
  kvUsageRatio: Number.NaN,
  kvBlocks: Number.NaN,
  kvBlockTokens: Number.NaN,
  prefixHits: Number.NaN,
  prefixQueries: Number.NaN,
  prefixHitRatio: Number.NaN,
  preemptions: Number.NaN,
  steps: Number.NaN,
  ends: Number.NaN,
  adapters: undefined,
}

/**
 * The last scrape of one instance, read through its ledger: the ledger beats the scrape. What a scrape shows beyond our own calls is
 * foreign load and is taken to stay; our own part of it is replaced by what the ledger says now. So
 *   waiting + running = ledger.inFlight + foreignInFlight
 * holds at every moment, not only at the scrape. A queue seen at the scrape means full seats: the running ones stay, all change is
 * in the queue; no queue means free seats: all change is in the running ones.
 */
export class ScrapeState implements ScrapeView {
  readonly #ledger: LedgerView
  readonly #prefix = new RatioAverage(PREFIX_SCRAPES)
  #metrics = UNKNOWN
  #counters = UNKNOWN
  #takenMs = Number.NEGATIVE_INFINITY
  #endedAtScrape = 0
  #placedAtScrape = 0
  #foreign = Number.NaN
  #kvTokensUnseen = Number.NaN
  #movedMs = Number.NEGATIVE_INFINITY

  constructor(ledger: LedgerView) {
    this.#ledger = ledger
  }

  ageMs(nowMs: number): number {
    return nowMs - this.#takenMs
  }
  get waiting(): number {
    const { waiting, running } = this.#metrics
    if (!(waiting > 0)) return waiting
    return Math.max(0, Number.isNaN(running) ? waiting + this.#change() : this.#total() - running)
  }
  get running(): number {
    const { waiting, running } = this.#metrics
    if (Number.isNaN(waiting)) return Math.max(0, running + this.#change())
    return waiting > 0 ? Math.min(running, this.#total()) : this.#total()
  }
  get kvUsageRatio(): number {
    return this.#metrics.kvUsageRatio
  }
  get kvBlocks(): number {
    return this.#metrics.kvBlocks
  }
  get kvBlockTokens(): number {
    return this.#metrics.kvBlockTokens
  }
  get prefixHitRatio(): number {
    return this.#metrics === UNKNOWN ? Number.NaN : this.#prefix.value
  }
  get foreignInFlight(): number {
    return this.#foreign
  }
  get waitingMost(): number {
    return this.#metrics.waiting + this.#ledger.placed - this.#placedAtScrape
  }
  get kvTokensUnseen(): number {
    return this.#kvTokensUnseen
  }
  get adapters(): ReadonlySet<string> {
    return this.#metrics.adapters ?? NO_ADAPTERS
  }
  /** Preemptions since the engine started; NaN unknown. */
  get preemptions(): number {
    return this.#metrics.preemptions
  }
  /** When the engine's counters were last seen to move; −Infinity before that. */
  get movedMs(): number {
    return this.#movedMs
  }
  /** The engine has a counter that moves with every step, and the scrape is fresh: standing still means something. */
  get tellsSteps(): boolean {
    return !Number.isNaN(this.#metrics.steps)
  }

  /** To be called right before the request for the scrape is sent. */
  mark(nowMs: number): ScrapeMark {
    const { placed, inFlight, promptTokens, outputTokensDone, prefillTokensPending } = this.#ledger
    const kvTokens = promptTokens + outputTokensDone
    return { takenMs: nowMs, placed, inFlight, kvTokens, kvTokensPrefilled: kvTokens - prefillTokensPending }
  }

  /** Takes an answer in; false where an answer asked for later was taken already. */
  apply(mark: ScrapeMark, metrics: EngineMetrics): boolean {
    if (mark.takenMs < this.#takenMs) return false
    this.#countOn(metrics, mark.takenMs)
    this.#metrics = metrics
    this.#takenMs = mark.takenMs
    this.#placedAtScrape = mark.placed
    this.#endedAtScrape = mark.placed - mark.inFlight
    // The engine counted some moment between request and answer: of our two counts the larger one, so that a call that came in
    // between is not taken for a stranger's.
    const own = Math.max(mark.inFlight, this.#ledger.inFlight)
    this.#foreign = Math.max(0, metrics.waiting + metrics.running - own)
    const usedTokens = metrics.kvUsageRatio * metrics.kvBlocks * metrics.kvBlockTokens
    this.#kvTokensUnseen = Math.max(0, usedTokens - mark.kvTokens) + Math.min(0, usedTokens - mark.kvTokensPrefilled)
    return true
  }

  /** Older than allowed: unknown again. Counters are kept, to see whether they moved in the meantime. */
  expire(): void {
    this.#metrics = UNKNOWN
    this.#foreign = Number.NaN
    this.#kvTokensUnseen = Number.NaN
  }

  get known(): boolean {
    return this.#metrics !== UNKNOWN
  }

  #total(): number {
    return this.#ledger.inFlight + this.#foreign
  }

  #change(): number {
    const ended = this.#ledger.placed - this.#ledger.inFlight
    return this.#ledger.placed - this.#placedAtScrape - (ended - this.#endedAtScrape)
  }

  #countOn(next: EngineMetrics, takenMs: number): void {
    const last = this.#counters
    if (differs(next.steps, last.steps) || differs(next.ends, last.ends)) this.#movedMs = takenMs
    // Before the first scrape and after a restart the totals are all there is.
    const restarted = !(next.prefixQueries >= last.prefixQueries)
    if (restarted) this.#prefix.reset()
    const hits = next.prefixHits - (restarted ? 0 : last.prefixHits)
    const queries = next.prefixQueries - (restarted ? 0 : last.prefixQueries)
    if (!Number.isNaN(next.prefixHitRatio)) this.#prefix.add({ above: next.prefixHitRatio, below: 1 })
    else this.#prefix.add({ above: hits, below: queries })
    this.#counters = next
  }
}

function differs(next: number, last: number): boolean {
  return next !== last && !Number.isNaN(next)
}
