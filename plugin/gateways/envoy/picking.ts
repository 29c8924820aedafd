import type { Call } from '../../call/call.ts'
import { unavailable } from '../../call/errors.ts'
import type { Outcome, OutcomeKind } from '../../outcome/outcome.ts'
import { PlacementError, type PlaceOptions, type Ticket } from '../../router.ts'
import type { CallSpan } from '../../telemetry/spans.ts'
import { marksOf } from '../openai/headers.ts'
import { makeshiftTicket } from '../openai/last-resort.ts'
import { Answering } from './answering.ts'
import { type Arrived, Conversation, type ResponseMeter, type Step, type Verdict } from './conversation.ts'
import type { Desk } from './desk.ts'
import { type DirectParts, direct } from './directing.ts'
import { DESTINATION_KEY, type FromEnvoy, type HeaderBag, type MetadataContext, type SetHeader } from './messages.ts'
import { endpointsOf, noteModes, noteServed, SEEN } from './observing.ts'
import { readSubset } from './subset.ts'
import { refusal, refusalOf, type Understood, understand } from './understanding.ts'

/** The way back to Envoy. */
export interface PickingReply {
  /** Says these; one turn's messages are one write. */
  say(step: Step): void
  /** Ends the stream without an answer: what happens then is Envoy's `failure_mode_allow`. */
  fail(message: string): void
}

/** Responses that are no stream are kept up to this size to be answered whole. */
const ANSWER_BYTES_MAX = 8_388_608
/** Told with a 503 where nobody knows better. */
const RETRY_AFTER_MS = 1_000

/**
 * One call on its ext_proc stream: placed, its answer metered, settled. Invariant: a call that got a ticket settles it exactly once,
 * whoever ends it: instance, caller, Envoy, or a fault of ours (I2).
 */
export class Picking implements ResponseMeter, PlaceOptions {
  readonly #desk: Desk
  readonly #reply: PickingReply
  readonly #conversation: Conversation
  readonly gateway = 'envoy'
  readonly arrivedMs: number
  /** Read by the router: where the gateway allows only some. */
  subset?: readonly string[]
  #abandon: AbortController | undefined
  #call: Call | undefined
  #ticket: Ticket | undefined
  #span: CallSpan | undefined
  #answering: Answering | undefined
  #stripUsage = false
  #toldFirstToken = false
  #gone = false
  #settled = false

