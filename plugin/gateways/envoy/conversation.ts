import {
  type Destination,
  type FromEnvoy,
  FULL_DUPLEX_STREAMED,
  type HeaderBag,
  type MetadataContext,
  type SetHeader,
  type Side,
  type ToEnvoy,
} from './messages.ts'

/**
 * What is said on one ext_proc stream, and in which order (Endpoint Picker Protocol v1.0.0): pure, messages in, messages out. Placement and
 * metering are asked of others: a call is placed when its body is whole, when trailers end it, or when it is too large to be kept.
 */

/** Most bytes of a body in one message back: Envoy's own limit for a chunk is 64 KiB, with room for the frame (reference picker: 62,000). */
export const CHUNK_BYTES = 62_000

/** The response on its way: what goes on to the caller comes out. */
export interface ResponseMeter {
  head(headers: HeaderBag, metadata: MetadataContext | undefined): void
  /** Takes the next bytes; gives those that may go on now. */
  take(bytes: Buffer): Buffer
  /** The response is whole: gives what was still kept. */
  end(): Buffer
}

export interface ConversationParts {
  /** Request bodies up to this size are read whole before the call is placed. */
  readonly bodyBytesMax: number
  /** Responses that are no stream are answered whole up to this size, then chunk by chunk. */
  readonly answerBytesMax: number
  readonly meter: ResponseMeter
  /** Headers to set on the response, asked when its head comes. */
  readonly marks: () => readonly SetHeader[]
}

/** What is known of a call when it is to be placed. */
export interface Arrived {
  readonly headers: HeaderBag
  readonly metadata: MetadataContext | undefined
  /** Undefined where the call has none, or none that we are shown. */
  readonly body: Buffer | undefined
  /** How the request ended; undefined where more of the body is to come, beyond what we keep. */
  readonly ended: RequestEnd | undefined
}

/** What carried the end of the request. */
export type RequestEnd = 'headers' | 'body' | 'trailers'

/** What to do now: send these messages; and where `place` is there, place the call and then call `placed`. */
export interface Step {
  readonly send: readonly ToEnvoy[]
  readonly place?: Arrived
  /** Everything was said on both sides. */
  readonly over?: true
}

export type Verdict =
  | { readonly kind: 'go'; readonly destination: Destination; readonly setHeaders: readonly SetHeader[]; readonly body?: Buffer }
  | {
      readonly kind: 'refuse'
      readonly status: number
      readonly headers: readonly SetHeader[]
      readonly body: string
      readonly details: string
    }

const NOTHING: Step = { send: [] }

/** Invariant: the request's messages are answered once, header before body before trailers; nothing is said after `over` or a refusal. */
export class Conversation {
  readonly #parts: ConversationParts
  #headers: HeaderBag = {}
  #metadata: MetadataContext | undefined
  #chunks: Buffer[] = []
  #bytes = 0
  #request: 'begins' | 'gathering' | 'placing' | 'through' | 'done' = 'begins'
  /** How the request ended; undefined while it goes on. */
  #requestEnd: RequestEnd | undefined
  #response: 'waiting' | 'streaming' | 'gathering' | 'done' = 'waiting'
  #answer: Buffer[] = []
  #answerBytes = 0
  /** Body messages are answered with bytes only in full duplex. */
  #requestDuplex = true
  #responseDuplex = true
  #refused = false

  constructor(parts: ConversationParts) {
    this.#parts = parts
  }

  get placing(): boolean {
    return this.#request === 'placing'
  }
  /** The response came to its end. */
  get answered(): boolean {
    return this.#response === 'done'
  }
  /** The response has begun. */
  get answering(): boolean {
    return this.#response !== 'waiting'
  }

