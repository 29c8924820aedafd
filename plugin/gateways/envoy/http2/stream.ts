import { RESPONSE_BLOCK, trailersBlock } from './blocks.ts'
import { FLAG, FRAME } from './frames.ts'
import type { HeaderList } from './hpack.ts'

/** What a method does with one stream. None of these may throw. */
export interface StreamHandler {
  /** Bytes of the peer's, a view that may be kept. */
  onData(bytes: Buffer): void
  /** The peer has said all. */
  onEnd(): void
  /** The stream is no more: reset, or the connection lost. Told once, and not after our own end. */
  onGone(): void
}

/** The way back to the peer, for a method. Calls after the end do nothing. */
export interface Reply {
  send(bytes: Buffer): void
  /** Ends the stream with gRPC's trailers. */
  end(grpcStatus: number, message?: string): void
  /** Ends the stream with one header block, where it is no gRPC stream at all. */
  refuse(block: Buffer): void
}

/** Opens a stream: the method's handler for what comes on it. */
export type Accept = (headers: HeaderList, reply: Reply) => StreamHandler

export interface StreamParts {
  readonly id: number
  /** Bytes that the peer may send before we give credit. */
  readonly windowBytes: number
  readonly peer: () => { readonly windowBytes: number; readonly frameBytesMax: number }
  readonly send: (type: number, flags: number, payload: Buffer) => void
  /** Takes up to that many bytes of the connection's window; where fewer were left, the stream is called again by `pump`. */
  readonly takeWindow: (bytes: number) => number
  /** Our end was written. */
  readonly ended: () => void
  readonly reset: (code: number) => void
}

/** While this much waits for the peer to read, it gets no credit to send more on the stream. */
const BACKLOG_BYTES_MAX = 1_048_576

/** One stream. Invariant: frames go out in order, never more than the windows allow; after the end nothing goes out. */
export class Http2Stream implements Reply {
  readonly #parts: StreamParts
  readonly #backlog: Buffer[] = []
  #backlogBytes = 0
  #handler: StreamHandler | undefined
  #responded = false
  #trailers: Buffer | undefined
  #localEnded = false
  #remoteEnded = false
  #gone = false
  #windowBytes: number
  #takenBytes = 0
  #creditBytes: number

  constructor(parts: StreamParts) {
    this.#parts = parts
    this.#windowBytes = parts.peer().windowBytes
    this.#creditBytes = parts.windowBytes
  }

  get id(): number {
    return this.#parts.id
  }
  get localEnded(): boolean {
    return this.#localEnded
  }
  get remoteEnded(): boolean {
    return this.#remoteEnded
  }

  begin(accept: Accept, headers: HeaderList): void {
    this.#handler = accept(headers, this)
  }

  /** The peer may send that much: counts it against the window it was given. */
  takes(bytes: number): boolean {
    this.#creditBytes -= bytes
    return this.#creditBytes >= 0
  }

  data(bytes: Buffer, frameBytes: number): void {
    this.#takenBytes += frameBytes
    if (this.#trailers) return
    if (bytes.length > 0) this.#handler?.onData(bytes)
    this.#credit()
  }

  endRemote(): void {
    this.#remoteEnded = true
    if (!this.#trailers) this.#handler?.onEnd()
  }

  gone(): void {
    if (this.#gone) return
    this.#gone = true
    const told = this.#trailers !== undefined
    this.#backlog.length = 0
    if (!told) this.#handler?.onGone()
  }

  /** More of the peer's window; false where it is wider than a window can be. */
  widen(bytes: number): boolean {
    this.#windowBytes += bytes
    if (this.#windowBytes > 0x7fffffff) return false
    if (this.#windowBytes > 0) this.pump()
    return true
  }

  send(bytes: Buffer): void {
    if (this.#gone || this.#trailers) return
    this.#respond()
    this.#backlog.push(bytes)
    this.#backlogBytes += bytes.length
    this.pump()
  }

  end(grpcStatus: number, message = ''): void {
    if (this.#gone || this.#trailers) return
    this.#respond()
    this.#trailers = trailersBlock(grpcStatus, message)
    this.pump()
  }

  refuse(block: Buffer): void {
    if (this.#gone || this.#trailers) return
    this.#responded = true
    this.#trailers = block
    this.pump()
  }

  /** Writes what the windows allow. */
  pump(): void {
    if (this.#gone || this.#localEnded) return
    while (this.#backlog.length > 0) {
      const bytes = this.#backlog[0] as Buffer
      const wanted = Math.min(bytes.length, this.#windowBytes, this.#parts.peer().frameBytesMax)
      if (wanted <= 0) return
      const length = this.#parts.takeWindow(wanted)
      if (length === 0) return
      this.#windowBytes -= length
      this.#backlogBytes -= length
      this.#parts.send(FRAME.data, 0, length === bytes.length ? bytes : bytes.subarray(0, length))
      if (length === bytes.length) this.#backlog.shift()
      else this.#backlog[0] = bytes.subarray(length)
    }
    this.#credit()
    if (!this.#trailers) return
    this.#localEnded = true
    this.#parts.send(FRAME.headers, FLAG.endHeaders | FLAG.endStream, this.#trailers)
    this.#parts.ended()
  }

  #respond(): void {
    if (this.#responded) return
    this.#responded = true
    this.#parts.send(FRAME.headers, FLAG.endHeaders, RESPONSE_BLOCK)
  }

  /** Lets the peer send on, half a window at a time; not while it leaves our own bytes unread. */
  #credit(): void {
    if (this.#remoteEnded || this.#takenBytes < this.#parts.windowBytes / 2 || this.#backlogBytes > BACKLOG_BYTES_MAX) return
    const credit = Buffer.allocUnsafe(4)
    credit.writeUInt32BE(this.#takenBytes, 0)
    this.#parts.send(FRAME.window, 0, credit)
    this.#creditBytes += this.#takenBytes
    this.#takenBytes = 0
  }
}
