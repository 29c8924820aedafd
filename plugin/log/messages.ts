import type { FleetChange } from './control/fleet-changes.ts'
import type { InstanceChange } from './control/instance-changes.ts'
import type { PackedRows } from './packing.ts'
import type { Batch } from './queue.ts'
import type { Finding, Intent, LogStats } from './rows.ts'

/** How long and how much is kept. */
export interface Retention {
  /** Calls and scrapes older than this go. */
  readonly days: number
  /** Above this size of `log.sqlite` the oldest calls go first. */
  readonly bytes: number
}

/** What the log thread is started with. */
export interface ThreadData {
  readonly dataDir: string
  readonly retention: Retention
  /** Kinds of intent that are the router's; all when absent. */
  readonly intentKinds?: readonly string[]
}

/** A batch on its way between the threads. */
export interface PackedBatch extends Omit<Batch, 'rows'> {
  readonly rows: PackedRows
}

/** Router to log thread. */
export type ToThread =
  | {
      readonly kind: 'batch'
      /** Names the router process: with `sequence`, what makes a batch sent twice count once. */
      readonly source: string
      readonly sequence: number
      readonly batch: PackedBatch
      readonly stats: LogStats
    }
  | { readonly kind: 'answer'; readonly intentId: number; readonly state: 'done' | 'refused'; readonly text: string }
  | { readonly kind: 'finding'; readonly finding: Finding }
  | { readonly kind: 'retain'; readonly retention: Retention }
  | { readonly kind: 'close' }

/** An instance drained by intent. */
export interface Drained {
  readonly pool: string
  readonly instance: string
}

/** What was done by intent and still holds, as stored. */
export interface Standing {
  readonly drained: readonly Drained[]
  /** Phasewise was switched off. */
  readonly isOff: boolean
  /** What people changed of the fleet's list. */
  readonly fleetChanges: readonly FleetChange[]
  /** Instances that are not what they were. */
  readonly instanceChanges: readonly InstanceChange[]
}

/** Log thread to router. */
export type FromThread =
  | ({ readonly kind: 'ready' } & Standing)
  /** The databases do not fit this Phasewise (migrate.ts): the thread has ended. */
  | { readonly kind: 'unfit'; readonly error: string }
  /** On disk: nothing of it is lost by a kill. */
  | { readonly kind: 'written'; readonly sequence: number; readonly rows: number; readonly rejected: number; readonly rejection?: string }
  /** Something does not work now; the thread goes on trying. */
  | { readonly kind: 'trouble'; readonly error: string }
  | { readonly kind: 'intent'; readonly intent: Intent }
  | { readonly kind: 'closed' }
