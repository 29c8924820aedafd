import type { Call } from '../call/call.ts'
import type { InstanceState } from './instance.ts'
import type { Dispatch, DispatchEntry } from './ledger.ts'
import type { Ending, InstanceConfig, LiveInstance } from './live-instance.ts'
import type { FleetOptions } from './options.ts'
import { type CandidateList, Pool, type Reconciled, type StateChange } from './pool.ts'
import type { ScrapeMark } from './scrape-state.ts'

export type { FailureKind } from './health.ts'
export type { Ending, InstanceConfig, LiveInstance } from './live-instance.ts'
export type { CandidateList, Reconciled, StateChange } from './pool.ts'
export type { ScrapeMark } from './scrape-state.ts'

/** The calls of a hung instance. Abort each, then settle or retry it as failed with 'stalled'. Each is reported once. */
export interface Stall {
  readonly instance: LiveInstance
  readonly dispatches: readonly Dispatch[]
}

export interface FleetParts {
  readonly options: FleetOptions
  readonly onStateChange?: (change: StateChange) => void
}

/** The instances of all pools and their live state. Pure: every method that needs the time takes `nowMs` (monotonic). */
export interface Fleet {
  /** Makes the pool's instances the desired ones: new ones join, missing ones take no new calls and leave when their calls ended. */
  reconcile(pool: string, desired: readonly InstanceConfig[]): Reconciled
  pools(): readonly string[]
  /** The pool's instances in name order, those leaving included. Empty for an unknown pool. */
  instances(pool: string): readonly LiveInstance[]
  instance(pool: string, name: string): LiveInstance | undefined
  /** May take a call now. No allocation. */
  candidates(pool: string): CandidateList
  /** The instance may take a call now (asked again before a fallback is used). */
  mayTake(instance: LiveInstance): boolean
  /** Blocks of this call's prompt that each instance probably holds: `out[slot]`; `out` must be at least `slotBound` long. */
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
  /** Ends a dispatch: once, a second time throws (I2). Updates ledger, health and averages. */
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

const NO_CANDIDATES: CandidateList = { count: 0, instances: [], failOpen: false }

/** A fleet without pools; `reconcile` brings them. */
export function createFleet(parts: FleetParts): Fleet {
  const pools = new Map<string, Pool>()
  const onStateChange = (change: StateChange): void => {
    // Who was ejected mostly comes back as a new process with an empty cache.
    if (change.to === 'ejected') pools.get(change.instance.pool)?.prefixes.forget(change.instance.slot)
    parts.onStateChange?.(change)
  }
  const open = (name: string): Pool => {
    const known = pools.get(name)
    if (known) return known
    const pool = new Pool({ name, options: parts.options, onStateChange })
    pools.set(name, pool)
    return pool
  }
  const poolOf = (instance: LiveInstance): Pool => open(instance.pool)
  return {
    reconcile: (pool, desired) => open(pool).reconcile(desired),
    pools: () => [...pools.keys()],
    instances: (pool) => pools.get(pool)?.members ?? [],
    instance: (pool, name) => pools.get(pool)?.find(name),
    candidates: (pool) => pools.get(pool)?.candidates() ?? NO_CANDIDATES,
    mayTake: (instance) => instance.takesCalls,
    matchPrefix: (pool, call, out) => pools.get(pool)?.prefixes.matchBlocks(call.prefixBlocks, out),
    slotBound: (pool) => pools.get(pool)?.slotBound ?? 0,
    ...createCallSide(poolOf),
    takeRetry: (pool) => open(pool).budget.take(),
    drain: (pool, name) => open(pool).setDrained(name, true),
    undrain: (pool, name) => open(pool).setDrained(name, false),
    ...createScrapeSide(poolOf, parts.options),
    tick: (nowMs) => {
      for (const pool of pools.values()) tickPool(pool, nowMs)
    },
    stalled: (nowMs) => [...pools.values()].flatMap((pool) => stallsOf(pool, nowMs)),
    ready: () => [...pools.values()].some((pool) => pool.members.some((one) => one.takesCalls)),
    rows: (nowMs) => [...pools.values()].flatMap((pool) => rowsOf(pool, nowMs)),
  }
}

function createCallSide(poolOf: (instance: LiveInstance) => Pool): Pick<Fleet, 'dispatch' | 'firstToken' | 'progress' | 'settle'> {
  return {
    dispatch(instance, entry, nowMs) {
      const pool = poolOf(instance)
      const dispatch = instance.dispatch(entry, nowMs)
      if (!entry.retry) pool.budget.pay()
      if (entry.prefixBlocks) pool.prefixes.record(instance.slot, entry.prefixBlocks)
      return dispatch
    },
    firstToken(instance, dispatch, nowMs) {
      instance.firstToken(dispatch, nowMs)
      poolOf(instance).sync(instance)
    },
    progress: (instance, dispatch, outputTokens, nowMs) => instance.progress(dispatch, outputTokens, nowMs),
    settle(instance, dispatch, ending, nowMs) {
      const pool = poolOf(instance)
      instance.settle({ dispatch, ending, journal: pool.journal, nowMs })
      // A failure may have been taken back from another instance of the pool.
      if (ending.kind === 'failed') for (const one of pool.members) pool.sync(one)
      else pool.sync(instance)
      if (instance.leaving) pool.dismissLeavers()
    },
  }
}

function createScrapeSide(
  poolOf: (instance: LiveInstance) => Pool,
  options: FleetOptions,
): Pick<Fleet, 'beginScrape' | 'applyScrape' | 'scrapeFailed'> {
  return {
    beginScrape: (instance, nowMs) => instance.scrape.mark(nowMs),
    applyScrape(instance, mark, text, nowMs) {
      const pool = poolOf(instance)
      const { scrape } = instance
      if (!pool.members.includes(instance)) return
      if (instance.applyScrape(mark, text, nowMs)) {
        const kvTokens = scrape.kvBlocks * scrape.kvBlockTokens
        if (kvTokens > 0) pool.prefixes.resize(instance.slot, Math.ceil(kvTokens / options.prefixBlockTokens))
      }
      pool.sync(instance)
    },
    scrapeFailed(instance, kind, nowMs) {
      if (kind !== 'connect') return
      instance.health.scrapeRefused(nowMs)
      poolOf(instance).sync(instance)
    },
  }
}

function tickPool(pool: Pool, nowMs: number): void {
  for (const one of pool.members) {
    one.tick(nowMs)
    pool.sync(one)
  }
  pool.dismissLeavers()
}

function stallsOf(pool: Pool, nowMs: number): Stall[] {
  return pool.members.flatMap((instance) => {
    const dispatches = instance.stalled(nowMs)
    return dispatches.length === 0 ? [] : [{ instance, dispatches }]
  })
}

function rowsOf(pool: Pool, nowMs: number): FleetRow[] {
  const share = (one: LiveInstance): number => (one.takesCalls ? one.speed * one.weight * one.slowStartRatio : 0)
  const total = pool.members.reduce((sum, one) => sum + share(one), 0)
  return pool.members.map((one) => rowOf(one, total > 0 ? share(one) / total : 0, nowMs))
}

function rowOf(one: LiveInstance, expectedShareRatio: number, nowMs: number): FleetRow {
  const { ledger, scrape, stateReason } = one
  return {
    instance: { pool: one.pool, name: one.name, url: one.url },
    state: one.state,
    ...(stateReason === undefined ? {} : { stateReason }),
    speed: one.speed,
    weight: one.weight,
    slowStartRatio: one.slowStartRatio,
    inFlight: ledger.inFlight,
    prefillTokensPending: ledger.prefillTokensPending,
    outputTokensLeft: ledger.outputTokensLeft,
    placed: ledger.placed,
    waiting: scrape.waiting,
    running: scrape.running,
    kvUsageRatio: scrape.kvUsageRatio,
    foreignInFlight: scrape.foreignInFlight,
    prefixHitRatio: scrape.prefixHitRatio,
    scrapeAgeMs: scrape.ageMs(nowMs),
    expectedShareRatio,
  }
}
