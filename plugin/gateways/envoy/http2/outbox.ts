import { FRAME_HEADER_BYTES } from './frames.ts'

interface Pending {
  readonly type: number
  readonly flags: number
  readonly streamId: number
  readonly payload: Buffer
}

/** Frames to be written, gathered so that all that one turn of the event loop produces is one write. */
export class Outbox {
  #frames: Pending[] = []
  #bytes = 0

  get empty(): boolean {
    return this.#bytes === 0
  }

  add(type: number, flags: number, streamId: number, payload: Buffer): void {
    this.#frames.push({ type, flags, streamId, payload })
    this.#bytes += FRAME_HEADER_BYTES + payload.length
  }

  /** Everything gathered, as one buffer; nothing is left. */
  take(): Buffer {
    const bytes = Buffer.allocUnsafe(this.#bytes)
    let at = 0
    for (const { type, flags, streamId, payload } of this.#frames) {
      const length = payload.length
      bytes[at] = length >>> 16
      bytes[at + 1] = (length >>> 8) & 0xff
      bytes[at + 2] = length & 0xff
      bytes[at + 3] = type
      bytes[at + 4] = flags
      bytes[at + 5] = streamId >>> 24
      bytes[at + 6] = (streamId >>> 16) & 0xff
      bytes[at + 7] = (streamId >>> 8) & 0xff
      bytes[at + 8] = streamId & 0xff
      at += FRAME_HEADER_BYTES
      payload.copy(bytes, at)
      at += length
    }
    this.#frames = []
    this.#bytes = 0
    return bytes
  }
}
