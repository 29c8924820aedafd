import { DESTINATION_KEY, type Destination, LB_NAMESPACE, SCORES_KEY, type SetHeader, type ToEnvoy } from './messages.ts'

/**
 * Writes envoy.service.ext_proc.v3.ProcessingResponse in gRPC's length-prefixed framing, a whole group of messages at once. Bytes are laid down from the last to the first: when a message's length is due, it is known.
 */

/** Room for tags, lengths and the gRPC prefix of one message, and for each of its headers or metadata entries. */
const MESSAGE_ROOM = 64
const ENTRY_ROOM = 48
/** gRPC: one byte "compressed", four bytes of length. */
const PREFIX_BYTES = 5

const VARINT = 0
const FIXED64 = 1
const BYTES = 2

/** Bodies from this size on are handed on as they are; copying costs less than a piece of its own below. */
const SHARED_BYTES = 4_096

/**
 * Bytes filled from the end, with bodies of others between them. Invariant: everything in [#at, #bytes.length) and in the pieces is written,
 * `length` bytes in all.
 */
class Backward {
  readonly #bytes: Buffer
  #at: number
  /** Where the piece that is being written ends. */
  #pieceEnd: number
  readonly #pieces: Buffer[] = []
  #sharedBytes = 0

  constructor(room: number) {
    this.#bytes = Buffer.allocUnsafe(room)
    this.#at = room
    this.#pieceEnd = room
  }

  get length(): number {
    return this.#bytes.length - this.#at + this.#sharedBytes
  }

  /** What was written, from the first piece to the last. */
  take(): Buffer[] {
    this.#cut()
    return this.#pieces.reverse()
  }

  /** Puts tag and length before what was written since `length` was `before`. */
  close(field: number, before: number): void {
    this.#varint(this.length - before)
    this.#varint(field * 8 + BYTES)
  }

