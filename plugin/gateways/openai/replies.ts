import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Api } from '../../call/call.ts'
import { apiError, type ErrorParts } from '../../call/errors.ts'

/** Answers of the door's own. */

/** Sends JSON with `headers` (flat) in front. Does nothing where a reply has begun or nobody listens. */
export function sendJson(response: ServerResponse, reply: { status: number; headers: readonly string[]; value: unknown }): void {
  if (response.headersSent || response.destroyed) return
  const body = Buffer.from(JSON.stringify(reply.value))
  response.writeHead(reply.status, [...reply.headers, 'content-type', 'application/json', 'content-length', String(body.length)])
  response.end(body)
}

export interface Refusal {
  readonly api: Api
  readonly error: ErrorParts
  readonly requestId: string
  readonly headers?: readonly string[]
  readonly retryAfterMs?: number | undefined
}

/** Sends an error in the shape of the caller's API. */
export function sendError(response: ServerResponse, { api, error, requestId, headers = [], retryAfterMs }: Refusal): void {
  const own = ['x-request-id', requestId, ...headers]
  // Anthropic's clients read theirs under this name.
  if (api === 'anthropic-messages') own.push('request-id', requestId)
  // In whole seconds, as the header has it; also the clients' own millisecond form.
  if (retryAfterMs !== undefined)
    own.push('retry-after', String(Math.max(1, Math.ceil(retryAfterMs / 1_000))), 'retry-after-ms', String(Math.ceil(retryAfterMs)))
  sendJson(response, { status: error.status, headers: own, value: apiError(api, error, requestId) })
}

/** A caller who is still sending is listened to this long, so that the answer is not lost in a reset connection (RFC 9112, section 9.6). */
const LINGER_MS = 1_000

/** Sends an error to a caller whose body is not wanted any more: the rest is thrown away as it comes, then the connection closes. */
export function refuseUnread(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
  if (request.complete) {
    sendError(response, refusal)
    return
  }
  if (response.headersSent || response.destroyed) return
  const body = Buffer.from(JSON.stringify(apiError(refusal.api, refusal.error, refusal.requestId)))
  const own = ['x-request-id', refusal.requestId, ...(refusal.headers ?? []), 'connection', 'close']
  response.writeHead(refusal.error.status, [...own, 'content-type', 'application/json', 'content-length', String(body.length)])
  response.write(body)
  const timer = setTimeout(() => response.end(), LINGER_MS)
  const close = (): void => {
    clearTimeout(timer)
    response.end()
  }
  request.once('end', close)
  request.once('close', close)
  request.resume()
}
