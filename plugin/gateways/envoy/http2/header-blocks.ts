import { ConnectionError, ERROR, FLAG, FRAME, type Frame, unpadded } from './frames.ts'
import { type HeaderList, HpackReader } from './hpack.ts'

/** Headers of one request, or its trailers. */
export interface HeaderBlock {
  readonly streamId: number
  readonly endStream: boolean
  readonly headers: HeaderList
}

interface Unfinished {
  readonly streamId: number
  readonly endStream: boolean
  readonly bytes: Buffer
}

/** Puts HEADERS and its CONTINUATIONs together. Invariant: nothing else comes between them. */
export class HeaderBlocks {
  readonly #bytesMax: number
  readonly #hpack: HpackReader
  #unfinished: Unfinished | undefined

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
    this.#hpack = new HpackReader(bytesMax)
  }

  /** Throws ConnectionError where this frame may not come now. */
  check(frame: Frame): void {
    if (this.#unfinished && (frame.type !== FRAME.continuation || frame.streamId !== this.#unfinished.streamId))
      throw new ConnectionError('a header block is not finished', ERROR.protocol)
  }

  /** Takes a HEADERS or CONTINUATION frame; gives the block when it is whole. Throws ConnectionError, or HpackError. */
  take(frame: Frame): HeaderBlock | undefined {
    const block = frame.type === FRAME.headers ? begin(frame) : this.#goOn(frame)
    this.#unfinished = frame.flags & FLAG.endHeaders ? undefined : block
    if (this.#unfinished) return undefined
    return { streamId: block.streamId, endStream: block.endStream, headers: this.#hpack.read(block.bytes) }
  }

  #goOn(frame: Frame): Unfinished {
    if (!this.#unfinished) throw new ConnectionError('CONTINUATION without HEADERS', ERROR.protocol)
    const bytes = Buffer.concat([this.#unfinished.bytes, frame.payload])
    if (bytes.length > this.#bytesMax) throw new ConnectionError('the headers are too large', ERROR.enhanceYourCalm)
    return { ...this.#unfinished, bytes }
  }
}

function begin(frame: Frame): Unfinished {
  const { streamId, flags, payload } = frame
  if (streamId % 2 === 0) throw new ConnectionError('a stream of a client has an odd number', ERROR.protocol)
  const bytes = unpadded(frame)
  const at = flags & FLAG.padded ? 1 : 0
  if (flags & FLAG.priority && (payload.readUInt32BE(at) & 0x7fffffff) === streamId)
    throw new ConnectionError('a stream depends on itself', ERROR.protocol)
  return { streamId, endStream: (flags & FLAG.endStream) !== 0, bytes }
}
