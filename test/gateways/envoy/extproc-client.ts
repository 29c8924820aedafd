import { type ClientHttp2Session, type ClientHttp2Stream, connect, type SecureClientSessionOptions } from 'node:http2'
import { decode, encode, ProcessingRequest, ProcessingResponse, plainStruct, structOf } from './reference.ts'

/** What the picker answered, as protobufjs reads it. */
export type Answer = Record<string, unknown> & { readonly destination?: string }

/** One ext_proc stream from Envoy's side, spoken by node:http2 and protobufjs: nothing of ours. */
export interface ExtProcCall {
  send(message: Record<string, unknown>): void
  /** The next answer; rejects when the stream ends first. */
  next(): Promise<Answer>
  /** Resolves with gRPC's status when the stream has ended. */
  readonly status: Promise<number>
  /** RST_STREAM, as Envoy does at the end of each call. */
  reset(): void
  /** Half-close. */
  end(): void
  readonly stream: ClientHttp2Stream
}

export interface ExtProcClient {
  open(path?: string): ExtProcCall
  readonly session: ClientHttp2Session
  close(): void
}

export const PROCESS = '/envoy.service.ext_proc.v3.ExternalProcessor/Process'

/** Connects to the picker's port. */
export function extProcClient(url: string, options: SecureClientSessionOptions = {}): ExtProcClient {
  const session = connect(url, options)
  session.on('error', () => undefined)
  return {
    session,
    close: () => session.destroy(),
    open(path = PROCESS) {
      const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' })
      return openCall(stream)
    },
  }
}

function openCall(stream: ClientHttp2Stream): ExtProcCall {
  let buffer = Buffer.alloc(0)
  const answers: Answer[] = []
  const waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void }[] = []
  let ended = false
  stream.on('data', (chunk: Buffer) => {
    buffer = Buffer.concat([buffer, chunk])
    while (buffer.length >= 5 && buffer.length >= 5 + buffer.readUInt32BE(1)) {
      const end = 5 + buffer.readUInt32BE(1)
      const answer = readAnswer(buffer.subarray(5, end))
      buffer = buffer.subarray(end)
      const next = waiting.shift()
      if (next) next.resolve(answer)
      else answers.push(answer)
    }
  })
  stream.on('error', () => undefined)
  const status = new Promise<number>((resolve) => {
    stream.on('trailers', (trailers) => resolve(Number(trailers['grpc-status'])))
    stream.on('close', () => {
      ended = true
      for (const one of waiting.splice(0)) one.reject(new Error('the stream ended'))
      resolve(-1)
    })
  })
  return {
    stream,
    status,
    send(message) {
      const bytes = encode(ProcessingRequest, message)
      const prefix = Buffer.alloc(5)
      prefix.writeUInt32BE(bytes.length, 1)
      stream.write(Buffer.concat([prefix, bytes]))
    },
    next: () =>
      new Promise((resolve, reject) => {
        const answer = answers.shift()
        if (answer) resolve(answer)
        else if (ended) reject(new Error('the stream ended'))
        else waiting.push({ resolve, reject })
      }),
    reset: () => stream.close(8),
    end: () => stream.end(),
  }
}

function readAnswer(bytes: Buffer): Answer {
  const { dynamic_metadata, ...rest } = decode(ProcessingResponse, bytes)
  const lb = dynamic_metadata ? (plainStruct(dynamic_metadata)['envoy.lb'] as Record<string, unknown>) : undefined
  return { ...rest, ...(lb ? { destination: String(lb['x-gateway-destination-endpoint']), lb } : {}) }
}

/** `request_headers` of a POST of JSON. */
export function requestHeaders(
  change: {
    path?: string
    method?: string
    endOfStream?: boolean
    extra?: Record<string, string>
    subset?: unknown
    modes?: readonly [number, number]
  } = {},
): Record<string, unknown> {
  const headers = {
    ':method': change.method ?? 'POST',
    ':path': change.path ?? '/v1/chat/completions',
    ':authority': 'models',
    'content-type': 'application/json',
    ...change.extra,
  }
  const subset = change.subset === undefined ? undefined : structOf({ 'x-gateway-destination-endpoint-subset': change.subset })
  return {
    request_headers: { headers: { headers: headerList(headers) }, end_of_stream: change.endOfStream ?? false },
    ...(subset ? { metadata_context: { filter_metadata: { 'envoy.lb.subset_hint': subset } } } : {}),
    protocol_config: { request_body_mode: change.modes?.[0] ?? 4, response_body_mode: change.modes?.[1] ?? 4 },
  }
}

/** `response_headers` with this status and type; `served` as the gateway tells it. */
export function responseHeaders(
  change: { status?: number; type?: string; endOfStream?: boolean; extra?: Record<string, string>; served?: string } = {},
): Record<string, unknown> {
  const headers = {
    ':status': String(change.status ?? 200),
    'content-type': change.type ?? 'application/json',
    'x-envoy-upstream-service-time': '3',
    ...change.extra,
  }
  const served = change.served === undefined ? undefined : structOf({ 'x-gateway-destination-endpoint-served': change.served })
  return {
    response_headers: { headers: { headers: headerList(headers) }, end_of_stream: change.endOfStream ?? false },
    ...(served ? { metadata_context: { filter_metadata: { 'envoy.lb': served } } } : {}),
  }
}

export const requestBody = (body: string | Buffer, endOfStream = true): Record<string, unknown> => ({
  request_body: { body: Buffer.from(body as string), end_of_stream: endOfStream },
})
export const responseBody = (body: string | Buffer, endOfStream = true): Record<string, unknown> => ({
  response_body: { body: Buffer.from(body as string), end_of_stream: endOfStream },
})

function headerList(headers: Record<string, string>): unknown[] {
  return Object.entries(headers).map(([key, value]) => ({ key, raw_value: Buffer.from(value) }))
}

/** The bytes and the end of a body answer. */
export function streamed(answer: Answer): { readonly side: string; readonly body: string; readonly end: boolean } {
  const side = 'request_body' in answer ? 'request' : 'response'
  const inner = answer[`${side}_body`] as {
    response?: { body_mutation?: { streamed_response?: { body?: Buffer; end_of_stream?: boolean } } }
  }
  const { body, end_of_stream } = inner.response?.body_mutation?.streamed_response ?? {}
  return { side, body: body ? Buffer.from(body).toString() : '', end: end_of_stream ?? false }
}

/** The header that an answer sets, or undefined. */
export function headerSet(answer: Answer, name: string): string | undefined {
  const part = (answer.request_headers ?? answer.response_headers) as
    | { response?: { header_mutation?: { set_headers?: { header: { key: string; raw_value: Buffer } }[] } } }
    | undefined
  const found = part?.response?.header_mutation?.set_headers?.find(({ header }) => header.key === name)
  return found && Buffer.from(found.header.raw_value).toString()
}
