/** Every number the fleet's judgement rests on. All have defaults (`FLEET_DEFAULTS`); the configuration may replace each. */
export interface FleetOptions {
  readonly health: HealthOptions
  readonly stall: StallOptions
  readonly retry: RetryOptions
  /** A scrape older than this is unknown, and so are its values (NaN). */
  readonly scrapeStaleMs: number
  /** Prefix blocks remembered per instance where its KV size is unknown. */
  readonly prefixBlocksPerInstance: number
  /** Tokens in one prefix block of 256 bytes, to turn a KV size into a number of blocks. */
  readonly prefixBlockTokens: number
}

export interface HealthOptions {
  /** Failure points (see `FAILURE_POINTS` in health.ts) in a row without an answer between them that eject an instance. */
  readonly ejectAtPoints: number
  /** Share of failed calls (moving average) from which an instance is degraded, and from which it is ejected. */
  readonly degradeErrorRatio: number
  readonly ejectErrorRatio: number
  /** Calls that must have ended since the last ejection before the ratios say anything. */
  readonly ratioCallsMin: number
  /** Scrapes in a row that could not connect, after which an instance is degraded, and ejected. */
  readonly degradeAfterScrapes: number
  readonly ejectAfterScrapes: number
  /** First time out, doubled on each further ejection up to the longest. */
  readonly ejectionMs: number
  readonly ejectionMsMax: number
  /** This long healthy, and earlier ejections are forgiven: the next one starts at the first time out again. */
  readonly forgiveAfterMs: number
  /** How long `slowStartRatio` takes to grow to 1, and where it begins. 0 ms switches slow start off. */
  readonly slowStartMs: number
  readonly slowStartFloorRatio: number
  /** At most this share of a pool is out at once. */
  readonly ejectedRatioMax: number
}

export interface StallOptions {
  /** A silent instance is given at least this long, to its first token and between chunks. */
  readonly firstTokenFloorMs: number
  readonly chunkFloorMs: number
  /** Times the expected wait, from recent TTFT, TPOT and prefill rate. */
  readonly patienceFactor: number
  /** Where no fresh counter tells whether the engine moves, the limit is this many times longer. */
  readonly blindFactor: number
  /** Prefill time per uncached prompt token taken for granted before the instance has shown its own. */
  readonly prefillMsPerToken: number
}

export interface RetryOptions {
  /** Retries per call, as a share: each placed call pays this much into the budget. */
  readonly budgetRatio: number
  /** Most retries that can be saved up, and what the budget starts with. */
  readonly budgetBurst: number
}

/** The defaults, each with its reason. */
export const FLEET_DEFAULTS: FleetOptions = {
  health: {
    // 6 divides by 1, 2 and 3, so that the points table reads as "one, two or three failures of this kind in a row".
    ejectAtPoints: 6,
    // Chosen: one failed call in five is worth showing, one in two is worse than an instance less.
    degradeErrorRatio: 0.2,
    ejectErrorRatio: 0.5,
    // Chosen: two half-lives of the average over calls (see ERROR_AVERAGE_CALLS).
    ratioCallsMin: 14,
    // At a scrape each 250 ms: doubtful after 1 s, out after 2 s without a listener.
    degradeAfterScrapes: 4,
    ejectAfterScrapes: 8,
    // Chosen: one trial call may fail per second and then ever less; a restarted vLLM needs a minute to load.
    ejectionMs: 1_000,
    ejectionMsMax: 60_000,
    forgiveAfterMs: 60_000,
    // Chosen: a returning instance has an empty cache and looks the least loaded of all; Envoy's slow start also begins at 10 %.
    slowStartMs: 10_000,
    slowStartFloorRatio: 0.1,
    // architecture.md: one bad body must not empty a pool.
    ejectedRatioMax: 0.5,
  },
  stall: {
    // Chosen: far above any step of the profiles in use (33 ms), below the patience of a caller.
    firstTokenFloorMs: 10_000,
    chunkFloorMs: 5_000,
    // Chosen: five times the recent mean; counters that move excuse any slowness anyway.
    patienceFactor: 5,
    blindFactor: 3,
    // Three times the slowest profile in use, V100 with Llama-2-7B (0.32 ms).
    prefillMsPerToken: 1,
  },
  // architecture.md: retries have a budget of 20 % of calls. The burst is chosen: a quiet router must survive one dead instance.
  retry: { budgetRatio: 0.2, budgetBurst: 10 },
  // Chosen: twenty scrapes at the default interval; what an engine did 5 s ago says nothing about its queue now.
  scrapeStaleMs: 5_000,
  // As the Gateway API inference extension's prefix plugin, which llm-d uses: DefaultLRUCapacityPerServer = 31,250 (500,000 tokens / 16).
  prefixBlocksPerInstance: 31_250,
  // 256 bytes of JSON text at about 4 bytes per token.
  prefixBlockTokens: 64,
}
