import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Api, Call } from '../../call/call.ts'
import { badRequest, type ErrorParts, tooLarge, unauthorized, unavailable } from '../../call/errors.ts'
import type { BodyFields } from '../../call/fields.ts'
import { formatId } from '../../call/id.ts'
import { apiOf, parseCall } from '../../call/parse.ts'
import type { Door } from './door.ts'
import { Exchange } from './exchange.ts'
import { requestIdOf } from './headers.ts'
import { bareCall } from './last-resort.ts'
import { declaresTooMuch, readBody } from './read-body.ts'
import { refuseUnread, sendError } from './replies.ts'

/** A POST at the door: who is it, how much is it, what does it say. What can be placed becomes an exchange. */

/** A call as it arrived, ready to be placed. */
export interface Arrival {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly call: Call
  /** Absent where the body could not be read as usual: it is then sent as it came. */
  readonly fields: BodyFields | undefined
  readonly requestId: string
  readonly arrivedMs: number
}

interface Arriving {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Shape of errors. */
  readonly api: Api
  readonly callId: number
  readonly requestId: string
  readonly arrivedMs: number
  readonly arrivedUnixMs: number
}

/** Takes in a POST. `expectsContinue`: the caller waits for a word before sending the body. */
export function admit(
  door: Door,
  { request, response, expectsContinue }: { request: IncomingMessage; response: ServerResponse; expectsContinue: boolean },
): void {
  const callId = door.nextCallId()
  const arriving: Arriving = {
    request,
    response,
    api: apiAt(request.url ?? '/'),
    callId,
    requestId: requestIdOf(request.headers, formatId(callId)),
    arrivedMs: door.clock.nowMs(),
    arrivedUnixMs: door.clock.nowUnixMs(),
  }
  const identity = door.identify(request.headers)
  const refusal = identity ? refusalOf(door, request) : { error: unauthorized(), headers: ['www-authenticate', 'Bearer'] }
  if (!identity || refusal) {
    refuse(door, arriving, refusal?.error ?? unauthorized(), refusal?.headers)
    return
  }
  if (expectsContinue) response.writeContinue()
  readBody(request, door.bodyLimitBytes, (read) => {
    if (read.kind === 'left') door.count('left while sending')
    else if (read.kind === 'too large') refuse(door, arriving, tooLarge(door.bodyLimitBytes))
    else beginSafely(door, arriving, { body: read.body, application: identity.application })
  })
}

/** What tells against a call before its body is read. */
function refusalOf(door: Door, request: IncomingMessage): { readonly error: ErrorParts; readonly headers?: readonly string[] } | undefined {
  if (declaresTooMuch(request, door.bodyLimitBytes)) return { error: tooLarge(door.bodyLimitBytes) }
  const encoding = request.headers['content-encoding']
  if (encoding === undefined || encoding === 'identity') return undefined
  return { error: encoded(encoding), headers: ['accept-encoding', 'identity'] }
}

/** Nobody above would catch what is thrown when the last byte of a body came: it costs this call alone. */
function beginSafely(door: Door, arriving: Arriving, given: { readonly body: Buffer; readonly application: string | undefined }): void {
  try {
    begin(door, arriving, given)
  } catch (error) {
    door.count(`proxy failed: ${error instanceof Error ? error.name : 'unknown'}`)
    const { response, api, requestId } = arriving
    sendError(response, { api, error: unavailable('The gateway failed on this call.'), requestId })
  }
}

function begin(door: Door, arriving: Arriving, given: { readonly body: Buffer; readonly application: string | undefined }): void {
  const { request, response, requestId, arrivedMs, api } = arriving
  const understood = understand(door, arriving, given)
  if ('error' in understood) {
    door.count(`refused: status ${understood.error.status}`)
    sendError(response, { api, error: understood.error, requestId })
    return
  }
  new Exchange(door, { request, response, requestId, arrivedMs, ...understood }, given.body).start()
}

type Understood = { readonly call: Call; readonly fields: BodyFields | undefined } | { readonly error: ErrorParts }

/**
 * The call in the body. A path of no known API (rerank, score, tokenize …) is placed by its model and size alone, and so is a call whose
 * reading fails by a fault of ours: the instance will know what to do with it.
 */
function understand(
  door: Door,
  arriving: Arriving,
  { body, application }: { readonly body: Buffer; readonly application: string | undefined },
): Understood {
  const { request, api, callId, arrivedUnixMs } = arriving
  const path = request.url ?? '/'
  if (apiOf(path)) {
    try {
      const named = application === undefined ? {} : { application }
      const { textFeatures, readText } = door
      const reading = readText ? { textFeatures, readText } : { textFeatures }
      const parsed = parseCall({ path, headers: request.headers, body, callId, arrivedUnixMs, ...reading, ...named })
      return parsed.kind === 'call' ? { call: parsed.call, fields: parsed.fields } : { error: parsed.error }
    } catch (error) {
      door.count(`parsing failed: ${error instanceof Error ? error.name : 'unknown'}`)
    }
  }
  const call = bareCall({ api, body, callId, arrivedUnixMs, application })
  return call ? { call, fields: undefined } : { error: badRequest("The body must be a JSON object with a 'model'.", 'model') }
}

/** Error shapes follow the path; what reads a prompt and gives no tokens back is nearest to embeddings. */
function apiAt(path: string): Api {
  return apiOf(path) ?? (path.startsWith('/v1/messages') ? 'anthropic-messages' : 'openai-embeddings')
}

function refuse(door: Door, arriving: Arriving, error: ErrorParts, headers: readonly string[] = []): void {
  const { request, response, api, requestId } = arriving
  door.count(`refused: status ${error.status}`)
  refuseUnread(request, response, { api, error, requestId, headers })
}

function encoded(encoding: string): ErrorParts {
  return {
    status: 415,
    type: 'invalid_request_error',
    code: 'unsupported_content_encoding',
    message: `The request body is encoded (${encoding.slice(0, 40)}); send it as it is.`,
  }
}
