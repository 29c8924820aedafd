import type { Api } from '../call/call.ts'
import { type EventSign, readStreamEvent } from './events.ts'
import type { Path, Verdict } from './path.ts'
import { HOLD_BYTES_MAX } from './path.ts'
import type { Reading } from './reading.ts'
import { type SseEvent, SseFramer } from './sse.ts'
import { withoutNullUsage } from './strip.ts'

const NOTHING = Buffer.alloc(0)

/**
 * The way of a stream's bytes: held until the first telling event, then passed as they come. Only where usage is stripped does an event wait
 * for its last byte, because what it is decides whether it goes out.
 */
export class EventPath implements Path {
  readonly #api: Api
  readonly #strips: boolean
  readonly #reading: Reading
  readonly #framer = new SseFramer((event) => this.#take(event))
  #verdict: Verdict = 'undecided'
  #held: Buffer[] = []
  #heldBytes = 0
  /** Events of the chunk at hand, as they are to go out; kept only where usage is stripped. */
  #out: Buffer[] = []
  #edited = false
  #droppedLast = false
  #nowMs = 0
  #firstTokenMs: number | undefined
  #lastTokenMs: number | undefined

  constructor(parts: { readonly api: Api; readonly stripUsage: boolean; readonly reading: Reading }) {
    this.#api = parts.api
    this.#strips = parts.stripUsage
    this.#reading = parts.reading
  }

  get verdict(): Verdict {
    return this.#verdict
  }

  /** Monotonic ms of the first event with output. */
  get firstTokenMs(): number | undefined {
    return this.#firstTokenMs
  }

  /** Monotonic ms of the latest event with output. */
  get lastTokenMs(): number | undefined {
    return this.#lastTokenMs
  }

  /** Events too long to be read. */
  get overlong(): number {
    return this.#framer.overlong
  }

  push(bytes: Buffer, nowMs: number): Buffer {
    this.#nowMs = nowMs
    const wasWhole = this.#framer.pendingBytes === 0
    this.#edited = false
    this.#framer.push(bytes)
    const isWhole = wasWhole && this.#framer.pendingBytes === 0 && !this.#edited
    return this.#pass(this.#strips && !isWhole ? joined(this.#out) : bytes)
  }

  release(): Buffer {
    this.#verdict = 'good'
    return this.#drain()
  }

  end(nowMs: number): Buffer {
    this.#nowMs = nowMs
    this.#out = []
    this.#framer.end()
    const rest = this.#strips ? joined(this.#out) : NOTHING
    return this.#held.length === 0 ? rest : joined([this.#drain(), rest])
  }

  #pass(ready: Buffer): Buffer {
    this.#out = []
    if (this.#verdict === 'good' && this.#held.length === 0) return ready
    this.#held.push(ready)
    this.#heldBytes += ready.length
    if (this.#heldBytes > HOLD_BYTES_MAX) this.#verdict = 'good'
    return this.#verdict === 'good' ? this.#drain() : NOTHING
  }

  #drain(): Buffer {
    const bytes = joined(this.#held)
    this.#held = []
    this.#heldBytes = 0
    return bytes
  }

  #take(event: SseEvent): void {
    if (event.kind !== 'event') {
      this.#takeUnread(event)
      return
    }
    const sign = readStreamEvent(this.#api, event, this.#reading)
    if (sign === 'content') {
      this.#firstTokenMs ??= this.#nowMs
      this.#lastTokenMs = this.#nowMs
    }
    if (this.#verdict === 'undecided') this.#verdict = this.#judge(sign)
    if (this.#strips) this.#strip(event, sign)
  }

  /** Bytes that nobody can judge flow on; the second half of a dropped event's CRLF goes where the event went. */
  #takeUnread(event: SseEvent): void {
    if (event.kind === 'piece' && this.#verdict === 'undecided') this.#verdict = 'good'
    if (!this.#strips) return
    if (event.kind === 'line end' && this.#droppedLast) this.#edited = true
    else this.#out.push(event.raw)
    this.#droppedLast = false
  }

  #judge(sign: EventSign): Verdict {
    const { failure, finished, chunks } = this.#reading
    if (failure) return failure.kind === 'instance error' ? 'bad' : 'good'
    // An end mark alone, with nothing before it, is no answer: held to the end, it is judged as cut short.
    if (sign === 'end') return finished > 0 || chunks > 0 ? 'good' : 'undecided'
    return sign === 'opening' ? 'undecided' : 'good'
  }

  #strip(event: SseEvent, sign: EventSign): void {
    this.#droppedLast = sign === 'usage'
    const bytes = sign === 'usage' ? undefined : withoutNullUsage(event)
    if (bytes !== event.raw) this.#edited = true
    if (bytes) this.#out.push(bytes)
  }
}

function joined(parts: readonly Buffer[]): Buffer {
  const [only] = parts
  return parts.length === 1 && only ? only : Buffer.concat(parts)
}