  constructor(desk: Desk, reply: PickingReply) {
    this.#desk = desk
    this.#reply = reply
    this.arrivedMs = desk.clock.nowMs()
    this.#conversation = new Conversation({
      bodyBytesMax: desk.bodyLimitBytes,
      answerBytesMax: ANSWER_BYTES_MAX,
      meter: this,
      marks: () => this.#marks(),
    })
  }

  /** Made only where the router looks at it: most calls are placed at once. */
  get signal(): AbortSignal {
    this.#abandon ??= new AbortController()
    if (this.#gone) this.#abandon.abort()
    return this.#abandon.signal
  }

  /** The router has not answered yet. */
  get waiting(): boolean {
    return this.#conversation.placing && !this.#gone
  }

  receive(message: FromEnvoy): void {
    if (message.kind === 'headers' && message.protocol) noteModes(message.protocol, this.#desk.count)
    const step = this.#conversation.receive(message)
    if (step.send.length > 0 || step.over) this.#reply.say(step)
    if (step.place) this.#place(step.place)
  }

  /** The stream is no more. Where the answer was not complete, the caller left, or Envoy did. */
  left(): void {
    if (this.#gone) return
    this.#gone = true
    this.#abandon?.abort()
    this.#end({ kind: 'client gone', error: 'client gone' })
  }

  /** The process is going away and has waited long enough. */
  cut(): void {
    if (this.#gone) return
    this.#gone = true
    this.#abandon?.abort()
    this.#reply.fail('shutting down')
    this.#end({ kind: 'timed out', error: 'shutdown' })
  }

  /** The router did not answer within the hold limit: the call goes to any reachable instance now. */
  late(): void {
    if (!this.waiting || !this.#call) return
    this.#desk.count('hold limit reached')
    this.#abandon?.abort()
    this.#withoutRouter(this.#call, new Error('the hold limit was reached'))
  }

  head(headers: HeaderBag, metadata: MetadataContext | undefined): void {
    const { call } = this.#ticket ?? {}
    if (!call || this.#settled) return
    this.#guard(() => this.#ticket && noteServed({ ticket: this.#ticket, metadata, desk: this.#desk }))
    const { count, createMeter } = this.#desk
    this.#answering = new Answering({
      api: call.api,
      answers: call.request.answers,
      stripUsage: this.#stripUsage,
      arrivedMs: this.arrivedMs,
      count,
      ...(createMeter ? { createMeter } : {}),
    })
    this.#answering.head(headers)
  }

  take(bytes: Buffer): Buffer {
    const answering = this.#answering
    if (!answering) return bytes
    const nowMs = this.#desk.clock.nowMs()
    const out = answering.take(bytes, nowMs)
    if (!this.#settled) this.#guard(() => this.#noteProgress(answering, nowMs))
    return out
  }

  end(): Buffer {
    const ended = this.#answering?.end(this.#desk.clock.nowMs())
    if (ended) this.#settle(ended.outcome)
    return ended?.bytes ?? NOTHING
  }

  #noteProgress(answering: Answering, nowMs: number): void {
    const { firstTokenMs } = answering
    if (firstTokenMs !== undefined && !this.#toldFirstToken) {
      this.#toldFirstToken = true
      this.#ticket?.firstToken(firstTokenMs)
    }
    this.#ticket?.progress(answering.outputTokens, nowMs)
  }

  #place(arrived: Arrived): void {
    const understood = this.#guard(() => this.#understand(arrived))
    if (!understood) this.#reply.fail('the request could not be read')
    else if (understood.kind === 'refused') this.#answer(understood.verdict)
    else {
      this.#call = understood.call
      this.#ask(understood)
        .then(
          (ticket) => this.#placed(arrived, understood, ticket),
          (error: unknown) => this.#notPlaced(understood.call, error),
        )
        .catch((error: unknown) => this.#broken(error))
    }
  }

  #understand(arrived: Arrived): Understood {
    const { router, nextCallId, clock, textFeatures, readText, count } = this.#desk
    if (arrived.headers[DESTINATION_KEY] !== undefined) count(SEEN.callersDestination)
    const subset = readSubset(arrived.metadata, () => endpointsOf(this.#desk))
    if (subset) this.subset = subset
    const reading = readText ? { textFeatures, readText } : { textFeatures }
    return understand({ arrived, router, callId: nextCallId(), arrivedUnixMs: clock.nowUnixMs(), ...reading, count })
  }

  /** Asks the router; a call of no model of its own is tried with one model of each pool in turn. */
  async #ask(understood: Understood & { readonly kind: 'call' }): Promise<Ticket> {
    const { call, anyOf = [] } = understood
    const { router } = this.#desk
    for (const model of anyOf.slice(0, -1)) {
      try {
        return await router.place({ ...call, model }, this)
      } catch (error) {
        if (!(error instanceof PlacementError) || error.kind === 'client gone') throw error
      }
    }
    const last = anyOf.at(-1)
    return router.place(last === undefined ? call : { ...call, model: last }, this)
  }

  #placed(arrived: Arrived, understood: Understood & { readonly kind: 'call' }, ticket: Ticket): void {
    this.#ticket = ticket
    if (this.#gone || !this.#conversation.placing) {
      this.#end({ kind: 'client gone', error: 'client gone' })
      return
    }
    this.#guard(() => ticket.onStalled(() => this.#stalled()))
    const wanted = [ticket.instance, ...ticket.placement.fallbacks.slice(0, this.#desk.fallbacks)].map(({ url }) => url)
    const addresses = wanted.map((url) => this.#desk.addresses.known(url))
    const go = (found: readonly string[]): void => this.#go({ arrived, understood, ticket, addresses: found })
    if (addresses.every((address) => address !== undefined)) go(addresses)
    else
      Promise.all(wanted.map((url) => this.#desk.addresses.find(url)))
        .then(go, () => {
          this.#desk.count('address not found')
          this.#end({ kind: 'instance error', error: 'connect' })
          this.#answer(refusal(ticket.call.api, unavailable('The instance has no address.'), RETRY_AFTER_MS))
        })
        .catch((error: unknown) => this.#broken(error))
  }

  #go(found: Omit<DirectParts, 'desk' | 'gateway'>): void {
    if (this.#gone) return
    const directed = direct({ ...found, desk: this.#desk, gateway: this.gateway })
    this.#span = directed.span
    this.#stripUsage = directed.stripUsage
    this.#answer(directed.verdict)
  }

  #notPlaced(call: Call, error: unknown): void {
    if (this.#gone || !this.#conversation.placing) return
    if (!(error instanceof PlacementError)) {
      this.#desk.count('placing failed')
      this.#withoutRouter(call, error)
      return
    }
    if (error.kind === 'client gone') return
    this.#desk.count(`refused: ${error.kind}`)
    this.#answer(refusal(call.api, refusalOf(error, call.model), error.retryAfterMs))
  }

  /** The router threw or was late: any reachable instance, and where there is none, Envoy's own way of failing. */
  #withoutRouter(call: Call, error: unknown): void {
    const pool = this.#guard(() => this.#desk.router.poolFor(call.model))
    const instance = pool && this.#guard(() => this.#desk.anyInstance?.(call.model))
    const address = instance && this.#desk.addresses.known(instance.url)
    if (!pool || !instance || !address) {
      this.#reply.fail(`not placed: ${error instanceof Error ? error.name : 'unknown'}`)
      return
    }
    this.#ticket = makeshiftTicket({ call, pool, instance, settled: () => this.#desk.count('served without the router') })
    this.#answer({ kind: 'go', destination: { endpoints: address }, setHeaders: [[DESTINATION_KEY, address]] })
  }

  /** Something of ours threw where nothing may: the stream ends, and what happens then is Envoy's `failure_mode_allow`. */
  #broken(error: unknown): void {
    this.#desk.count(`picker failed: ${error instanceof Error ? error.name : 'unknown'}`)
    this.#reply.fail('the picker failed on this call')
    this.#end({ kind: 'instance error', error: 'gateway failure' })
  }

  #answer(verdict: Verdict): void {
    this.#reply.say(this.#conversation.placed(verdict))
  }

  /** The instance hangs. The picker can not end Envoy's request: the call is settled, and Envoy's own timeouts end it. */
  #stalled(): void {
    this.#end({ kind: 'instance error', error: 'stalled' })
  }

  #end(ending: { readonly kind: Exclude<OutcomeKind, 'completed'>; readonly error: string }): void {
    if (this.#settled || !this.#ticket) return
    const nowMs = this.#desk.clock.nowMs()
    this.#settle(this.#answering?.failed(ending, nowMs) ?? { ...ending, e2eMs: nowMs - this.arrivedMs, censored: true })
  }

  #settle(outcome: Outcome): void {
    if (this.#settled || !this.#ticket) return
    this.#settled = true
    this.#guard(() => this.#ticket?.settle(outcome))
    this.#guard(() => this.#span?.ended(outcome))
  }

  #marks(): readonly SetHeader[] {
    const ticket = this.#ticket
    if (!ticket || !this.#desk.debugHeaders) return []
    const flat = marksOf({ call: ticket.call, ticket })
    return flat.flatMap((name, i) => (i % 2 === 0 ? [[name, flat[i + 1] as string] as const] : []))
  }

  /** Books and spans may break without harm to the call; every time is counted. */
  #guard<T>(act: () => T): T | undefined {
    try {
      return act()
    } catch (error) {
      this.#desk.count(`bookkeeping failed: ${error instanceof Error ? error.name : 'unknown'}`)
      return undefined
    }
  }
}

const NOTHING = Buffer.alloc(0)