  buffer(field: number, value: Buffer): void {
    if (value.length >= SHARED_BYTES) {
      this.#cut()
      this.#pieces.push(value)
      this.#sharedBytes += value.length
    } else {
      this.#at -= value.length
      value.copy(this.#bytes, this.#at)
    }
    this.#varint(value.length)
    this.#varint(field * 8 + BYTES)
  }

  text(field: number, value: string): void {
    const length = Buffer.byteLength(value)
    this.#at -= length
    this.#bytes.write(value, this.#at)
    this.#varint(length)
    this.#varint(field * 8 + BYTES)
  }

  number(field: number, value: number): void {
    this.#varint(value)
    this.#varint(field * 8 + VARINT)
  }

  double(field: number, value: number): void {
    this.#at -= 8
    this.#bytes.writeDoubleLE(value, this.#at)
    this.#varint(field * 8 + FIXED64)
  }

  /** The gRPC prefix of the message written since `length` was `before`. */
  prefix(before: number): void {
    const length = this.length - before
    this.#at -= PREFIX_BYTES
    this.#bytes[this.#at] = 0
    this.#bytes.writeUInt32BE(length, this.#at + 1)
  }

  #cut(): void {
    if (this.#at < this.#pieceEnd) this.#pieces.push(this.#bytes.subarray(this.#at, this.#pieceEnd))
    this.#pieceEnd = this.#at
  }

  #varint(value: number): void {
    let size = 1
    for (let rest = value >>> 7; rest > 0; rest >>>= 7) size++
    this.#at -= size
    let at = this.#at
    let rest = value
    while (rest > 0x7f) {
      this.#bytes[at++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    this.#bytes[at] = rest
  }
}

/** The messages in order, each with its gRPC prefix, in pieces of which large ones are the bodies themselves. */
export function writeToEnvoy(messages: readonly ToEnvoy[]): readonly Buffer[] {
  let room = 0
  for (const message of messages) room += roomFor(message)
  const out = new Backward(room)
  for (let i = messages.length - 1; i >= 0; i--) {
    const before = out.length
    writeMessage(out, messages[i] as ToEnvoy)
    out.prefix(before)
  }
  return out.take()
}

/** HealthCheckResponse (status 1) with its gRPC prefix. */
export function writeHealth(status: number): Buffer {
  const out = new Backward(MESSAGE_ROOM)
  if (status !== 0) out.number(1, status)
  out.prefix(0)
  return Buffer.concat(out.take())
}

function roomFor(message: ToEnvoy): number {
  switch (message.kind) {
    case 'body':
      return MESSAGE_ROOM + (message.body.length < SHARED_BYTES ? message.body.length : 0)
    case 'seen':
    case 'trailers':
      return MESSAGE_ROOM
    case 'immediate':
      return MESSAGE_ROOM + 3 * (message.body.length + message.details.length) + roomForHeaders(message.headers)
    case 'headers': {
      const { setHeaders, removeHeaders = [], destination } = message
      let room = MESSAGE_ROOM + roomForHeaders(setHeaders)
      for (const name of removeHeaders) room += ENTRY_ROOM + 3 * name.length
      if (!destination) return room
      room += 4 * ENTRY_ROOM + 3 * destination.endpoints.length
      for (const endpoint of Object.keys(destination.scores ?? {})) room += ENTRY_ROOM + 3 * endpoint.length
      return room + DESTINATION_KEY.length + LB_NAMESPACE.length + SCORES_KEY.length
    }
  }
}

function roomForHeaders(headers: readonly SetHeader[]): number {
  let room = 0
  for (const [name, value] of headers) room += ENTRY_ROOM + 3 * (name.length + value.length)
  return room
}

function writeMessage(out: Backward, message: ToEnvoy): void {
  const end = out.length
  switch (message.kind) {
    case 'headers':
      if (message.destination) writeMetadata(out, message.destination)
      writeHeaders(out, message)
      return
    case 'body': {
      // BodyResponse { response 1: CommonResponse { body_mutation 3: { streamed_response 3: { body 1, end_of_stream 2 } } } }
      if (message.endOfStream) out.number(2, 1)
      if (message.body.length > 0) out.buffer(1, message.body)
      out.close(3, end)
      out.close(3, end)
      out.close(1, end)
      out.close(message.side === 'request' ? 3 : 4, end)
      return
    }
    case 'seen':
      out.close(message.side === 'request' ? 3 : 4, end)
      return
    case 'trailers':
      out.close(message.side === 'request' ? 5 : 6, end)
      return
    case 'immediate':
      // ImmediateResponse { status 1: { code 1 }, headers 2, body 3, details 5 }
      if (message.details !== '') out.text(5, message.details)
      if (message.body !== '') out.text(3, message.body)
      writeMutation(out, { field: 2, set: message.headers, remove: [] })
      writeStatus(out, message.status)
      out.close(7, end)
  }
}

function writeStatus(out: Backward, status: number): void {
  const end = out.length
  out.number(1, status)
  out.close(1, end)
}

/** HeadersResponse { response 1: CommonResponse { header_mutation 2, clear_route_cache 5 } } */
function writeHeaders(out: Backward, message: ToEnvoy & { readonly kind: 'headers' }): void {
  const end = out.length
  // The route may depend on the destination header that was just set.
  if (message.destination) out.number(5, 1)
  writeMutation(out, { field: 2, set: message.setHeaders, remove: message.removeHeaders ?? [] })
  if (out.length !== end) out.close(1, end)
  out.close(message.side === 'request' ? 1 : 2, end)
}

/** HeaderValueOption.append_action OVERWRITE_IF_EXISTS_OR_ADD: what a caller sent under the same name is gone. */
const OVERWRITE_OR_ADD = 2

interface Mutation {
  readonly field: number
  readonly set: readonly SetHeader[]
  readonly remove: readonly string[]
}

/** HeaderMutation { set_headers 1: { header 1: { key 1, raw_value 3 }, append_action 3 }, remove_headers 2 } */
function writeMutation(out: Backward, { field, set, remove }: Mutation): void {
  if (set.length === 0 && remove.length === 0) return
  const end = out.length
  for (let i = remove.length - 1; i >= 0; i--) out.text(2, remove[i] as string)
  for (let i = set.length - 1; i >= 0; i--) {
    const [name, value] = set[i] as SetHeader
    const option = out.length
    out.number(3, OVERWRITE_OR_ADD)
    const header = out.length
    out.text(3, value)
    out.text(1, name)
    out.close(1, header)
    out.close(1, option)
  }
  out.close(field, end)
}

/** dynamic_metadata 8: Struct { "envoy.lb": { destination: text, scores: { endpoint: number } } } */
function writeMetadata(out: Backward, destination: Destination): void {
  const end = out.length
  writeEntry(out, LB_NAMESPACE, () => {
    const value = out.length
    const scores = destination.scores
    if (scores) writeEntry(out, SCORES_KEY, () => writeScores(out, scores))
    writeEntry(out, DESTINATION_KEY, () => out.text(3, destination.endpoints))
    out.close(5, value)
  })
  out.close(8, end)
}

function writeScores(out: Backward, scores: Readonly<Record<string, number>>): void {
  const end = out.length
  for (const [endpoint, score] of Object.entries(scores)) writeEntry(out, endpoint, () => out.double(2, score))
  out.close(5, end)
}

/** Struct.fields 1: { key 1, value 2: Value } */
function writeEntry(out: Backward, key: string, writeValue: () => void): void {
  const end = out.length
  writeValue()
  out.close(2, end)
  out.text(1, key)
  out.close(1, end)
}
