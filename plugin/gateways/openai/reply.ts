import type { ServerResponse } from 'node:http'
import type { Api } from '../../call/call.ts'
import { type ErrorParts, modelNotFound, rateLimited, streamError, unavailable } from '../../call/errors.ts'
import type { PlacementError } from '../../router.ts'
import { sendError } from './replies.ts'

/** Sent with a 503 where nobody knows better. */
export const RETRY_AFTER_MS = 1_000

/** An answer that will not come, or not be complete. */
export interface Failing {
  readonly error: ErrorParts
  readonly retryAfterMs?: number | undefined
  /** The door's own reply headers. */
  readonly marks: readonly string[]
  /** What was sent so far, if anything, is a stream of events. */
  readonly isStream: boolean
}

/** The caller's side of an exchange: what is sent of the answer, at the pace at which the caller reads. */
export class Reply {
  readonly #response: ServerResponse
  readonly #api: Api
  readonly #requestId: string
  /** The last bytes sent: do they end an event? */
  #last: Buffer | undefined
  #drained: (() => void) | undefined
  #listening = false
  /** The caller does not keep up: nothing is read from the instance. */
  waiting = false

  constructor(parts: { readonly response: ServerResponse; readonly api: Api; readonly requestId: string }) {
    this.#response = parts.response
    this.#api = parts.api
    this.#requestId = parts.requestId
  }

  /** The head is out, or on its way: no other answer can be given any more. */
  get begun(): boolean {
    return this.#response.headersSent
  }

  begin(status: number, headers: string[]): void {
    this.#response.writeHead(status, headers)
  }

  /** Sends a chunk; false when nothing more should be sent until drained. */
  write(chunk: Buffer): boolean {
    this.#last = chunk
    return this.#response.write(chunk)
  }

  /** Calls `drained` once, when the caller has read what was written. */
  whenDrained(drained: () => void): void {
    this.waiting = true
    this.#drained = drained
    if (this.#listening) return
    this.#listening = true
    this.#response.on('drain', () => {
      this.waiting = false
      const then = this.#drained
      this.#drained = undefined
      then?.()
    })
  }

  end(last?: Buffer): void {
    this.#drained = undefined
    this.#response.end(last)
  }

  /** Tells the caller that there will be no (further) answer, in whatever way is left. */
  fail({ error, retryAfterMs, marks, isStream }: Failing): void {
    const [api, requestId] = [this.#api, this.#requestId]
    if (!this.begun) sendError(this.#response, { api, error, requestId, retryAfterMs, headers: marks })
    else if (isStream) this.#endWith(streamError(api, error, requestId))
    else this.destroy()
  }

  /** One more event, apart from a half one that may stand before it. */
  #endWith(event: Buffer): void {
    const last = this.#last?.subarray(-4).toString('latin1') ?? ''
    this.end(last === '' || /(\n\n|\r\r|\r\n\r\n)$/.test(last) ? event : Buffer.concat([Buffer.from('\n\n'), event]))
  }

  /** Cuts the connection: the one way to tell that an answer of a declared length is not all. */
  destroy(): void {
    this.#drained = undefined
    this.#response.destroy()
  }
}

/** A refused placement in the words of HTTP. */
export function refusalOf(
  refused: PlacementError,
  model: string,
): { readonly error: ErrorParts; readonly retryAfterMs?: number | undefined } {
  const { kind, message, retryAfterMs } = refused
  if (kind === 'unknown model') return { error: modelNotFound(model) }
  if (kind === 'shed') return { error: rateLimited(message), retryAfterMs }
  return { error: unavailable(message), retryAfterMs: retryAfterMs ?? RETRY_AFTER_MS }
}
