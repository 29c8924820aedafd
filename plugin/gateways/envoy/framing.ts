/** gRPC's length-prefixed messages out of a stream of chunks cut anywhere. */

/** The peer broke gRPC's framing, or sends what is not spoken here; `code` is the gRPC status to end the stream with. */
export class FramingError extends Error {
  readonly code: number
  constructor(message: string, code: number) {
    super(message)
    this.name = 'FramingError'
    this.code = code
  }
}

const PREFIX_BYTES = 5
const UNIMPLEMENTED = 12
const RESOURCE_EXHAUSTED = 8

/** Collects chunks until a message is whole. Invariant: holds at most one unfinished message of at most `messageBytesMax`. */
export class MessageReader {
  readonly #messageBytesMax: number
  readonly #prefix = Buffer.alloc(PREFIX_BYTES)
  #prefixBytes = 0
  #message: Buffer | undefined
  #filled = 0

  constructor(messageBytesMax: number) {
    this.#messageBytesMax = messageBytesMax
  }

  /** Calls `onMessage` for each message that this chunk ends; whole ones are views into the chunk. Throws FramingError. */
  push(chunk: Buffer, onMessage: (message: Buffer) => void): void {
    let at = 0
    while (at < chunk.length) {
      if (!this.#message && this.#prefixBytes === 0 && chunk.length - at >= PREFIX_BYTES) {
        const length = this.#lengthIn(chunk, at)
        const end = at + PREFIX_BYTES + length
        if (end <= chunk.length) {
          onMessage(chunk.subarray(at + PREFIX_BYTES, end))
          at = end
          continue
        }
      }
      at = this.#collect(chunk, at, onMessage)
    }
  }

  #collect(chunk: Buffer, from: number, onMessage: (message: Buffer) => void): number {
    let at = from
    if (!this.#message) {
      const taken = Math.min(PREFIX_BYTES - this.#prefixBytes, chunk.length - at)
      chunk.copy(this.#prefix, this.#prefixBytes, at, at + taken)
      this.#prefixBytes += taken
      at += taken
      if (this.#prefixBytes < PREFIX_BYTES) return at
      this.#message = Buffer.allocUnsafe(this.#lengthIn(this.#prefix, 0))
      this.#filled = 0
    }
    const message = this.#message
    const taken = Math.min(message.length - this.#filled, chunk.length - at)
    chunk.copy(message, this.#filled, at, at + taken)
    this.#filled += taken
    if (this.#filled === message.length) {
      this.#message = undefined
      this.#prefixBytes = 0
      onMessage(message)
    }
    return at + taken
  }

  #lengthIn(bytes: Buffer, at: number): number {
    if (bytes[at] !== 0) throw new FramingError('compressed messages are not spoken here', UNIMPLEMENTED)
    const length = bytes.readUInt32BE(at + 1)
    if (length > this.#messageBytesMax)
      throw new FramingError(`a message of ${length} bytes, at most ${this.#messageBytesMax} are taken`, RESOURCE_EXHAUSTED)
    return length
  }
}
