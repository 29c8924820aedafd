import { type ErrorParts, instanceFailed, timedOut, unavailable } from '../../call/errors.ts'
import type { Outcome } from '../../outcome/outcome.ts'
import { type AttemptFailure, type InstanceView, PlacementError, type PlaceOptions, type Ticket } from '../../router.ts'
import type { CallSpan } from '../../telemetry/spans.ts'
import type { Arrival } from './arrival.ts'
import { Attempt, type AttemptOwner } from './attempt.ts'
import type { Watched } from './deadlines.ts'
import type { Door } from './door.ts'
import { callerHeaders, instanceHeaders, marksOf, traceIn } from './headers.ts'
import { makeshiftTicket } from './last-resort.ts'
import { type Ending, Metering } from './metering.ts'
import { prepareBody } from './prepare-body.ts'
import { RETRY_AFTER_MS, Reply, refusalOf } from './reply.ts'

/** A stream's opening frames are kept back for the first token, but not for ever: proxies in between cut silent connections at 30 or 60 s. */
const KEPT_BACK_MS_MAX = 15_000

/**
 * One call from its arrival to its end: placed, tried on one instance after another until a byte is out, relayed, settled. Invariant:
 * a call that got a ticket settles it exactly once, whoever ends it: instance, caller, clock or a fault of ours (I2).
 */
export class Exchange implements AttemptOwner, Watched, PlaceOptions {
  seat = -1
  readonly #door: Door
  readonly #arrival: Arrival
  readonly reply: Reply
  readonly gateway = 'openai'
  #abandon: AbortController | undefined
  #ticket: Ticket | undefined
  #attempt: Attempt | undefined
  #span: CallSpan | undefined
  #headers: string[] = []
  #body: Buffer
  #stripUsage = false
  #toldFirstToken = false
  /** Until then the caller did not read; the instance's silence counts from there. */
  #waitedForCallerMs = Number.NEGATIVE_INFINITY
  /** Set when the call ended before it had a ticket: how to settle it then. */
  #endedEarly: Ending | undefined
  #over = false

  constructor(door: Door, arrival: Arrival, body: Buffer) {
    this.#door = door
    this.#arrival = arrival
    this.#body = body
    this.reply = new Reply({ response: arrival.response, api: arrival.call.api, requestId: arrival.requestId })
  }

  get arrivedMs(): number {
    return this.#arrival.arrivedMs
  }

