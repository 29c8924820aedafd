import type { Api } from '../call/call.ts'
import { BodyPath } from './body-path.ts'
import { EventPath } from './event-path.ts'
import type { Outcome, OutcomeKind } from './outcome.ts'
import type { Verdict } from './path.ts'
import { emptyReading, type Failure, failureOfStatus, type Reading } from './reading.ts'

export type { Verdict }

/** What the meter must know of the call. */
export interface MeterParts {
  readonly api: Api
  /** Answers the call asks for in all (RequestShape.answers). */
  readonly answers: number
  /** The stream's usage chunk was asked for by us, not by the caller: it is taken out again. */
  readonly stripUsage: boolean
  /** The call's arrival, monotonic ms. */
  readonly arrivedMs: number
}

/** The head of the instance's response. */
export interface ResponseHead {
  readonly status: number
  readonly contentType?: string | undefined
  readonly contentEncoding?: string | undefined
}

/** What is left to forward at the end, and how the call ended. */
export interface MeterEnd {
  readonly bytes: Buffer
  readonly outcome: Outcome
}

const NOTHING = Buffer.alloc(0)

/** A meter for one attempt on one instance. */
export function createMeter(parts: MeterParts): StreamMeter {
  return new StreamMeter(parts)
}

/**
 * Measures one response on its way through: each chunk goes in, what is to be forwarded comes out, mostly the same Buffer. Bytes are
 * changed only to take out the usage that we asked in. Until the response is judged (`verdict`) nothing comes out, so that an instance that fails
 * before its first token can be replaced without the caller noticing: on 'bad', and on an instance error at `end` while the verdict was not
 * 'good', either try elsewhere with a new meter, or give the caller what `release` (`end`) returns.
 * The outcome can be had once, by `end` or by `failed`; asking again throws.
 */
export class StreamMeter {
  readonly #parts: MeterParts
  readonly #reading: Reading = emptyReading()
  #status: number | undefined
  #events: EventPath | undefined
  #body: BodyPath | undefined
  #over = false

  constructor(parts: MeterParts) {
    this.#parts = parts
  }

  /** Whether what came so far may go to the caller; 'undecided' before the head came. */
  get verdict(): Verdict {
    if (this.#status === undefined) return 'undecided'
    return (this.#events ?? this.#body)?.verdict ?? 'good'
  }

  /** Why the verdict is 'bad', as in Outcome.error. */
  get failure(): string | undefined {
    return this.#reading.failure?.error
  }

  /** Monotonic ms of the first event with output; undefined before it, and for what is not streamed. */
  get firstTokenMs(): number | undefined {
    return this.#events?.firstTokenMs
  }

  /** Output tokens so far: as usage tells where it tells more than the events counted. */
  get outputTokens(): number {
    return Math.max(this.#reading.chunks, this.#reading.outputTokens ?? 0)
  }

  /** Stream events too long to be read, passed through. */
  get overlongEvents(): number {
    return this.#events?.overlong ?? 0
  }

  /** The response's head came. Anything but 2xx, encoded bodies and unknown types pass untouched and are timed only. */
  head(head: ResponseHead): void {
    this.#status = head.status
    const type = head.contentType?.toLowerCase() ?? ''
    const encoding = head.contentEncoding?.toLowerCase() ?? 'identity'
    if (failureOfStatus(head.status) || encoding !== 'identity') return
    const { api, stripUsage } = this.#parts
    if (type.startsWith('text/event-stream')) this.#events = new EventPath({ api, stripUsage, reading: this.#reading })
    else if (type.includes('json')) this.#body = new BodyPath({ api, reading: this.#reading })
  }

  /** The next bytes of the response; returns what to forward now, possibly nothing, the same Buffer where nothing is changed. */
  chunk(bytes: Buffer, nowMs: number): Buffer {
    if (this.#events) return this.#events.push(bytes, nowMs)
    return this.#body ? this.#body.push(bytes) : bytes
  }

  /** Gives out all that is held, whatever the verdict; from here on bytes flow. */
  release(): Buffer {
    return (this.#events ?? this.#body)?.release() ?? NOTHING
  }

  /** The response is over as HTTP tells it: what is left to forward, and the outcome. */
  end(nowMs: number): MeterEnd {
    const bytes = this.#events ? this.#events.end(nowMs) : (this.#body?.end() ?? NOTHING)
    return { bytes, outcome: this.#outcome(this.#failureAtEnd(), nowMs) }
  }

  /**
   * The response will not go on: the connection broke, the caller left, time ran out. Where the stream told its own end before, that
   * counts instead: callers hang up at `[DONE]`, and an engine that died says so first.
   */
  failed(failure: { readonly kind: Exclude<OutcomeKind, 'completed'>; readonly error: string }, nowMs: number): Outcome {
    const isTold = this.#events !== undefined && (this.#isFinished() || this.#reading.failure !== undefined)
    return this.#outcome(isTold ? this.#failureAtEnd() : failure, nowMs)
  }

  #failureAtEnd(): Failure | undefined {
    const cutShort: Failure = { kind: 'instance error', error: 'cut short' }
    if (this.#status === undefined) return cutShort
    const failure = failureOfStatus(this.#status) ?? this.#reading.failure
    if (failure) return failure
    if (this.#events && !this.#isFinished()) return cutShort
    return this.#body && !this.#body.whole ? cutShort : undefined
  }

  /** Every answer told its end, or the stream told its own after some output. */
  #isFinished(): boolean {
    const { finished, done, chunks } = this.#reading
    return finished >= this.#parts.answers || (done && (finished > 0 || chunks > 0))
  }

  #outcome(failure: { readonly kind: OutcomeKind; readonly error: string } | undefined, nowMs: number): Outcome {
    if (this.#over) throw new Error('the outcome of this attempt was already given')
    this.#over = true
    const { promptTokens, cachedPromptTokens, finishReason, lengthCut } = this.#reading
    return {
      kind: failure?.kind ?? 'completed',
      ...(this.#status === undefined ? {} : { status: this.#status }),
      ...(failure ? { error: failure.error } : {}),
      ...this.#times(),
      e2eMs: nowMs - this.#parts.arrivedMs,
      ...(promptTokens === undefined ? {} : { promptTokens }),
      ...(cachedPromptTokens === undefined ? {} : { cachedPromptTokens }),
      ...this.#tokens(),
      censored: failure !== undefined || lengthCut,
      ...(finishReason === undefined ? {} : { finishReason }),
    }
  }

  #tokens(): Pick<Outcome, 'outputTokens' | 'tokensFrom'> {
    const { outputTokens, chunks } = this.#reading
    if (outputTokens !== undefined) return { outputTokens, tokensFrom: 'usage' }
    return chunks > 0 ? { outputTokens: chunks, tokensFrom: 'chunks' } : {}
  }

  /** TTFT, and TPOT = (last token − first token) / (n − 1), n tokens per answer; a burst in one event has no TPOT. */
  #times(): Pick<Outcome, 'ttftMs' | 'tpotMs'> {
    const firstMs = this.#events?.firstTokenMs
    if (firstMs === undefined) return {}
    const ttftMs = firstMs - this.#parts.arrivedMs
    const steps = (this.#tokens().outputTokens ?? 0) / this.#parts.answers - 1
    if (!(steps > 0) || this.#reading.chunks < 2) return { ttftMs }
    return { ttftMs, tpotMs: ((this.#events?.lastTokenMs ?? firstMs) - firstMs) / steps }
  }
}
