import type { Call } from './call/call.ts'
import type { Ending, FailureKind, Fleet, LiveInstance } from './fleet/fleet.ts'
import type { Dispatch } from './fleet/ledger.ts'
import type { AttemptRow, DecisionRow, ShadowSaid, TrialMark } from './log/rows.ts'
import type { Outcome } from './outcome/outcome.ts'
import type { Policy } from './placement/policy.ts'
import type { Again, AttemptFailure, Expected, PoolFacts, Ticket } from './router.ts'
import { type Decision, keyOf } from './router-decide.ts'
import type { Roster, Seated } from './router-roster.ts'
import type { Known } from './router-rows.ts'

export interface TicketParts {
  readonly fleet: Fleet
  readonly nowMs: () => number
  readonly retriesPerCall: number
  /** Every ticket whose attempt runs, so that hung calls can be found. */
  readonly open: Roster<LiveTicket>
  readonly settled: (ticket: LiveTicket, outcome: Outcome) => void
  /** A first token came or an attempt moved on: something may be free on an instance of this pool. */
  readonly moved: (pool: string) => void
  readonly count: (what: string) => void
  /** The first token of a call came. */
  readonly firstToken?: (ticket: LiveTicket, nowMs: number) => void
}

export interface TicketInput {
  readonly call: Call
  readonly gateway: string
  readonly pool: PoolFacts
  readonly decision: Decision
  readonly decisionRow: DecisionRow
  readonly known: Known
  readonly arrivedMs: number
  readonly enginePriority?: number
  readonly unwatched: boolean
  /** The policy that chose: it is told how the call ends, whoever decides by then. */
  readonly policy: Policy
  readonly trial?: TrialMark
  readonly shadow?: ShadowSaid
}

/** A placed call until it ends. Invariant: booked in exactly one ledger while an attempt runs, in none otherwise (I1, I2). */
export class LiveTicket implements Ticket, Seated {
  seat = -1
  readonly #parts: TicketParts
  readonly input: TicketInput
  readonly attempts: AttemptRow[] = []
  /** Calls on the chosen instance when this one was placed there: our own, and those that a scrape showed beyond them. */
  readonly inFlightBefore: number
  #dispatch: Dispatch | undefined
  #instance: LiveInstance
  #startedMs: number
  #firstTokenMs = Number.NaN
  #settled = false
  #abort: (() => void) | undefined

  constructor(parts: TicketParts, input: TicketInput) {
    this.#parts = parts
    this.input = input
    this.#instance = input.decision.instance
    this.#startedMs = parts.nowMs()
    const { ledger, scrape } = this.#instance
    this.inFlightBefore = ledger.inFlight + Math.max(0, scrape.foreignInFlight || 0)
    this.#book(false)
  }

  get call(): Call {
    return this.input.call
  }
  get pool(): PoolFacts {
    return this.input.pool
  }
  get placement() {
    return this.input.decision.placement
  }
  get instance(): LiveInstance {
    return this.#instance
  }
  get enginePriority(): number | undefined {
    return this.input.enginePriority
  }
  get expected(): Expected {
    return expectedOf(this.input.decisionRow)
  }

