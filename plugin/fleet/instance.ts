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
  /** Time per output token of recent answers whose tokens were not seen coming, from dispatch to end, ms; NaN unknown. */
  readonly wholePaceMs: number
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
  /** Calls whose first token has not come: they wait in the instance or are being prefilled, or their answer comes whole. */
  readonly awaitingFirstToken: number
  /** Those of them whose answer comes whole: they show no first token before their end, whether they wait or run. */
  readonly awaitingWhole: number
  /** The calls in flight, oldest dispatch first. */
  open(): Iterable<DispatchView>
}

/** One call in flight, as far as placement may know it. Tokens; NaN is unknown. */
export interface DispatchView {
  /** Its tokens are seen as they come; of others only the end is, and perhaps the first token. */
  readonly stream: boolean
  readonly promptTokens: number
  readonly uncachedPromptTokens: number
  readonly predictedOutputTokens: number
  readonly dispatchedMs: number
  /** NaN until the first token came. */
  readonly firstTokenMs: number
  /** Produced so far. */
  readonly outputTokens: number
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
  /** Most calls that can wait in the instance now: those that waited at the scrape and all dispatched since. */
  readonly waitingMost: number
  /**
   * KV tokens in use at the scrape that the ledger cannot explain: foreign load above 0, shared prefixes below. 0 where the use lay
   * between what our running calls and all our calls in flight account for.
   */
  readonly kvTokensUnseen: number
  /** LoRA adapters loaded now. */
  readonly adapters: ReadonlySet<string>
}
