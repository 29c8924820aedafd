import type { FleetOptions } from '../../fleet/options.ts'
import type { Holding } from '../../hold/holding.ts'
import type { Policy } from '../../placement/policy.ts'
import type { Rng } from '../../rng.ts'
import type { HeldSlot } from './call-table.ts'
import type { FleetEvent, MachineSpec } from './machine.ts'
import type { TwinEnding, TwinPredictor } from './router-parts.ts'
import type { ScrapeMs } from './scrape-plan.ts'
import type { CallStream, TwinCall } from './twin-call.ts'

/** A call that is over. The object is reused: read it when it comes. */
export interface CallEnd {
  readonly call: TwinCall
  /** Ordinal of arrival, from 0. */
  readonly index: number
  readonly ending: TwinEnding
  readonly arrivedMs: number
  /** First decision that placed it; NaN where there was none. */
  readonly placedMs: number
  /** As its caller saw it; NaN where no token came. */
  readonly firstTokenMs: number
  readonly endedMs: number
  readonly outputTokens: number
  readonly router: number
  /** Slot of the instance that had it last, −1 for none. */
  readonly instance: number
  readonly preemptions: number
}

export interface SimulationOptions {
  readonly fleet: readonly MachineSpec[]
  readonly calls: CallStream
  /** Made anew for each router. */
  readonly policy: (router: number) => Policy
  /** As configured; `oracle-…` is shown true output lengths. */
  readonly policyName: string
  readonly hold?: (router: number) => Holding<HeldSlot>
  /** Instances that schedule by priority are sent the hold queue's order as the call's priority; the caller's own by default. */
  readonly enginePriority?: boolean
  readonly predictor?: (router: number) => TwinPredictor
  readonly rng: Rng
  readonly onEnd: (end: CallEnd) => void
  /** 1 by default; calls come to them in turn. */
  readonly routers?: number
  /** How often each signal is read, ms; 0: at each decision (and then for both); Infinity: never. 50 by default. */
  readonly scrapeMs?: ScrapeMs
  /** From a call's arrival at the router until it leaves for the instance, ms; 0 by default. */
  readonly decisionMs?: number
  /** One way between router and instance, ms; 0 by default. */
  readonly networkMs?: number
  /** What happens to the fleet, in any order. */
  readonly script?: readonly FleetEvent[]
  /** Attempts on further instances, as the router's own; 2 by default. */
  readonly retriesPerCall?: number
  /** How often a caller whose call failed sends it again, and how long it waits before; never by default. */
  readonly clientRetries?: { readonly times: number; readonly afterMs: number }
  readonly options?: FleetOptions
  /** Something was lost or worked around. */
  readonly count?: (what: string) => void
}

/** Totals of a run. */
export interface SimulationTotals {
  readonly arrived: number
  /** When the last call was over, ms. */
  readonly endedMs: number
  readonly preemptions: number
  readonly steps: number
  readonly prefixHitTokens: number
  readonly prefixQueryTokens: number
}
