import type { Call } from '../call/call.ts'
import type { Outcome, OutcomeKind } from '../outcome/outcome.ts'
import type { Reason } from '../placement/policy.ts'
import type { FleetChange } from './control/fleet-changes.ts'
import type { InstanceChange } from './control/instance-changes.ts'
import type { Retention } from './messages.ts'

/** What the router hands to the log, plain and cloneable: it crosses a thread. The log thread turns it into SQL. */

export interface InstanceKey {
  readonly pool: string
  readonly name: string
  readonly url: string
}

export interface DecisionRow {
  readonly policy: string
  readonly reason: Reason
  readonly propensity: number
  readonly explored: boolean
  readonly policyVersion: string
  readonly lengthVersion: string
  readonly decisionUs: number
  readonly heldMs: number
  readonly promptTokensEstimate: number
  readonly predictedOutputTokens?: number
  /** What predicted the length: 'model', or which fallback. */
  readonly lengthSource?: string
  /** The predicted distribution, packed (see call/length-axis.ts). */
  readonly predictedLength?: Uint16Array
  readonly predictedTtftMs?: number
  readonly predictedE2eMs?: number
  /** From arrival to the placement obeyed, ms: parse, hold and decision. */
  readonly placedMs: number
}

export interface CandidatesRow {
  readonly featureHash: string
  /** Candidates there were; `instances` holds at most LOGGED_CANDIDATES_MAX of them, chosen first, runner-up second. */
  readonly total: number
  readonly instances: readonly InstanceKey[]
  /** Call row, then one candidate row per entry of `instances`. */
  readonly features: Float32Array
  readonly costs: Float32Array
}

export interface AttemptRow {
  readonly instance: InstanceKey
  /** From the call's arrival, ms. */
  readonly startedMs: number
  readonly endedMs: number
  readonly outcome: OutcomeKind
  readonly error?: string
}

/** The trial under way at the decision. `block`, `arm` and `washout` are a canary's. */
export interface TrialMark {
  readonly trialId: number
  readonly block?: number
  readonly arm?: 'control' | 'challenger'
  /** The call came so early in its block that calls of the block before still ran. */
  readonly washout?: boolean
}

/** What the challengers in shadow would have done; absent where they were not asked or failed. */
export interface ShadowSaid {
  readonly instance?: InstanceKey
  readonly outputTokens?: number
}

/** Blocks of a prompt's beginning that are logged: 64 KiB of text, 1 KiB of log. Chosen: longer than nine of ten prompts of the traces in use. */
export const LOGGED_PREFIX_BLOCKS_MAX = 256

export interface CallRow {
  readonly kind: 'call'
  readonly gateway: string
  readonly pool: string
  readonly call: Pick<Call, 'callId' | 'arrivedUnixMs' | 'api' | 'model' | 'stream' | 'promptBytes' | 'caller'> & {
    readonly maxTokens?: number
    readonly systemHash?: number
  }
  /** What the length model read, half-precision bits, and the hash of its feature list; absent like the text features. */
  readonly lengthRow?: { readonly featureHash: string; readonly row: Uint16Array }
  /** Absent when the operator switched text features off. */
  readonly textFeatures?: Uint32Array
  /** Chained hashes of the prompt's 256-byte blocks, lower 32 bits, the first `LOGGED_PREFIX_BLOCKS_MAX`; absent like the text features. */
  readonly prefixBlocks?: Uint32Array
  /** Absent when no instance could be chosen at all. */
  readonly instance?: InstanceKey
  readonly decision: DecisionRow
  readonly candidates?: CandidatesRow
  readonly trial?: TrialMark
  readonly shadow?: ShadowSaid
  /** In order; the last one gave the outcome. */
  readonly attempts: readonly AttemptRow[]
  readonly outcome: Outcome
}

export interface ScrapeRow {
  readonly kind: 'scrape'
  readonly instance: InstanceKey
  readonly takenUnixMs: number
  readonly waiting: number
  readonly running: number
  readonly kvUsageRatio: number
  readonly inFlight: number
  readonly foreignInFlight: number
  readonly state: string
}

