import type { Call } from '../call/call.ts'
import type { InstanceState, InstanceView } from './instance.ts'
import type { Dispatch, DispatchEntry, Ledger } from './ledger.ts'
import type { FleetOptions } from './options.ts'

/** What the configuration or a discovery says of one instance. */
export interface InstanceConfig {
  readonly name: string
  readonly url: string
  /** > 0, 1 by default. */
  readonly weight: number
  /** > 0, 1 = reference. */
  readonly speed: number
}

/** How an attempt on one instance failed; the same words as a gateway's `AttemptFailure.kind`. */
export type FailureKind = 'connect' | 'reset' | 'full' | 'status' | 'aborted' | 'stalled' | 'timed out'

/** How a dispatch ended, as far as the instance is concerned. */
export type Ending =
  | { readonly kind: 'answered'; readonly ttftMs?: number; readonly tpotMs?: number }
  /** `status` is the HTTP status or the one in an error event; one below 500 is the caller's own and counts as answered. */
  | { readonly kind: 'failed'; readonly failure: FailureKind; readonly status?: number }
  /** Tells nothing of the instance: the client left. */
  | { readonly kind: 'left' }

/** The instances that may take a call now. Reused: the next `candidates` of the same pool overwrites it. */
export interface CandidateList {
  readonly count: number
  /** The first `count` entries are the candidates. */
  readonly instances: readonly LiveInstance[]
  /** Nothing healthy was left and these are ejected ones: any reachable instance is better than none. */
  readonly failOpen: boolean
}

/** An instance's live face: what policies see, and what else the router may read. */
export interface LiveInstance extends InstanceView {
  readonly ledger: Ledger
  /** "host:port" of the url, as gateways name endpoints in a subset. */
  readonly endpoint: string
  /** Why it is in its state, in words; undefined while healthy. */
  readonly stateReason: string | undefined
  /** Moving averages of recent calls, NaN until one ended. */
  readonly recentTtftMs: number
  readonly recentTpotMs: number
  readonly errorRatio: number
}

/** Own counts at the moment a scrape is asked for: what the answer is corrected by. */
export interface ScrapeMark {
  readonly takenMs: number
  readonly placed: number
  readonly ended: number
}

/** One state change, for counters and the log. */
export interface StateChange {
  readonly instance: LiveInstance
  readonly from: InstanceState
  readonly to: InstanceState
  readonly reason: string | undefined
}

/** The calls of a hung instance. Abort each, then settle or retry it as failed with 'stalled'. Each is reported once. */
export interface Stall {
  readonly instance: LiveInstance
  readonly dispatches: readonly Dispatch[]
  /** How long the instance showed no sign, ms. */
  readonly silentMs: number
}

export interface FleetParts {
  readonly options: FleetOptions
  readonly onStateChange?: (change: StateChange) => void
}

/** The instances of all pools and their live state. Pure: every method that needs the time takes `nowMs` (monotonic). */
export interface Fleet {
  /** Makes the pool's instances the desired ones: new ones join, missing ones take no new calls and leave when their calls ended. */
  reconcile(
    pool: string,
    desired: readonly InstanceConfig[],
    nowMs: number,
  ): { readonly added: number; readonly removed: number; readonly changed: number }
  pools(): readonly string[]
  /** The pool's instances, those leaving included. Empty for an unknown pool. */
  instances(pool: string): readonly LiveInstance[]
  instance(pool: string, name: string): LiveInstance | undefined
  /** May take a call now. No allocation. */
  candidates(pool: string): CandidateList
  /** The instance may take a call now (asked again before a fallback is used). */
  mayTake(instance: LiveInstance): boolean
  /** Blocks of this call's prompt that each instance probably holds: `out[slot]`; `out` must be as long as the largest slot + 1. */
  matchPrefix(pool: string, call: Pick<Call, 'prefixBlocks'>, out: Uint16Array): void
  /** Slots in use are below this number. */
  slotBound(pool: string): number

  /** Books a call on an instance; the call's prefix blocks are taken as held there from now on. Pays into the retry budget unless `retry`. */
  dispatch(
    instance: LiveInstance,
    entry: DispatchEntry & { readonly prefixBlocks?: BigUint64Array; readonly retry?: true },
    nowMs: number,
  ): Dispatch
  firstToken(instance: LiveInstance, dispatch: Dispatch, nowMs: number): void
  progress(instance: LiveInstance, dispatch: Dispatch, outputTokens: number, nowMs: number): void
  /** Ends a dispatch: once (I2). Updates ledger, health and averages. */
  settle(instance: LiveInstance, dispatch: Dispatch, ending: Ending, nowMs: number): void
  /** Takes one retry out of the pool's budget; false when it is used up. */
  takeRetry(pool: string): boolean

  /** Takes no new calls until undrained; remembered for a name that is not there yet. False when it was so already. */
  drain(pool: string, name: string): boolean
  undrain(pool: string, name: string): boolean

  /** To be called right before a scrape's request is sent. */
  beginScrape(instance: LiveInstance, nowMs: number): ScrapeMark
  applyScrape(instance: LiveInstance, mark: ScrapeMark, text: string, nowMs: number): void
  /** `connect`: nobody listens there; anything else says nothing of health. */
  scrapeFailed(instance: LiveInstance, kind: 'connect' | 'other', nowMs: number): void

  /** Moves what depends on time alone: ejections that end, slow start, stale scrapes, leavers. Call it every 100 ms or so. */
  tick(nowMs: number): void
  /** Hung instances found now. Call it every second or so. */
  stalled(nowMs: number): readonly Stall[]
  /** At least one instance of at least one pool may take a call without failing open. */
  ready(): boolean
  /** One plain row per instance: the fields of the log's fleet row, with the instance as pool, name, url. */
  rows(nowMs: number): FleetRow[]
}

export interface FleetRow {
  readonly instance: { readonly pool: string; readonly name: string; readonly url: string }
  readonly state: InstanceState
  readonly stateReason?: string
  readonly speed: number
  readonly weight: number
  readonly slowStartRatio: number
  readonly inFlight: number
  readonly prefillTokensPending: number
  readonly outputTokensLeft: number
  readonly placed: number
  readonly waiting: number
  readonly running: number
  readonly kvUsageRatio: number
  readonly foreignInFlight: number
  readonly prefixHitRatio: number
  readonly scrapeAgeMs: number
  /** Share of the pool's calls by speed, weight and slow start; 0 for those that take none. */
  readonly expectedShareRatio: number
}
