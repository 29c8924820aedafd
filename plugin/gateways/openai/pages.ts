import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Api } from '../../call/call.ts'
import { type ErrorParts, modelNotFound, unauthorized, unknownPath } from '../../call/errors.ts'
import { formatId } from '../../call/id.ts'
import type { Door } from './door.ts'
import { requestIdOf } from './headers.ts'
import { refuseUnread, sendJson } from './replies.ts'

/** What the door answers itself: health, the models, and kind words for what is not here. */

const CALL_PATHS = ['/v1/chat/completions', '/v1/completions', '/v1/responses', '/v1/embeddings', '/v1/messages']
const PAGES = ['/health', '/health/ready', '/v1/models']

/** Answers a GET or HEAD of one of the door's own pages; false where it is none. */
export function answerPage(door: Door, request: IncomingMessage, response: ServerResponse): boolean {
  if (request.method !== 'GET' && request.method !== 'HEAD') return false
  const path = plainPath(request)
  if (path === '/health') sendJson(response, { status: 200, headers: [], value: { status: 'ok' } })
  else if (path === '/health/ready') answerReady(door, response)
  else if (path === '/v1/models' || path.startsWith('/v1/models/')) answerModels(door, request, response)
  else return false
  return true
}

/** Ready is: calls can be placed, and new ones are welcome. */
function answerReady(door: Door, response: ServerResponse): void {
  const ready = door.accepting() && door.router.ready()
  const headers = ready ? [] : ['retry-after', '1']
  const why = door.accepting() ? 'no instance may take calls' : 'shutting down'
  sendJson(response, { status: ready ? 200 : 503, headers, value: ready ? { status: 'ready' } : { status: 'not ready', reason: why } })
}

function answerModels(door: Door, request: IncomingMessage, response: ServerResponse): void {
  const all = door.router.models().map(({ id, pool }) => ({ id, object: 'model', created: 0, owned_by: pool }))
  const name = modelIn(plainPath(request))
  const found = all.find((one) => one.id === name)
  if (!door.identify(request.headers)) refuse(door, { request, response, error: unauthorized(), headers: ['www-authenticate', 'Bearer'] })
  else if (name === undefined) sendJson(response, { status: 200, headers: [], value: { object: 'list', data: all } })
  else if (found) sendJson(response, { status: 200, headers: [], value: found })
  else refuse(door, { request, response, error: modelNotFound(name) })
}

function modelIn(path: string): string | undefined {
  const name = path.slice('/v1/models/'.length)
  if (name === '') return undefined
  try {
    return decodeURIComponent(name)
  } catch (error) {
    if (error instanceof URIError) return name
    throw error
  }
}

/** A request that nothing here serves: 405 where its path is served by another method, else a 404 that tells what there is. */
export function refuseRequest(door: Door, request: IncomingMessage, response: ServerResponse): void {
  const path = plainPath(request)
  const allow = CALL_PATHS.includes(path) ? 'POST' : PAGES.includes(path) ? 'GET, HEAD' : undefined
  if (allow !== undefined) {
    refuse(door, {
      request,
      response,
      error: wrongMethod(`${request.method} is not possible on ${path}; use ${allow}.`),
      headers: ['allow', allow],
    })
    return
  }
  const error = unknownPath(request.method ?? 'GET', path.slice(0, 200))
  const message = `${error.message} There is POST ${CALL_PATHS.join(', ')} and GET ${PAGES.join(', ')}.`
  refuse(door, { request, response, error: { ...error, message } })
}

function wrongMethod(message: string): ErrorParts {
  return { status: 405, type: 'invalid_request_error', code: 'method_not_allowed', message }
}

interface Refusing {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly error: ErrorParts
  readonly headers?: readonly string[]
}

function refuse(door: Door, { request, response, error, headers = [] }: Refusing): void {
  door.count(`refused: status ${error.status}`)
  const requestId = requestIdOf(request.headers, formatId(door.nextCallId()))
  refuseUnread(request, response, { api: apiFor(request), error, requestId, headers })
}

function apiFor(request: IncomingMessage): Api {
  // Anthropic's clients name their version on every request, also where the path is shared.
  return request.headers['anthropic-version'] !== undefined || plainPath(request).startsWith('/v1/messages')
    ? 'anthropic-messages'
    : 'openai-chat'
}

function plainPath(request: IncomingMessage): string {
  const url = request.url ?? '/'
  const query = url.indexOf('?')
  return query < 0 ? url : url.slice(0, query)
}