/** A canary's block of time begins. */
export interface BlockRow {
  readonly kind: 'block'
  readonly trialId: number
  readonly block: number
  readonly arm: 'control' | 'challenger'
  readonly fromUnixMs: number
  readonly toUnixMs: number
  readonly washoutUntilUnixMs: number
}

export interface FleetNowRow {
  readonly instance: InstanceKey
  readonly state: string
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
  readonly expectedShareRatio: number
}

/** Renewed every second by the router. */
export interface NowRow {
  readonly kind: 'now'
  readonly seenUnixMs: number
  readonly router: {
    readonly pid: number
    readonly startedUnixMs: number
    readonly ready: boolean
    readonly version: string
    /** Pool name → policy name, models served. */
    readonly pools: readonly {
      readonly name: string
      readonly policy: string
      readonly models: readonly string[]
      /** Phasewise is switched off: the fallback policy places. */
      readonly off?: true
      /** Absent where nothing is ever held; `offReason` while it is not. */
      readonly hold?: { readonly order: string; readonly held: number; readonly offReason?: string }
    }[]
  }
  readonly fleet: readonly FleetNowRow[]
}

/** Added to the stored counters. */
export interface CounterRow {
  readonly kind: 'counter'
  readonly name: string
  readonly by: number
  readonly atUnixMs: number
}

/** Rows that stand in the log as they came, one each. */
export type KeptRow = CallRow | ScrapeRow | BlockRow

export type LogRow = KeptRow | NowRow | CounterRow

/** The router ends a trial: all blocks are done, or the guard withdraws the challengers. */
export interface TrialEnding {
  readonly trialId: number
  readonly state: 'ended' | 'withdrawn'
  readonly why: string
}

/** What the router found by itself and people should know: kept in `control.sqlite` with audit row and notice. */
export type Finding =
  | ({ readonly kind: 'trial over' } & TrialEnding)
  | ({ readonly kind: 'instance changed' } & InstanceChange)
  | ({ readonly kind: 'change over' } & Pick<InstanceChange, 'pool' | 'instance' | 'words'>)

/** What somebody asked the router to do. */
export interface Intent {
  readonly intentId: number
  readonly kind: string
  readonly subject: unknown
  readonly askedBy: string
}

export interface LogStats {
  readonly queuedRows: number
  readonly droppedRows: number
  readonly writtenRows: number
  /** Rows that cannot be stored as they are (a doubled call id, a value of the wrong kind): left out alone, the others are written. */
  readonly rejectedRows: number
  /** Times the log thread died and was started again. */
  readonly threadRestarts: number
  /** The last write error in words, undefined while writing works. */
  readonly error?: string
}

/** The router's side of the log: never blocks, never throws, drops the oldest rows when its bound is reached and counts them. */
export interface Log {
  /** The row's arrays belong to the log from now on: whoever goes on writing to them writes to the log. */
  append(row: LogRow): void
  stats(): LogStats
  /** Called with each open intent, once; resolve with the answer to mark it done, reject to mark it refused with the error's message. */
  onIntent(obey: (intent: Intent) => Promise<string>): void
  /** Keeps a finding; tried again while the file is busy. */
  report(finding: Finding): void
  /** Instances drained by intent, as stored, read at start. */
  readonly drained: readonly { readonly pool: string; readonly instance: string }[]
  /** Phasewise was switched off by intent and not on again, as stored, read at start. */
  readonly isOff: boolean
  /** What people changed of the fleet's list by intent, as stored, read at start. */
  readonly fleetChanges: readonly FleetChange[]
  /** Instances that were noticed to be not what they were, as stored, read at start. */
  readonly instanceChanges: readonly InstanceChange[]
  /** From now on so much is kept. */
  retain(retention: Retention): void
  /** Resolves when all appended so far is on disk. */
  flush(): Promise<void>
  close(): Promise<void>
}
