import { FRAME_HEADER_BYTES } from './frames.ts'

interface Pending {
  readonly type: number
  readonly flags: number
  readonly streamId: number
  readonly payload: Buffer
}

/** Payloads from this size on are written as they are; below, a copy costs less than a piece of its own. */
const SHARED_BYTES = 4_096

/** Frames to be written, gathered so that all that one turn of the event loop produces is one write. */
export class Outbox {
  #frames: Pending[] = []
  /** Bytes of frame headers and of payloads that are to be copied. */
  #ownBytes = 0

  get empty(): boolean {
    return this.#frames.length === 0
  }

  add(type: number, flags: number, streamId: number, payload: Buffer): void {
    this.#frames.push({ type, flags, streamId, payload })
    this.#ownBytes += FRAME_HEADER_BYTES + (payload.length < SHARED_BYTES ? payload.length : 0)
  }

  /** Everything gathered, in order, in as few pieces as large payloads allow; nothing is left. */
  take(): readonly Buffer[] {
    const pieces: Buffer[] = []
    const own = Buffer.allocUnsafe(this.#ownBytes)
    let at = 0
    let from = 0
    for (const { type, flags, streamId, payload } of this.#frames) {
      writeHeader(own, at, { type, flags, streamId, length: payload.length })
      at += FRAME_HEADER_BYTES
      if (payload.length < SHARED_BYTES) {
        payload.copy(own, at)
        at += payload.length
      } else {
        pieces.push(own.subarray(from, at), payload)
        from = at
      }
    }
    if (from < at) pieces.push(own.subarray(from, at))
    this.#frames = []
    this.#ownBytes = 0
    return pieces
  }
}

function writeHeader(
  bytes: Buffer,
  at: number,
  { type, flags, streamId, length }: { readonly type: number; readonly flags: number; readonly streamId: number; readonly length: number },
): void {
  bytes[at] = length >>> 16
  bytes[at + 1] = (length >>> 8) & 0xff
  bytes[at + 2] = length & 0xff
  bytes[at + 3] = type
  bytes[at + 4] = flags
  bytes[at + 5] = streamId >>> 24
  bytes[at + 6] = (streamId >>> 16) & 0xff
  bytes[at + 7] = (streamId >>> 8) & 0xff
  bytes[at + 8] = streamId & 0xff
}