  /** Made only where the router looks at it: most calls are placed at once. */
  get signal(): AbortSignal {
    this.#abandon ??= new AbortController()
    if (this.#over) this.#abandon.abort()
    return this.#abandon.signal
  }

  nowMs(): number {
    return this.#door.clock.nowMs()
  }

  start(): void {
    this.#door.enter(this, this.#arrival.request.socket)
    this.#place()
      .then(
        (ticket) => this.#placed(ticket),
        (error: unknown) => this.#notPlaced(error),
      )
      .catch((error: unknown) => this.#broken(error))
  }

  /** Also what is thrown before there is a promise is a rejection. */
  async #place(): Promise<Ticket> {
    return this.#door.router.place(this.#arrival.call, this)
  }

  /** The caller is gone: whatever runs for them stops now. */
  left(): void {
    this.#end({ kind: 'client gone', error: 'client gone' })
  }

  /** Looks at the deadlines. */
  check(nowMs: number): void {
    const { totalMs, firstByteMs, idleMs } = this.#door.timeouts
    const attempt = this.#attempt
    if (nowMs - this.arrivedMs > totalMs) this.#late('total', `The call took longer than ${totalMs} ms.`)
    else if (!attempt) return
    else if (Number.isNaN(attempt.lastChunkMs)) {
      if (nowMs - attempt.startedMs > firstByteMs) this.#late('first byte', `The instance sent nothing for ${firstByteMs} ms.`)
    } else if (this.reply.waiting) {
      this.#waitedForCallerMs = nowMs
      this.#alive(attempt, nowMs)
    } else if (nowMs - Math.max(attempt.lastChunkMs, this.#waitedForCallerMs) > idleMs)
      this.#late('idle', `The instance fell silent for ${idleMs} ms.`)
    else if (!attempt.begun && attempt.isStream && nowMs - attempt.startedMs > KEPT_BACK_MS_MAX) attempt.begin()
  }

  /** The process is going away and has waited long enough. */
  cut(): void {
    this.#tell(unavailable('The gateway is shutting down.'), RETRY_AFTER_MS)
    this.#end({ kind: 'timed out', error: 'shutdown' })
  }

  #placed(ticket: Ticket): void {
    this.#ticket = ticket
    if (this.#endedEarly) {
      this.#settle(this.#outcomeOf(this.#endedEarly))
      return
    }
    const { request, call, fields, requestId } = this.#arrival
    const { pool, enginePriority } = ticket
    const prepared = prepareBody({ body: this.#body, fields, call, pool, enginePriority, count: this.#door.count })
    this.#body = prepared.body
    this.#stripUsage = prepared.stripUsage
    const trace = traceIn(request.headers)
    this.#span = this.#guard(() => this.#door.startCall?.({ ...trace, call, gateway: this.gateway, pool: ticket.pool.name }))
    this.#guard(() => this.#span?.placed(ticket.placement, ticket.instance))
    this.#headers = instanceHeaders({
      headers: request.headers,
      requestId,
      trace: this.#span?.headers ?? trace,
      virtual: ticket.pool.virtual,
    })
    this.#try(ticket.instance)
  }

  #notPlaced(error: unknown): void {
    if (error instanceof PlacementError) {
      this.#refuse(error)
      return
    }
    const { call } = this.#arrival
    this.#door.count('placing failed')
    const pool = this.#door.router.poolFor(call.model)
    const instance = pool && this.#door.anyInstance?.(call.model)
    const settled = (): void => this.#door.count('served without the router')
    if (pool && instance) this.#placed(makeshiftTicket({ call, pool, instance, settled }))
    else this.#broken(error)
  }

  #refuse(error: PlacementError): void {
    this.#leave()
    if (this.#over) return
    this.#over = true
    this.#door.count(`refused: ${error.kind}`)
    this.reply.fail({ ...refusalOf(error, this.#arrival.call.model), marks: this.#marks(), isStream: false })
  }

  #try(instance: InstanceView): void {
    const door = this.#door
    const { call, arrivedMs } = this.#arrival
    const meter = new Metering({
      api: call.api,
      answers: call.request.answers,
      stripUsage: this.#stripUsage,
      arrivedMs,
      count: door.count,
      ...(door.createMeter ? { createMeter: door.createMeter } : {}),
    })
    const attempt = new Attempt(this, meter)
    this.#attempt = attempt
    this.#toldFirstToken = false
    this.#guard(() => this.#ticket?.onStalled(() => this.#stalled(attempt)))
    try {
      door.dispatch(instance.url, { path: this.#arrival.request.url ?? '/', headers: this.#headers, body: this.#body }, attempt)
    } catch (error) {
      attempt.onResponseError(null, Object.assign(new Error('no connection', { cause: error }), { syscall: 'connect' }))
    }
  }

  retried(failure: AttemptFailure): boolean {
    if (this.#over) return true
    const next = this.#guard(() => this.#ticket?.retry(failure))
    if (!next) return false
    this.#attempt = undefined
    this.#guard(() => this.#span?.retried(next, failure.error))
    this.#try(next)
    return true
  }

  begin(attempt: Attempt): void {
    const { headers, status } = attempt
    const own = ['x-request-id', this.#arrival.requestId, ...this.#marks()]
    if (status === 503 && headers['retry-after'] === undefined) own.push('retry-after', String(RETRY_AFTER_MS / 1_000))
    if (!this.#door.accepting()) own.push('connection', 'close')
    // Nothing of the request is sent a second time from here on: its bytes are free.
    this.#body = Buffer.alloc(0)
    this.reply.begin(status, callerHeaders({ headers, own, keepLength: !(this.#stripUsage && attempt.isStream) }))
  }

  produced(attempt: Attempt, nowMs: number): void {
    const { firstTokenMs } = attempt.meter
    // Comments before the first token come from the server in front of the engine, and from a hung one's too.
    if (firstTokenMs === undefined && attempt.isStream) return
    if (firstTokenMs !== undefined && !this.#toldFirstToken) {
      this.#toldFirstToken = true
      this.#guard(() => this.#ticket?.firstToken(firstTokenMs))
    }
    this.#alive(attempt, nowMs)
  }

  #alive(attempt: Attempt, nowMs: number): void {
    this.#guard(() => this.#ticket?.progress(attempt.meter.outputTokens, nowMs))
  }

  ended(outcome: Outcome): void {
    this.#leave()
    if (this.#over) return
    this.#over = true
    this.#settle(outcome)
  }

  broke(failure: AttemptFailure, timedOutConnecting: boolean): void {
    if (timedOutConnecting) {
      this.#late('connect', 'No instance accepted the connection in time.')
      return
    }
    this.#tell(instanceFailed(`The instance failed before the answer was complete (${failure.kind}).`))
    this.#end({ kind: 'instance error', error: failure.error })
  }

  /** The instance hangs. A caller who does not read is no sign of that. */
  #stalled(attempt: Attempt): void {
    if (this.#over || attempt !== this.#attempt || this.reply.waiting) return
    attempt.abort()
    if (!attempt.begun && this.retried({ kind: 'stalled', error: 'stalled' })) return
    this.#tell(instanceFailed('The instance stopped answering.'))
    this.#end({ kind: 'instance error', error: 'stalled' })
  }

  #late(what: string, message: string): void {
    this.#tell(timedOut(message))
    this.#end({ kind: 'timed out', error: `timed out: ${what}` })
  }

  /** Something of ours threw where nothing may. The call has lost; the process has not. */
  #broken(error: unknown): void {
    this.#door.count(`proxy failed: ${error instanceof Error ? error.name : 'unknown'}`)
    if (this.#over) return
    this.#tell(unavailable('The gateway failed on this call.'), RETRY_AFTER_MS)
    this.#end({ kind: 'instance error', error: 'gateway failure' })
  }

  /** Tells the caller that there will be no (further) answer, in whatever way is left. */
  #tell(error: ErrorParts, retryAfterMs?: number): void {
    if (this.#over) return
    const attempt = this.#attempt
    attempt?.abort()
    this.reply.fail({ error, retryAfterMs, marks: this.#marks(), isStream: attempt?.isStream ?? false })
  }

  #end(ending: Ending): void {
    this.#leave()
    if (this.#over) return
    this.#over = true
    this.#attempt?.abort()
    this.#abandon?.abort()
    if (this.#ticket) this.#settle(this.#outcomeOf(ending))
    else this.#endedEarly = ending
  }

  #outcomeOf(ending: Ending): Outcome {
    const nowMs = this.nowMs()
    return this.#attempt?.meter.failed(ending, nowMs) ?? { ...ending, e2eMs: nowMs - this.arrivedMs, censored: true }
  }

  #settle(outcome: Outcome): void {
    this.#guard(() => this.#ticket?.settle(outcome))
    this.#guard(() => this.#span?.ended(outcome))
  }

  #leave(): void {
    this.#door.leave(this, this.#arrival.request.socket)
  }

  #marks(): string[] {
    return marksOf({ call: this.#arrival.call, ticket: this.#door.debugHeaders ? this.#ticket : undefined })
  }

  /** Books and spans may break without harm to the call; every time is counted. */
  #guard<T>(act: () => T): T | undefined {
    try {
      return act()
    } catch (error) {
      this.#door.count(`bookkeeping failed: ${error instanceof Error ? error.name : 'unknown'}`)
      return undefined
    }
  }
}
