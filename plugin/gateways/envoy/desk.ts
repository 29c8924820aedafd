import type { Clock } from '../../clock.ts'
import type { MeterParts, StreamMeter } from '../../outcome/meter.ts'
import type { InstanceView, Router } from '../../router.ts'
import type { CallSpan, SpanStart } from '../../telemetry/spans.ts'
import type { AddressBook } from './addresses.ts'

/** What every call at the picker's port is placed, measured and bounded with. */
export interface Desk {
  readonly router: Router
  readonly addresses: AddressBook
  /** Urls of all instances, for subsets. */
  readonly instanceUrls: () => readonly string[]
  /** Value of the Authorization header for the instance itself; undefined where it wants none. */
  readonly authorization?: (url: string) => string | undefined
  /** Any reachable instance for a model: where a call goes when the router itself is broken. */
  readonly anyInstance?: (model: string) => InstanceView | undefined
  readonly nextCallId: () => number
  readonly clock: Clock
  readonly textFeatures: boolean
  /** Makes numbers of the prompt for the length predictor; it never throws. */
  readonly readText?: (text: string) => Float32Array | undefined
  /** Request bodies up to this size are read whole before the call is placed. */
  readonly bodyLimitBytes: number
  /** The picker answers within this time, whatever the router does. */
  readonly holdLimitMs: number
  /** Endpoints named after the first one, for gateways that walk a list. Envoy's ORIGINAL_DST cluster does not: 0. */
  readonly fallbacks: number
  /** Tell scores as dynamic metadata (proposed v1.1). */
  readonly scores: boolean
  readonly debugHeaders: boolean
  readonly startCall?: (start: Omit<SpanStart, 'provider'>) => CallSpan
  /** Books something lost or worked around, by a short word for what. */
  readonly count: (what: string) => void
  /** Another meter, in tests of what happens when it breaks. */
  readonly createMeter?: (parts: MeterParts) => StreamMeter
}
