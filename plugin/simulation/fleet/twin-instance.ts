import { Health } from '../../fleet/health.ts'
import type { InstanceState, InstanceView } from '../../fleet/instance.ts'
import type { EngineMetrics } from '../../fleet/metrics-text.ts'
import type { FleetOptions } from '../../fleet/options.ts'
import { ScrapeState } from '../../fleet/scrape-state.ts'
import { KV_BLOCK_TOKENS } from '../profiles.ts'
import type { CallTable } from './call-table.ts'
import type { Machine } from './machine.ts'
import { type SimulatedTime, TwinLedger } from './twin-ledger.ts'

/** Which signals a scrape renews. */
export type Signals = 'queue' | 'kv' | 'all'

interface TwinInstanceParts {
  readonly machine: Machine
  readonly calls: CallTable
  readonly time: SimulatedTime
  readonly options: FleetOptions
  readonly mayEject: (instance: TwinInstance) => boolean
}

/**
 * One instance as one router knows it: the router's own scrape state and health over a ledger of its own. A policy reads it as it reads a live
 * one, and like there it knows of the engine only what was dispatched, heard back and scraped.
 */
export class TwinInstance implements InstanceView {
  readonly machine: Machine
  readonly slot: number
  readonly name: string
  readonly pool = 'twin'
  readonly url: string
  readonly speed: number
  readonly weight = 1
  /** Every answer of the twin is streamed. */
  readonly wholePaceMs = Number.NaN
  readonly ledger: TwinLedger
  readonly scrape: ScrapeState
  readonly health: Health
  readonly #options: FleetOptions
  #queue: Pick<EngineMetrics, 'waiting' | 'running'> = { waiting: Number.NaN, running: Number.NaN }
  #kvUsageRatio = Number.NaN

  constructor({ machine, calls, time, options, mayEject }: TwinInstanceParts) {
    this.machine = machine
    this.slot = machine.slot
    this.name = machine.name
    this.url = `http://${machine.name}`
    this.speed = machine.speed
    this.ledger = new TwinLedger({ calls, core: machine.core, time })
    this.scrape = new ScrapeState(this.ledger)
    this.health = new Health({ options: options.health, mayEject: () => mayEject(this) })
    this.#options = options
  }

  get state(): InstanceState {
    if (!this.machine.present) return 'removed'
    return this.machine.draining ? 'draining' : this.health.state
  }
  get slowStartRatio(): number {
    return this.health.slowStartRatio
  }
  get isPresent(): boolean {
    return this.machine.present && !this.machine.draining
  }
  /** May take a call now: present, not ejected, and in a trial only where nobody sits on its one seat. */
  get takesCalls(): boolean {
    if (!this.isPresent) return false
    if (!this.health.isOut) return true
    return this.health.isOnTrial && !this.#isTrialSeatTaken()
  }

  /** Reads the machine's metrics as they are now; a dead one answers nobody. */
  scrapeNow(signals: Signals, nowMs: number): void {
    const { core } = this.machine
    if (!this.machine.alive) {
      this.health.scrapeRefused(nowMs)
      if (this.scrape.known && this.scrape.ageMs(nowMs) > this.#options.scrapeStaleMs) this.scrape.expire()
      return
    }
    this.health.scrapeAnswered(nowMs)
    const { waiting, running, kv, counters } = core.state
    if (signals !== 'kv') this.#queue = { waiting: waiting.length, running: running.length }
    if (signals !== 'queue') this.#kvUsageRatio = core.usedBlocksBy(nowMs) / kv.total
    this.scrape.apply(this.scrape.mark(nowMs), {
      ...this.#queue,
      kvUsageRatio: this.#kvUsageRatio,
      kvBlocks: kv.total,
      kvBlockTokens: KV_BLOCK_TOKENS,
      prefixHits: counters.prefixHitTokens,
      prefixQueries: counters.prefixQueryTokens,
      prefixHitRatio: Number.NaN,
      preemptions: counters.preemptions,
      steps: counters.steps,
      ends: Number.NaN,
      adapters: undefined,
    })
  }

  #isTrialSeatTaken(): boolean {
    for (const dispatch of this.ledger.open()) if (dispatch.dispatchedMs > this.health.ejectedMs) return true
    return false
  }
}