  receive(message: FromEnvoy): Step {
    if (this.#refused) return NOTHING
    switch (message.kind) {
      case 'headers':
        return message.side === 'request' ? this.#onRequestHeaders(message) : this.#onResponseHeaders(message)
      case 'body':
        return message.side === 'request' ? this.#onRequestBody(message) : this.#onResponseBody(message)
      case 'trailers':
        return message.side === 'request' ? this.#onRequestTrailers() : this.#onResponseTrailers()
      case 'unknown':
        return NOTHING
    }
  }

  /** The answer to a step's `place`. */
  placed(verdict: Verdict): Step {
    if (this.#request !== 'placing') return NOTHING
    if (verdict.kind === 'refuse') {
      this.#refused = true
      const { status, headers, body, details } = verdict
      return { send: [{ kind: 'immediate', status, headers, body, details }] }
    }
    const { destination, setHeaders } = verdict
    const send: ToEnvoy[] = [{ kind: 'headers', side: 'request', setHeaders, destination }]
    this.#request = this.#requestEnd ? 'done' : 'through'
    if (this.#requestDuplex) this.#giveBody(send, verdict.body)
    if (this.#requestEnd === 'trailers') send.push({ kind: 'trailers', side: 'request' })
    return { send }
  }

  #onRequestHeaders(message: FromEnvoy & { readonly kind: 'headers' }): Step {
    if (this.#request !== 'begins') return NOTHING
    this.#headers = message.headers
    this.#metadata = message.metadata
    if (message.protocol) {
      this.#requestDuplex = message.protocol.requestBodyMode === FULL_DUPLEX_STREAMED
      this.#responseDuplex = message.protocol.responseBodyMode === FULL_DUPLEX_STREAMED
    }
    if (message.endOfStream) {
      this.#requestEnd = 'headers'
      return this.#place(undefined)
    }
    // In any other mode the body comes after our answer to the headers, or never.
    if (!this.#requestDuplex) return this.#place(undefined)
    this.#request = 'gathering'
    return NOTHING
  }

  #onRequestBody({ body, endOfStream }: FromEnvoy & { readonly kind: 'body' }): Step {
    // Envoy 1.35 and later may end a stream twice.
    if (this.#requestEnd || this.#request === 'begins') return this.#requestDuplex ? NOTHING : { send: [{ kind: 'seen', side: 'request' }] }
    if (endOfStream) this.#requestEnd = 'body'
    if (!this.#requestDuplex) {
      this.#endThrough()
      return { send: [{ kind: 'seen', side: 'request' }] }
    }
    if (this.#request === 'through') {
      this.#endThrough()
      return { send: inChunks('request', body, endOfStream) }
    }
    if (body.length > 0) this.#chunks.push(body)
    this.#bytes += body.length
    if (this.#request === 'placing') return NOTHING
    if (endOfStream) return this.#place(this.#gathered())
    return this.#bytes > this.#parts.bodyBytesMax ? this.#place(this.#gathered()) : NOTHING
  }

  #onRequestTrailers(): Step {
    if (this.#requestEnd === 'trailers') return NOTHING
    const began = this.#request
    this.#requestEnd = 'trailers'
    if (began === 'gathering') return this.#place(this.#gathered())
    if (began === 'placing') return NOTHING
    this.#request = 'done'
    return { send: [{ kind: 'trailers', side: 'request' }] }
  }

  #endThrough(): void {
    if (this.#requestEnd && this.#request === 'through') this.#request = 'done'
  }

  #place(body: Buffer | undefined): Step {
    this.#request = 'placing'
    return { send: [], place: { headers: this.#headers, metadata: this.#metadata, body, ended: this.#requestEnd } }
  }

  /** What came so far, as one buffer. */
  #gathered(): Buffer {
    const body = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks)
    this.#chunks = [body]
    return body
  }

  /** The body as it came, or `changed` in its place, in chunks; end of stream only where the body itself ended the request. */
  #giveBody(send: ToEnvoy[], changed: Buffer | undefined): void {
    const body = changed ?? this.#gathered()
    this.#chunks = []
    const ended = this.#requestEnd === 'body'
    if (this.#requestEnd === 'headers' || (body.length === 0 && !ended)) return
    send.push(...inChunks('request', body, ended))
  }

  #onResponseHeaders(message: FromEnvoy & { readonly kind: 'headers' }): Step {
    if (this.#response !== 'waiting') return NOTHING
    this.#parts.meter.head(message.headers, message.metadata)
    const head: ToEnvoy = { kind: 'headers', side: 'response', setHeaders: this.#parts.marks() }
    if (message.endOfStream) {
      this.#parts.meter.end()
      return this.#over([head])
    }
    this.#response = isAnsweredWhole(message.headers) && this.#responseDuplex ? 'gathering' : 'streaming'
    return { send: [head] }
  }

  #onResponseBody({ body, endOfStream }: FromEnvoy & { readonly kind: 'body' }): Step {
    if (this.#response === 'waiting' || this.#response === 'done') return NOTHING
    const out = this.#metered(body, endOfStream)
    if (!this.#responseDuplex) {
      const seen: ToEnvoy[] = [{ kind: 'seen', side: 'response' }]
      return endOfStream ? this.#over(seen) : { send: seen }
    }
    if (this.#response === 'gathering') {
      this.#answer.push(out)
      this.#answerBytes += out.length
      if (!endOfStream && this.#answerBytes <= this.#parts.answerBytesMax) return NOTHING
      this.#response = 'streaming'
      const send = inChunks('response', this.#takeAnswer(), endOfStream)
      return endOfStream ? this.#over(send) : { send }
    }
    if (endOfStream) return this.#over(inChunks('response', out, true))
    return out.length === 0 ? NOTHING : { send: inChunks('response', out, false) }
  }

  #metered(body: Buffer, endOfStream: boolean): Buffer {
    const out = body.length > 0 ? this.#parts.meter.take(body) : body
    if (!endOfStream) return out
    const rest = this.#parts.meter.end()
    return rest.length === 0 ? out : Buffer.concat([out, rest])
  }

  #takeAnswer(): Buffer {
    const answer = this.#answer.length === 1 ? (this.#answer[0] as Buffer) : Buffer.concat(this.#answer)
    this.#answer = []
    return answer
  }

  #onResponseTrailers(): Step {
    if (this.#response === 'done') return { send: [{ kind: 'trailers', side: 'response' }] }
    const send: ToEnvoy[] = []
    if (this.#response !== 'waiting') {
      const rest = this.#parts.meter.end()
      const body = Buffer.concat([this.#takeAnswer(), rest])
      if (this.#responseDuplex && body.length > 0) send.push(...inChunks('response', body, false))
    }
    send.push({ kind: 'trailers', side: 'response' })
    return this.#over(send)
  }

  #over(send: readonly ToEnvoy[]): Step {
    this.#response = 'done'
    return this.#request === 'done' ? { send, over: true } : { send }
  }
}

/** Streams go through chunk by chunk, and so does what is encoded and cannot be read. */
function isAnsweredWhole(headers: HeaderBag): boolean {
  const encoding = headers['content-encoding']
  if (encoding !== undefined && encoding !== 'identity') return false
  return (headers['content-type'] ?? '').toLowerCase().includes('json')
}

/** The body in messages of at most CHUNK_BYTES, one even where it is empty; end of stream only on the last. */
export function inChunks(side: Side, body: Buffer, endOfStream: boolean): ToEnvoy[] {
  if (body.length <= CHUNK_BYTES) return [{ kind: 'body', side, body, endOfStream }]
  const messages: ToEnvoy[] = []
  for (let at = 0; at < body.length; at += CHUNK_BYTES) {
    const end = Math.min(at + CHUNK_BYTES, body.length)
    messages.push({ kind: 'body', side, body: body.subarray(at, end), endOfStream: endOfStream && end === body.length })
  }
  return messages
}
