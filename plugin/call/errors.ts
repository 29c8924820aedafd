import type { Api } from './call.ts'

/** An error as one of the APIs would tell it; `type` and `code` in OpenAI's words, Anthropic's are derived. */
export interface ErrorParts {
  readonly status: number
  readonly type: string
  /** Machine-readable cause; null where the API has none. */
  readonly code: string | null
  readonly message: string
  /** The field at fault. */
  readonly param?: string
}

/** Anthropic's error types by status (its API reference, "Errors"); other statuses: 4xx `invalid_request_error`, 5xx `api_error`. */
const ANTHROPIC_TYPES: Readonly<Record<number, string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  503: 'overloaded_error',
  504: 'timeout_error',
}

/** The error body, as JSON-able data, in the shape of `api`; `requestId` goes where the API has a place for it. */
export function apiError(api: Api, parts: ErrorParts, requestId?: string): unknown {
  if (api !== 'anthropic-messages')
    return { error: { message: parts.message, type: parts.type, param: parts.param ?? null, code: parts.code } }
  const type = ANTHROPIC_TYPES[parts.status] ?? (parts.status < 500 ? 'invalid_request_error' : 'api_error')
  return { type: 'error', error: { type, message: parts.message }, ...(requestId === undefined ? {} : { request_id: requestId }) }
}

/** The event that tells of an error in a stream already begun, as SSE bytes. Nothing follows it: a `[DONE]` would say that all went well. */
export function streamError(api: Api, parts: ErrorParts, requestId?: string): Buffer {
  if (api === 'openai-responses') {
    const event = { type: 'error', code: parts.code, message: parts.message, param: parts.param ?? null }
    return Buffer.from(`event: error\ndata: ${JSON.stringify(event)}\n\n`)
  }
  const name = api === 'anthropic-messages' ? 'event: error\n' : ''
  return Buffer.from(`${name}data: ${JSON.stringify(apiError(api, parts, requestId))}\n\n`)
}

/** 400: the body cannot be placed. */
export function badRequest(message: string, param?: string): ErrorParts {
  return { status: 400, type: 'invalid_request_error', code: null, message, ...(param === undefined ? {} : { param }) }
}

/** 401: no caller key, or one that is not configured. */
export function unauthorized(): ErrorParts {
  return { status: 401, type: 'invalid_request_error', code: 'invalid_api_key', message: 'Missing or unknown API key.' }
}

/** 404: no such path here. */
export function unknownPath(method: string, path: string): ErrorParts {
  return { status: 404, type: 'invalid_request_error', code: 'unknown_url', message: `Unknown request URL: ${method} ${path}.` }
}

/** 404: no pool serves the model. */
export function modelNotFound(model: string): ErrorParts {
  return {
    status: 404,
    type: 'invalid_request_error',
    code: 'model_not_found',
    param: 'model',
    message: `The model '${model}' does not exist or no pool serves it.`,
  }
}

/** 413: the body is larger than this gateway takes. */
export function tooLarge(limitBytes: number): ErrorParts {
  return {
    status: 413,
    type: 'invalid_request_error',
    code: 'request_too_large',
    message: `The request body is larger than ${limitBytes} bytes.`,
  }
}

/** 429: shed, or the instances are full. */
export function rateLimited(message: string): ErrorParts {
  return { status: 429, type: 'rate_limit_error', code: 'rate_limit_exceeded', message }
}

/** 502: the instance failed and no other could take the call. */
export function instanceFailed(message: string): ErrorParts {
  return { status: 502, type: 'server_error', code: 'instance_failed', message }
}

/** 503: no instance may take the call now. */
export function unavailable(message: string): ErrorParts {
  return { status: 503, type: 'server_error', code: 'service_unavailable', message }
}

/** 504: the instance did not answer in time. */
export function timedOut(message: string): ErrorParts {
  return { status: 504, type: 'server_error', code: 'timeout', message }
}
