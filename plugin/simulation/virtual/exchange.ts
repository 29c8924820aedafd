import type { IncomingMessage, ServerResponse } from 'node:http'
import { anthropicError } from './anthropic-messages.ts'
import type { VirtualApi } from './demand.ts'
import { vllmError } from './renderer.ts'

/** Largest body taken; the same as the proxy's limit. */
const BODY_LIMIT_BYTES = 32 * 1024 * 1024

/** The body as JSON; undefined when it is none, is too large, or the caller left. */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > BODY_LIMIT_BYTES) return undefined
    chunks.push(chunk)
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch (cause) {
    if (cause instanceof SyntaxError) return undefined
    throw cause
  }
}

/** Ends the response with a JSON body. */
export function sendJson(response: ServerResponse, status: number, payload: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(payload))
}

export interface Refusal {
  readonly status: 400 | 401 | 404 | 500 | 503
  readonly message: string
  readonly field?: string | null
}

/** vLLM's and Anthropic's names for each status. */
const ERROR_TYPES = {
  400: ['BadRequestError', 'invalid_request_error'],
  401: ['AuthenticationError', 'authentication_error'],
  404: ['NotFoundError', 'not_found_error'],
  500: ['InternalServerError', 'api_error'],
  503: ['ServiceUnavailableError', 'overloaded_error'],
} as const

/** Refuses a call in the error shape of its API. */
export function refuse(response: ServerResponse, api: VirtualApi | undefined, refusal: Refusal): void {
  const [openaiType, anthropicType] = ERROR_TYPES[refusal.status]
  if (api === 'messages') sendJson(response, refusal.status, anthropicError({ type: anthropicType, message: refusal.message }))
  else sendJson(response, refusal.status, vllmError({ ...refusal, type: openaiType }))
}
