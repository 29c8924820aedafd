import type { Call } from '../../call/call.ts'
import { formatId } from '../../call/id.ts'
import type { Clock } from '../../clock.ts'
import type { Outcome } from '../../outcome/outcome.ts'
import { PlacementError, type PlaceOptions, type Router } from '../../router.ts'
import { noKnownCandidate, placedBy, refusing, unknownPlacement, weighedBy } from './answers.ts'
import type { Directory, Matched } from './directory.ts'
import { Problem, refusedPlacement } from './problems.ts'
import { failureOf, leftOutcome, outcomeOf, unknownOutcome } from './reports.ts'
import type { Held, OutcomeReport, Placed, PlaceRequest, ProgressReport, ProgressState, SettledState } from './schemas.ts'
import { Abandon, Book, type Stay } from './stay.ts'
import { understandCall } from './understanding.ts'

/** What the desk works with. */
export interface DeskParts {
  readonly router: Router
  readonly directory: Directory
  readonly clock: Clock
  readonly nextCallId: () => number
  readonly textFeatures: boolean
  readonly readText?: (text: string) => Float32Array | undefined
  /** A placement not settled for this long is closed as unknown. */
  readonly settleLimitMs: number
  readonly count: (what: string) => void
}

/** A request for a placement as it came in. */
export interface Asking {
  readonly request: PlaceRequest
  readonly bytes: Buffer
  readonly keyName: string
}

export type CallName = { readonly id: string } | { readonly key: string }

/** Placements inside at once: their tickets and rows are about 4 KB each. */
const OPEN_MAX = 100_000
/** A held caller asks again this often: a fraction of the first token's time, and 40 questions a second at most. */
const ASK_AGAIN_MS = 25
/** A held call that nobody asked for this long has nobody waiting: 200 questions missed. */
const HELD_ABANDONED_MS = 5_000
const SWEEP_MS = 1_000

/**
 * Where placements are asked for, looked after and ended. Invariant: every ticket that the router gave is settled exactly once, by its
 * caller's report, by its caller's leaving, or by the limit (I2).
 */
export class Desk {
  readonly #parts: DeskParts
  readonly #book = new Book()
  readonly #sweeper: NodeJS.Timeout
  #draining = false
  #emptied: (() => void) | undefined

  constructor(parts: DeskParts) {
    this.#parts = parts
    this.#sweeper = setInterval(() => this.sweep(), SWEEP_MS)
    this.#sweeper.unref()
  }

