import type { IncomingHttpHeaders } from 'node:http'
import type { Dispatcher } from 'undici'
import type { Outcome } from '../../outcome/outcome.ts'
import type { AttemptFailure } from '../../router.ts'
import { failureOf, isConnectTimeout, refusalOf } from './failures.ts'
import type { Metering } from './metering.ts'
import type { Reply } from './reply.ts'

/** The exchange as its current attempt sees it. */
export interface AttemptOwner {
  readonly reply: Reply
  nowMs(): number
  /** Before any byte of the answer left: true when another attempt takes over, and this one is to be forgotten. */
  retried(failure: AttemptFailure): boolean
  /** The answer's head is to go out now. */
  begin(attempt: Attempt): void
  /** Chunks came: a sign of life. */
  produced(attempt: Attempt, nowMs: number): void
  /** The answer is complete and sent. */
  ended(outcome: Outcome): void
  /** The attempt broke; what was sent of its answer is not all. */
  broke(failure: AttemptFailure, timedOut: boolean): void
}

/** A refusal's body is read to its end up to this size, which keeps the connection; a larger one costs the connection. */
const DISCARDED_BYTES_MAX = 16_384
/** And for so long. */
const DISCARDED_MS_MAX = 1_000

const DROPPED = new Error('not needed any more')

/**
 * One try at one instance: undici's handler. Invariant: nothing reaches the caller before `begun`, and until then the attempt can be given
 * up in favour of another. What may go out when is the meter's verdict.
 */
export class Attempt implements Dispatcher.DispatchHandler {
  readonly #owner: AttemptOwner
  readonly meter: Metering
  readonly startedMs: number
  #controller: Dispatcher.DispatchController | undefined
  #dropped = false
  #discarding: NodeJS.Timeout | undefined
  #discardedBytes = 0
  #begun = false
  #resume: (() => void) | undefined
  status = 0
  headers: IncomingHttpHeaders = {}
  /** When the last chunk came; NaN before the first. */
  lastChunkMs = Number.NaN

  constructor(owner: AttemptOwner, meter: Metering) {
    this.#owner = owner
    this.meter = meter
    this.startedMs = owner.nowMs()
  }

  get begun(): boolean {
    return this.#begun
  }
  get isStream(): boolean {
    return this.headers['content-type']?.startsWith('text/event-stream') ?? false
  }

  /** Ends the attempt: the instance sees its connection close. Idempotent. */
  abort(): void {
    this.#dropped = true
    this.#controller?.abort(DROPPED)
  }

  /** Lets through what is kept back, whatever the verdict. */
  begin(): void {
    if (this.#begun || this.#dropped || this.status === 0) return
    const kept = this.meter.release()
    this.#open()
    if (kept.length > 0) this.#send(kept)
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#dropped) controller.abort(DROPPED)
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (this.#dropped || status < 200) return
    this.#controller = controller
    this.status = status
    this.headers = headers
    const refusal = refusalOf(status)
    if (refusal && this.#owner.retried(refusal)) {
      this.#forgetRefusal()
      return
    }
    this.meter.head({ status, contentType: headers['content-type'], contentEncoding: headers['content-encoding'] })
    if (this.meter.verdict === 'good') this.#open()
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#dropped) {
      this.#discard(controller, chunk)
      return
    }
    const nowMs = this.#owner.nowMs()
    this.lastChunkMs = nowMs
    const out = this.meter.take(chunk, nowMs)
    this.#owner.produced(this, nowMs)
    if (!this.#begun && this.#decide() !== 'begun') return
    if (out.length > 0) this.#send(out)
  }

  onResponseEnd(): void {
    clearTimeout(this.#discarding)
    if (this.#dropped) return
    const { bytes, outcome } = this.meter.end(this.#owner.nowMs())
    if (!this.#begun && outcome.kind === 'instance error' && this.#retried(outcome.error)) return
    if (!this.#begun) this.#open()
    this.#owner.reply.end(bytes)
    this.#owner.ended(outcome)
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    if (this.#dropped) return
    const failure = failureOf(error)
    if (!this.#begun && this.#owner.retried(failure)) this.#dropped = true
    else this.#owner.broke(failure, isConnectTimeout(error))
  }

  /** Nothing went out yet: go on waiting, begin, or leave it to another attempt. */
  #decide(): 'waiting' | 'begun' | 'left' {
    const { verdict, failure } = this.meter
    if (verdict === 'undecided') return 'waiting'
    if (verdict === 'bad' && this.#retried(failure)) return 'left'
    if (verdict === 'bad') this.begin()
    else this.#open()
    return 'begun'
  }

  /** The engine gave up under status 200, before its first token. */
  #retried(failure = 'engine error'): boolean {
    const aborted = failure === 'aborted'
    if (!this.#owner.retried({ kind: aborted ? 'aborted' : 'reset', status: this.status, error: failure })) return false
    this.abort()
    return true
  }

  #open(): void {
    this.#begun = true
    this.#owner.begin(this)
  }

  /** A short refusal is read to its end for its connection's sake, anything else is cut. */
  #forgetRefusal(): void {
    this.#dropped = true
    if (Number(this.headers['content-length']) <= DISCARDED_BYTES_MAX)
      this.#discarding = setTimeout(() => this.#controller?.abort(DROPPED), DISCARDED_MS_MAX).unref()
    else this.#controller?.abort(DROPPED)
  }

  #discard(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#discardedBytes += chunk.length
    if (this.#discardedBytes > DISCARDED_BYTES_MAX) controller.abort(DROPPED)
  }

  #send(chunk: Buffer): void {
    if (this.#owner.reply.write(chunk)) return
    this.#controller?.pause()
    this.#resume ??= () => this.#controller?.resume()
    this.#owner.reply.whenDrained(this.#resume)
  }
}
