/**
 * Server-sent events (WHATWG HTML, 9.2) cut out of a byte stream with their raw bytes, which is why this is no library: a parser gives text,
 * and a gateway must forward the very bytes it got, or drop single events. Bytes may arrive split anywhere, inside a UTF-8
 * sequence or a CRLF too; all raw bytes given out, laid end to end, are the bytes put in.
 */

/** Larger events than this exist in no API we meter (a whole response repeated at its end is below); beyond it bytes pass unread. */
export const EVENT_BYTES_MAX = 1_048_576

export interface SseEvent {
  /**
   * 'event': up to and with its blank line, or what stood at the stream's end without one. 'line end': the LF of a CRLF whose CR
   * ended the event before. 'piece': part of an over-long event, unread.
   */
  readonly kind: 'event' | 'line end' | 'piece'
  readonly raw: Buffer
  /** The `event` field; empty where there is none. */
  readonly name: string
  /** The `data` lines joined by LF, as latin1 text (one character per byte: enough for ASCII structure); undefined where there are none. */
  readonly data: string | undefined
  /** Where `data` stands in `raw`; -1 where it is not one piece of it. */
  readonly dataAt: number
}

const LF = 0x0a
const CR = 0x0d
const BYTE_ORDER_MARK = '\u00ef\u00bb\u00bf'

/** Cuts one stream; `take` gets each event as soon as its last byte is there. */
export class SseFramer {
  readonly #take: (event: SseEvent) => void
  /** Bytes of the event under way, from earlier chunks. */
  #parts: Buffer[] = []
  #partBytes = 0
  #lineBytes = 0
  #afterCr = false
  #passing = false
  #first = true
  #overlong = 0

  constructor(take: (event: SseEvent) => void) {
    this.#take = take
  }

  /** Bytes of the event under way that were not given out yet. */
  get pendingBytes(): number {
    return this.#partBytes
  }

  /** Events beyond the bound, passed unread. */
  get overlong(): number {
    return this.#overlong
  }

  /** Takes in the next bytes of the stream. The buffer is kept until its last event is complete: it must not be changed. */
  push(chunk: Buffer): void {
    let start = 0
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i]
      if (byte !== LF && byte !== CR) {
        this.#lineBytes++
        this.#afterCr = false
        continue
      }
      const pairsWithCr = byte === LF && this.#afterCr
      this.#afterCr = byte === CR
      if (pairsWithCr) {
        if (i > 0 || this.#partBytes > 0 || this.#passing) continue
        this.#take({ kind: 'line end', raw: chunk.subarray(0, 1), name: '', data: undefined, dataAt: -1 })
        start = 1
        continue
      }
      if (this.#lineBytes > 0) {
        this.#lineBytes = 0
        continue
      }
      if (byte === CR && chunk[i + 1] === LF) {
        i++
        this.#afterCr = false
      }
      this.#close(start === 0 && i + 1 === chunk.length ? chunk : chunk.subarray(start, i + 1))
      start = i + 1
    }
    if (start < chunk.length) this.#keep(start === 0 ? chunk : chunk.subarray(start))
  }

  /** The stream is over: gives out what stands there without a blank line. */
  end(): void {
    if (this.#partBytes > 0) this.#close(Buffer.alloc(0))
  }

  #keep(rest: Buffer): void {
    if (!this.#passing && this.#partBytes + rest.length > EVENT_BYTES_MAX) {
      this.#passing = true
      this.#overlong++
    }
    this.#parts.push(rest)
    this.#partBytes += rest.length
    if (this.#passing) this.#give('piece')
  }

  #close(last: Buffer): void {
    if (last.length > 0) {
      this.#parts.push(last)
      this.#partBytes += last.length
    }
    const wasPassing = this.#passing
    this.#passing = false
    this.#give(wasPassing ? 'piece' : 'event')
    this.#lineBytes = 0
  }

  #give(kind: 'event' | 'piece'): void {
    const [only] = this.#parts
    const raw = this.#parts.length === 1 && only ? only : Buffer.concat(this.#parts, this.#partBytes)
    this.#parts = []
    this.#partBytes = 0
    const isFirst = this.#first
    this.#first = false
    this.#take(kind === 'event' ? readEvent(raw, isFirst) : { kind, raw, name: '', data: undefined, dataAt: -1 })
  }
}

/** The event in its raw bytes; the stream's first may begin with a byte order mark. */
function readEvent(raw: Buffer, isFirst: boolean): SseEvent {
  const sent = raw.toString('latin1')
  const markBytes = isFirst && sent.startsWith(BYTE_ORDER_MARK) ? BYTE_ORDER_MARK.length : 0
  const text = sent.includes('\r') ? sent.replace(/\r\n?/g, '\n') : sent
  let name = ''
  let data: string | undefined
  let dataAt = -1
  for (let at = markBytes; at < text.length; ) {
    const newline = text.indexOf('\n', at)
    const end = newline < 0 ? text.length : newline
    if (text.startsWith('data', at) && isFieldEnd(text, at + 4, end)) {
      const value = valueStart(text, at + 4, end)
      dataAt = data === undefined && text === sent ? value : -1
      data = data === undefined ? text.slice(value, end) : `${data}\n${text.slice(value, end)}`
    } else if (text.startsWith('event', at) && isFieldEnd(text, at + 5, end)) name = text.slice(valueStart(text, at + 5, end), end)
    at = end + 1
  }
  return { kind: 'event', raw, name, data, dataAt }
}

function isFieldEnd(text: string, at: number, lineEnd: number): boolean {
  return at === lineEnd || text[at] === ':'
}

/** After the colon and one space, if any. */
function valueStart(text: string, at: number, lineEnd: number): number {
  const value = Math.min(at + 1, lineEnd)
  return value < lineEnd && text[value] === ' ' ? value + 1 : value
}
