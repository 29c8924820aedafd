import type { Api } from '../call/call.ts'
import { readBody, readTail } from './bodies.ts'
import { HOLD_BYTES_MAX, type Path, type Verdict } from './path.ts'
import type { Reading } from './reading.ts'

/** Of an answer beyond the hold bound this much of its end is kept: usage with all its details is below 1 KB. */
export const TAIL_BYTES = 4_096

const NOTHING = Buffer.alloc(0)

/**
 * The way of a JSON answer's bytes: held to the end up to the bound, because an answer aborted empty shows only as a whole; a larger one
 * flows, and its usage is read from its last bytes. Embeddings always flow: they are large and know no abort.
 */
export class BodyPath implements Path {
  readonly #api: Api
  readonly #reading: Reading
  #verdict: Verdict
  /** The whole answer so far; emptied when it outgrows the bound. */
  #kept: Buffer[] = []
  #bytes = 0
  #tail: Buffer = NOTHING
  #whole = false

  constructor(parts: { readonly api: Api; readonly reading: Reading }) {
    this.#api = parts.api
    this.#reading = parts.reading
    this.#verdict = parts.api === 'openai-embeddings' ? 'good' : 'undecided'
  }

  get verdict(): Verdict {
    return this.#verdict
  }

  /** At the end: the answer was a JSON object (of a larger one only the last bytes are looked at). */
  get whole(): boolean {
    return this.#whole
  }

  push(bytes: Buffer): Buffer {
    this.#bytes += bytes.length
    const flowed = this.#verdict === 'good'
    if (this.#bytes <= HOLD_BYTES_MAX) {
      this.#kept.push(bytes)
      return flowed ? bytes : NOTHING
    }
    this.#verdict = 'good'
    const all = this.#kept.length === 0 ? bytes : Buffer.concat([...this.#kept, bytes])
    this.#kept = []
    this.#tail = lastOf(this.#tail, all)
    return flowed ? bytes : all
  }

  release(): Buffer {
    const bytes = this.#verdict === 'good' ? NOTHING : Buffer.concat(this.#kept)
    this.#verdict = 'good'
    return bytes
  }

  end(): Buffer {
    const isLarge = this.#bytes > HOLD_BYTES_MAX
    const all = Buffer.concat(this.#kept)
    if (isLarge) {
      const text = this.#tail.toString('latin1')
      readTail(text, this.#reading)
      this.#whole = text.trimEnd().endsWith('}')
    } else this.#whole = readBody(this.#api, all.toString('utf8'), this.#reading)
    return this.#verdict === 'good' ? NOTHING : all
  }
}

/** A copy, so that a few bytes do not keep a whole socket buffer alive. */
function lastOf(tail: Buffer, bytes: Buffer): Buffer {
  if (bytes.length >= TAIL_BYTES) return Buffer.from(bytes.subarray(bytes.length - TAIL_BYTES))
  const both = Buffer.concat([tail, bytes])
  return both.subarray(Math.max(0, both.length - TAIL_BYTES))
}
