import type { Call } from '../../call/call.ts'
import type { FleetOptions } from '../../fleet/options.ts'
import type { Holding } from '../../hold/holding.ts'
import type { PoolPolicies } from '../../placement/choose.ts'
import type { Rng } from '../../rng.ts'
import type { CallTable, HeldSlot } from './call-table.ts'
import type { Machine } from './machine.ts'
import type { PredictedLength } from './twin-call.ts'
import type { SimulatedTime } from './twin-ledger.ts'

/** How long an answer will be, where the workload's own prediction is not to be used. */
export interface TwinPredictor {
  predict(call: Call): PredictedLength
  learn(call: Call, outputTokens: number): void
}

/** How a call ended for its caller. */
export type TwinEnding = 'completed' | 'left' | 'failed'

export interface TwinRouterParts {
  readonly calls: CallTable
  readonly machines: readonly Machine[]
  readonly time: SimulatedTime
  readonly options: FleetOptions
  readonly policies: PoolPolicies
  /** As configured: `oracle-…` is shown true lengths. */
  readonly policyName: string
  readonly hold: Holding<HeldSlot> | undefined
  readonly predictor: TwinPredictor | undefined
  readonly rng: Rng
  readonly retriesPerCall: number
  /** Signals are read at each decision. */
  readonly fresh: boolean
  readonly count: (what: string) => void
  /** The call is on its way to its instance. */
  readonly send: (slot: number) => void
  /** The call is over for its caller. */
  readonly over: (slot: number, ending: TwinEnding) => void
}