  get open(): number {
    return this.#book.size
  }
  get held(): number {
    let held = 0
    for (const stay of this.#book.stays()) if (stay.waiting.kind === 'held') held++
    return held
  }

  /** Places, or says that the call is held. Throws the Problem where it can do neither. */
  async place(asking: Asking): Promise<Placed | Held> {
    const { request } = asking
    if (request.dryRun) return this.#tryOut(asking)
    const open = request.key === undefined ? undefined : this.#book.find({ key: request.key })
    if (open) return request.failure ? this.#again(open, request) : this.#answer(open)
    if (this.#draining) throw new Problem({ kind: 'draining', status: 503, detail: 'Place without this router; it is shutting down.' })
    if (this.#book.size >= OPEN_MAX)
      throw new Problem({ kind: 'overloaded', status: 503, detail: `${OPEN_MAX} placements wait for their outcomes.` })
    const stay = this.#enter(asking)
    await turn(stay)
    return this.#answer(stay)
  }

  /** The placement as it stands: the answer to a held caller's next question. */
  state(id: string): Placed | Held {
    const stay = this.#book.find({ id })
    if (!stay) throw unknownPlacement()
    return this.#answer(stay)
  }

  /** Ends a call by its caller's report; a repeated report changes nothing. */
  settle(named: CallName, report: OutcomeReport): SettledState {
    const stay = this.#book.find(named)
    if (!stay) {
      if (this.#book.departed(named)) return 'repeated'
      this.#parts.count('outcome without placement')
      return 'unknown placement'
    }
    const { waiting } = stay
    const outcome = outcomeOf(report, this.#elapsedMs(stay))
    if (waiting.kind === 'placed' && report.servedBy !== undefined && !this.#isServedBy(stay, report.servedBy)) {
      this.#parts.count('served elsewhere')
      this.#end(stay, { ...leftOutcome(outcome.e2eMs), error: 'served elsewhere' })
    } else this.#end(stay, outcome)
    return 'settled'
  }

  /** The first token came, and perhaps more since. */
  progress(named: CallName, { firstTokenAgoMs, outputTokens }: ProgressReport): ProgressState {
    const stay = this.#book.find(named)
    if (stay?.waiting.kind !== 'placed') return 'not running'
    const { ticket } = stay.waiting
    const nowMs = this.#parts.clock.nowMs()
    ticket.firstToken(nowMs - firstTokenAgoMs)
    if (outputTokens !== undefined) ticket.progress(outputTokens, nowMs)
    return 'noted'
  }

  /** The caller gave the call up. */
  leave(id: string): SettledState {
    const stay = this.#book.find({ id })
    if (!stay) {
      if (this.#book.departed({ id })) return 'repeated'
      throw unknownPlacement()
    }
    this.#end(stay, leftOutcome(this.#elapsedMs(stay)))
    return 'settled'
  }

  /** Closes what nobody settled in time, and held calls that nobody asks for any more. */
  sweep(): void {
    const nowMs = this.#parts.clock.nowMs()
    for (const stay of this.#book.stays()) {
      if (nowMs - stay.arrivedMs >= this.#parts.settleLimitMs) {
        this.#parts.count('placement never settled')
        this.#end(stay, unknownOutcome('never settled', this.#elapsedMs(stay)))
      } else if (stay.waiting.kind !== 'placed' && nowMs - stay.askedMs >= HELD_ABANDONED_MS) {
        this.#parts.count('held call abandoned')
        this.#end(stay, leftOutcome(this.#elapsedMs(stay)))
      }
    }
  }

  /** Places nothing new and waits for outcomes; what is still open after `drainMs` is closed as unknown. */
  async close(drainMs: number): Promise<void> {
    this.#draining = true
    if (this.#book.size > 0) {
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((done) => {
        this.#emptied = done
        timer = setTimeout(done, drainMs)
      })
      clearTimeout(timer)
    }
    clearInterval(this.#sweeper)
    for (const stay of this.#book.stays()) {
      this.#parts.count('placement never settled')
      this.#end(stay, unknownOutcome('shutdown', this.#elapsedMs(stay)))
    }
  }

  #tryOut(asking: Asking): Placed {
    const { call, matched, options } = this.#read(asking)
    const preview = refusing(() => this.#parts.router.preview(call, options))
    const placed = placedBy({ ...preview, instance: preview.placement.instance }, matched)
    return { placementId: null, attempt: 1, ...placed, weighed: weighedBy(preview) }
  }

  #enter(asking: Asking): Stay {
    const { request } = asking
    const { call, matched, options } = this.#read(asking)
    const abandon = new Abandon()
    const stay: Stay = {
      id: formatId(call.callId),
      key: request.key,
      arrivedMs: options.arrivedMs,
      abandon,
      matched,
      waiting: { kind: 'held' },
      attempt: 1,
      askedMs: options.arrivedMs,
    }
    this.#book.enter(stay)
    this.#parts.router.place(call, asked(options, abandon)).then(
      (ticket) => {
        stay.waiting = { kind: 'placed', ticket }
        // Given up while it was held, and placed all the same.
        if (abandon.isGiven) ticket.settle(leftOutcome(this.#elapsedMs(stay)))
      },
      (error: unknown) => {
        stay.waiting = { kind: 'refused', error: error instanceof Error ? error : new Error(String(error)) }
      },
    )
    return stay
  }

  #read(asking: Asking): {
    readonly call: Call
    readonly matched: Matched | undefined
    readonly options: PlaceOptions & { arrivedMs: number }
  } {
    const { clock, directory, nextCallId, textFeatures, readText } = this.#parts
    const { request, bytes, keyName } = asking
    const arrivedMs = clock.nowMs()
    const matched = request.candidates && directory.match(request.candidates)
    if (matched?.known.length === 0) throw noKnownCandidate(matched.unknown)
    const reading = readText ? { textFeatures, readText } : { textFeatures }
    const asked = { request, bytes, callId: nextCallId(), arrivedUnixMs: clock.nowUnixMs(), ...reading, keyName }
    const call = this.#served(understandCall(asked), matched)
    const subset = matched && { subset: matched.endpoints }
    // LiteLLM goes on with its list where nothing is picked from it.
    const insists = matched && request.client === 'litellm' ? { insists: true as const } : {}
    return { call, matched, options: { gateway: request.client ?? 'api', arrivedMs, unwatched: true, ...subset, ...insists } }
  }

  /** A gateway may know the model under another name: the candidates then tell which pool is meant. */
  #served(call: Call, matched: Matched | undefined): Call {
    const { router } = this.#parts
    if (!matched) return call
    const pool = router.poolFor(call.model)?.name
    const [first] = matched.known
    if (!first || matched.known.some((one) => one.instance.pool === pool)) return call
    const model = router.models().find((one) => one.pool === first.instance.pool)?.id
    return model === undefined ? call : { ...call, model }
  }

  /** A further attempt that the gateway makes in any case. */
  #again(stay: Stay, request: PlaceRequest): Placed | Held {
    const { waiting } = stay
    if (waiting.kind !== 'placed' || !request.failure) return this.#answer(stay)
    const failure = failureOf(request.failure)
    const matched = request.candidates && this.#parts.directory.match(request.candidates)
    const next =
      matched?.known.length === 0
        ? undefined
        : waiting.ticket.retry(failure, { insists: true, ...(matched ? { subset: matched.endpoints } : {}) })
    if (!next) {
      this.#end(stay, outcomeOf({ kind: 'instance error', failure: request.failure }, this.#elapsedMs(stay)))
      throw noKnownCandidate(matched?.unknown ?? [])
    }
    stay.attempt++
    stay.matched = matched ?? stay.matched
    return this.#answer(stay)
  }

  #answer(stay: Stay): Placed | Held {
    stay.askedMs = this.#parts.clock.nowMs()
    const { waiting } = stay
    if (waiting.kind === 'held') return { held: true, placementId: stay.id, retryAfterMs: ASK_AGAIN_MS }
    if (waiting.kind === 'refused') {
      this.#leaveBook(stay)
      throw waiting.error instanceof PlacementError ? refusedPlacement(waiting.error) : waiting.error
    }
    return { placementId: stay.id, attempt: stay.attempt, ...placedBy(waiting.ticket, stay.matched) }
  }

  #isServedBy(stay: Stay, named: string): boolean {
    if (stay.waiting.kind !== 'placed') return true
    const found = stay.matched?.known.find((one) => one.id === named)?.instance ?? this.#parts.directory.find(named)
    return found !== undefined && stay.waiting.ticket.servedBy(found.endpoint)
  }

  #end(stay: Stay, outcome: Outcome): void {
    if (!this.#leaveBook(stay)) return
    if (stay.waiting.kind === 'placed') stay.waiting.ticket.settle(outcome)
    else stay.abandon.give()
  }

  #leaveBook(stay: Stay): boolean {
    const left = this.#book.leave(stay)
    if (this.#book.size === 0) this.#emptied?.()
    return left
  }

  #elapsedMs(stay: Stay): number {
    return this.#parts.clock.nowMs() - stay.arrivedMs
  }
}

/** The signal is made where the router looks at it: calls that are placed at once never wait for it. */
function asked(options: PlaceOptions, abandon: Abandon): PlaceOptions {
  return {
    ...options,
    get signal() {
      return abandon.signal
    },
  }
}

/** The router places most calls at once, but by promise; what is not placed after one turn of the event loop is held. */
async function turn(stay: Stay): Promise<void> {
  for (let i = 0; i < MICROTURNS && stay.waiting.kind === 'held'; i++) await undefined
  if (stay.waiting.kind === 'held') await new Promise((resolve) => setImmediate(resolve))
}

/** Promises between the router's decision and ours. */
const MICROTURNS = 4
