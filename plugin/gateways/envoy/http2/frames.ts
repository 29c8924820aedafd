/** HTTP/2's frames (RFC 9113, section 6): the numbers, and cutting a connection's bytes into frames. */

export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goAway: 7,
  window: 8,
  continuation: 9,
} as const

export const FLAG = { endStream: 0x1, ack: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const

export const SETTING = { tableBytes: 1, push: 2, streamsMax: 3, windowBytes: 4, frameBytesMax: 5, listBytesMax: 6 } as const

/** Error codes (RFC 9113, section 7). */
export const ERROR = {
  none: 0,
  protocol: 1,
  internal: 2,
  flowControl: 3,
  streamClosed: 5,
  frameSize: 6,
  refusedStream: 7,
  cancel: 8,
  compression: 9,
  enhanceYourCalm: 11,
} as const

export const FRAME_HEADER_BYTES = 9

/** A client begins with this. */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')

/** The connection must end; `code` is told to the peer. */
export class ConnectionError extends Error {
  readonly code: number
  constructor(message: string, code: number) {
    super(message)
    this.name = 'ConnectionError'
    this.code = code
  }
}

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly streamId: number
  /** A view into what was pushed; valid during the call only where the bytes are not kept by others. */
  readonly payload: Buffer
}

/** Cuts bytes into frames. Invariant: what is kept is the beginning of one frame, at most `frameBytesMax` and its header. */
export class FrameReader {
  readonly #frameBytesMax: number
  readonly #head = Buffer.alloc(FRAME_HEADER_BYTES)
  #headBytes = 0
  #payload: Buffer | undefined
  #payloadBytes = 0
  #prefaceBytes = 0

  constructor(frameBytesMax: number) {
    this.#frameBytesMax = frameBytesMax
  }

  /** Calls `onFrame` for each frame that this chunk ends; whole ones are views into it. Throws ConnectionError. */
  push(chunk: Buffer, onFrame: (frame: Frame) => void): void {
    let at = this.#prefaceBytes < PREFACE.length ? this.#readPreface(chunk) : 0
    if (this.#headBytes > 0) at = this.#complete(chunk, at, onFrame)
    while (chunk.length - at >= FRAME_HEADER_BYTES) {
      const start = at + FRAME_HEADER_BYTES
      const end = start + this.#lengthIn(chunk, at)
      if (end > chunk.length) break
      onFrame(frameOf(chunk, at, chunk.subarray(start, end)))
      at = end
    }
    if (at < chunk.length) this.#complete(chunk, at, onFrame)
  }

  /** Goes on with, or begins, a frame that is not whole in this chunk; returns where the chunk goes on. */
  #complete(chunk: Buffer, from: number, onFrame: (frame: Frame) => void): number {
    let at = from
    if (!this.#payload) {
      const taken = chunk.copy(this.#head, this.#headBytes, at)
      this.#headBytes += taken
      at += taken
      if (this.#headBytes < FRAME_HEADER_BYTES) return at
      this.#payload = Buffer.allocUnsafe(this.#lengthIn(this.#head, 0))
      this.#payloadBytes = 0
    }
    const taken = chunk.copy(this.#payload, this.#payloadBytes, at)
    this.#payloadBytes += taken
    at += taken
    if (this.#payloadBytes < this.#payload.length) return at
    const frame = frameOf(this.#head, 0, this.#payload)
    this.#payload = undefined
    this.#headBytes = 0
    onFrame(frame)
    return at
  }

  #lengthIn(bytes: Buffer, at: number): number {
    const length = ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number)
    if (length > this.#frameBytesMax) throw new ConnectionError(`a frame of ${length} bytes`, ERROR.frameSize)
    return length
  }

  #readPreface(chunk: Buffer): number {
    const from = this.#prefaceBytes
    const length = Math.min(PREFACE.length - from, chunk.length)
    if (!chunk.subarray(0, length).equals(PREFACE.subarray(from, from + length)))
      throw new ConnectionError('this is not HTTP/2', ERROR.protocol)
    this.#prefaceBytes += length
    return length
  }
}

function frameOf(bytes: Buffer, at: number, payload: Buffer): Frame {
  return {
    type: bytes[at + 3] as number,
    flags: bytes[at + 4] as number,
    streamId: bytes.readUInt32BE(at + 5) & 0x7fffffff,
    payload,
  }
}

/** Payload without padding and, for HEADERS, without priority. Throws ConnectionError where the padding is longer than the frame. */
export function unpadded({ type, flags, payload }: Frame): Buffer {
  let start = 0
  let end = payload.length
  if (flags & FLAG.padded) {
    start = 1
    end -= payload[0] ?? 0
  }
  if (type === FRAME.headers && flags & FLAG.priority) start += 5
  if (start > end) throw new ConnectionError('a frame has more padding than payload', ERROR.protocol)
  return start === 0 && end === payload.length ? payload : payload.subarray(start, end)
}