  firstToken(nowMs: number): void {
    if (!this.#dispatch || !Number.isNaN(this.#firstTokenMs)) return
    // What was told late may name a moment before this attempt.
    const firstMs = Math.max(nowMs, this.#startedMs)
    this.#firstTokenMs = firstMs
    this.#parts.fleet.firstToken(this.#instance, this.#dispatch, firstMs)
    this.#parts.firstToken?.(this, firstMs)
    this.#parts.moved(this.pool.name)
  }

  progress(outputTokens: number, nowMs: number): void {
    if (this.#dispatch) this.#parts.fleet.progress(this.#instance, this.#dispatch, outputTokens, nowMs)
  }

  retry(failure: AttemptFailure, again: Again = { insists: false }): LiveInstance | undefined {
    if (this.#settled) throw new Error(`call ${this.call.callId} was settled: it cannot be retried`)
    this.#leave(
      { kind: 'failed', failure: failure.kind, ...(failure.status === undefined ? {} : { status: failure.status }) },
      failure.error,
    )
    const next = again.insists ? this.#anyway(again.subset) : this.#next(again.subset)
    if (!next) return undefined
    this.#instance = next
    this.#startedMs = this.#parts.nowMs()
    this.#firstTokenMs = Number.NaN
    this.#abort = undefined
    this.#book(true)
    this.#parts.count('retried')
    this.#parts.moved(this.pool.name)
    return next
  }

  servedBy(endpoint: string): boolean {
    if (this.#instance.endpoint === endpoint) return true
    const { fleet, open, nowMs } = this.#parts
    const actual = this.#anywhere((one) => one.endpoint === endpoint)
    if (!actual || !this.#dispatch) return false
    open.delete(this)
    fleet.settle(this.#instance, this.#dispatch, { kind: 'left' }, nowMs())
    this.#instance = actual
    this.#parts.count('served elsewhere')
    this.#book(true)
    return true
  }

  onStalled(abort: () => void): void {
    this.#abort = abort
  }

  /** The current attempt is one of these. */
  isOn(dispatches: ReadonlySet<Dispatch>): boolean {
    return this.#dispatch !== undefined && dispatches.has(this.#dispatch)
  }

  /** The instance is hung: what the gateway left for this case is done. */
  stalled(): void {
    this.#abort?.()
  }

  settle(outcome: Outcome): void {
    if (this.#settled) throw new Error(`call ${this.call.callId} was settled before (I2)`)
    this.#settled = true
    this.#leave(endingOf(outcome, this.#ownTtftMs(outcome)), outcome.error, outcome)
    this.#parts.settled(this, outcome)
  }

  #book(retry: boolean): void {
    const { call, decision, decisionRow, known } = this.input
    const { promptTokens, prediction } = known
    const predicted = decisionRow.predictedOutputTokens
    const chosen = this.#instance === decision.instance
    this.#dispatch = this.#parts.fleet.dispatch(
      this.#instance,
      {
        callId: call.callId,
        promptTokens,
        uncachedPromptTokens: promptTokens * (1 - (chosen ? decision.prefixMatchRatio : 0)),
        stream: call.stream && !this.input.unwatched,
        prefixBlocks: call.prefixBlocks,
        ...(predicted === undefined ? {} : { predictedOutputTokens: predicted }),
        ...(prediction?.distribution === undefined ? {} : { outlook: prediction.distribution }),
        ...(retry ? { retry: true as const } : {}),
      },
      this.#startedMs,
    )
    this.#parts.open.add(this)
  }

  #leave(ending: Ending, error: string | undefined, outcome?: Outcome): void {
    const dispatch = this.#dispatch
    if (!dispatch) return
    const nowMs = this.#parts.nowMs()
    this.#dispatch = undefined
    this.#parts.open.delete(this)
    this.#parts.fleet.settle(this.#instance, dispatch, ending, nowMs)
    const timedOut = ending.kind === 'failed' && ending.failure === 'timed out'
    const { arrivedMs } = this.input
    // An end that is reported later, as through the placement API, was then all the same.
    const endedMs = Math.max(this.#startedMs, Math.min(nowMs, arrivedMs + (outcome?.e2eMs ?? Number.POSITIVE_INFINITY)))
    this.attempts.push({
      instance: keyOf(this.#instance),
      startedMs: this.#startedMs - arrivedMs,
      endedMs: endedMs - arrivedMs,
      outcome: outcome?.kind ?? (timedOut ? 'timed out' : 'instance error'),
      ...(error === undefined ? {} : { error }),
    })
  }

  /** The next fallback that may still take a call, within the per-call limit and the pool's budget. */
  #next(subset: readonly string[] | undefined): LiveInstance | undefined {
    if (this.attempts.length > this.#parts.retriesPerCall) return undefined
    const tried = new Set(this.attempts.map((one) => one.instance.url))
    const next = this.input.decision.fallbacks.find((one) => !tried.has(one.url) && within(one, subset) && this.#parts.fleet.mayTake(one))
    if (!next) return undefined
    if (this.#parts.fleet.takeRetry(this.pool.name)) return next
    this.#parts.count('retry budget used up')
    return undefined
  }

  /** The best of what the gateway leaves: an untried fallback, any untried instance of the call's pool, then whatever the subset has. */
  #anyway(subset: readonly string[] | undefined): LiveInstance | undefined {
    const { fleet } = this.#parts
    const tried = new Set(this.attempts.map((one) => one.instance.url))
    const fresh = (one: LiveInstance): boolean => !tried.has(one.url) && within(one, subset) && fleet.mayTake(one)
    // Counted against the budget, not stopped by it.
    fleet.takeRetry(this.pool.name)
    return (
      this.input.decision.fallbacks.find(fresh) ??
      fleet.instances(this.pool.name).find(fresh) ??
      this.#anywhere((one) => within(one, subset) && !tried.has(one.url)) ??
      this.#anywhere((one) => within(one, subset))
    )
  }

  #anywhere(wanted: (one: LiveInstance) => boolean): LiveInstance | undefined {
    const { fleet } = this.#parts
    const own = fleet.instances(this.pool.name).find(wanted)
    if (own) return own
    for (const pool of fleet.pools()) {
      const found = fleet.instances(pool).find(wanted)
      if (found) return found
    }
    return undefined
  }

  /** First token measured from this attempt's start, not from arrival: what the instance itself took. A whole answer tells nothing of it. */
  #ownTtftMs(outcome: Outcome): number | undefined {
    if (!this.call.stream || outcome.kind === 'unknown') return undefined
    if (!Number.isNaN(this.#firstTokenMs)) return this.#firstTokenMs - this.#startedMs
    return outcome.ttftMs === undefined ? undefined : outcome.ttftMs - (this.#startedMs - this.input.arrivedMs)
  }
}

function within(one: LiveInstance, subset: readonly string[] | undefined): boolean {
  return subset === undefined || subset.includes(one.endpoint)
}

/** What a decision's row expects of the call. */
export function expectedOf(row: DecisionRow): Expected {
  return {
    promptTokens: row.promptTokensEstimate,
    ...(row.predictedOutputTokens === undefined ? {} : { outputTokens: row.predictedOutputTokens }),
    ...(row.predictedTtftMs === undefined ? {} : { ttftMs: row.predictedTtftMs }),
    ...(row.predictedE2eMs === undefined ? {} : { e2eMs: row.predictedE2eMs }),
  }
}

function endingOf(outcome: Outcome, ttftMs: number | undefined): Ending {
  switch (outcome.kind) {
    case 'completed':
      return {
        kind: 'answered',
        ...(ttftMs === undefined ? {} : { ttftMs }),
        ...(outcome.tpotMs === undefined ? {} : { tpotMs: outcome.tpotMs }),
        ...(outcome.outputTokens === undefined ? {} : { outputTokens: outcome.outputTokens }),
      }
    case 'client gone':
    case 'unknown':
      return { kind: 'left' }
    case 'timed out':
      return { kind: 'failed', failure: 'timed out' }
    case 'instance error':
      return { kind: 'failed', failure: failureOf(outcome), ...(outcome.status === undefined ? {} : { status: outcome.status }) }
  }
}

/** The failure behind an outcome's words (see `Outcome.error`). An engine that died tells so in an event under status 200. */
function failureOf(outcome: Outcome): FailureKind {
  const error = outcome.error ?? ''
  if (error === 'engine error') return 'engine'
  if (/^(connect|reset|stalled|aborted)/.test(error)) return /^\w+/.exec(error)?.[0] as FailureKind
  if (outcome.status === 429 || (outcome.status === 503 && error.startsWith('full'))) return 'full'
  return outcome.status !== undefined && outcome.status >= 400 ? 'status' : 'reset'
}
