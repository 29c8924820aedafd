/** What placement may know of one instance. The live object behind it changes between calls; a policy only reads. */

export type InstanceState = 'healthy' | 'degraded' | 'ejected' | 'recovering' | 'draining' | 'removed'

export interface InstanceView {
  /** Position in its pool's list, stable while the instance lives. */
  readonly slot: number
  readonly name: string
  readonly pool: string
  readonly url: string
  readonly state: InstanceState
  /** Relative speed, 1 = reference: decode steps per second against the pool's configured reference. */
  readonly speed: number
  /** Operator's weight, 1 by default. */
  readonly weight: number
  /** 0..1: below 1 while the instance comes back from ejection (slow start). */
  readonly slowStartRatio: number
  readonly ledger: LedgerView
  readonly scrape: ScrapeView
}

/** Exact and immediate: what this router dispatched to the instance and has not seen end. */
export interface LedgerView {
  readonly inFlight: number
  /** Prompt tokens of calls whose first token has not come. */
  readonly prefillTokensPending: number
  /** Prompt tokens of all calls in flight. */
  readonly promptTokens: number
  /** Sum over calls in flight of max(0, predicted − produced) output tokens. */
  readonly outputTokensLeft: number
  /** Tokens produced so far by calls in flight, as metered. */
  readonly outputTokensDone: number
  /** Dispatches since process start. */
  readonly placed: number
}

/** What the instance's /metrics said, corrected by what was dispatched and ended since. NaN is unknown, never 0. */
export interface ScrapeView {
  /** Age of the values in ms at `nowMs`; Infinity when never scraped. */
  ageMs(nowMs: number): number
  readonly waiting: number
  readonly running: number
  readonly kvUsageRatio: number
  readonly kvBlocks: number
  readonly kvBlockTokens: number
  readonly prefixHitRatio: number
  /** Calls in the instance beyond our own at the time of the scrape: other routers, direct callers. NaN unknown. */
  readonly foreignInFlight: number
  /** LoRA adapters loaded now. */
  readonly adapters: ReadonlySet<string>
}
