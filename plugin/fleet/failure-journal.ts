import { FAILURE_POINTS, type FailureKind, type FailureReceipt, type Health } from './health.ts'

/** Calls with a failure that are remembered. Chosen: at 20 % retries that is the last 5,000 calls of a pool on fire. */
const CALLS_MAX = 1024

interface Entry {
  /** Undefined once retracted: from then on failures of this kind are the call's own. */
  readonly blame: { readonly health: Health; readonly receipt: FailureReceipt } | undefined
  readonly kind: FailureKind
}

/**
 * An error that follows one call to a second instance is the call's and counts against neither: the first failure is taken back when
 * the second one of the same kind comes. Not so where the call cannot be the cause: nobody listened, or a hang that counters prove.
 */
export class FailureJournal {
  readonly #entries = new Map<number, Entry>()

  /** Books a failure of a call against an instance, or takes the earlier one back. */
  failed(given: {
    readonly callId: number
    readonly health: Health
    readonly kind: FailureKind
    readonly dispatchedMs: number
    readonly nowMs: number
  }): void {
    const { callId, health, kind, nowMs } = given
    const earlier = this.#entries.get(callId)
    if (earlier?.kind === kind && canBeTheCalls(kind) && earlier.blame?.health !== health) {
      earlier.blame?.health.retract(earlier.blame.receipt, nowMs)
      this.#keep(callId, { kind, blame: undefined })
      return
    }
    const receipt = health.failed(kind, given.dispatchedMs, nowMs)
    if (receipt) this.#keep(callId, { kind, blame: { health, receipt } })
  }

  #keep(callId: number, entry: Entry): void {
    this.#entries.delete(callId)
    this.#entries.set(callId, entry)
    if (this.#entries.size <= CALLS_MAX) return
    const oldest = this.#entries.keys().next()
    if (!oldest.done) this.#entries.delete(oldest.value)
  }
}

/** What ejects at once is proven of the instance; the rest may follow its call. */
function canBeTheCalls(kind: FailureKind): boolean {
  const points = FAILURE_POINTS[kind]
  return points > 0 && Number.isFinite(points)
}
