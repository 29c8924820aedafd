import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { admit } from './arrival.ts'
import { createDoor, type Door, type OpenAiProxyParts } from './door.ts'
import { answerPage, refuseRequest } from './pages.ts'

export type { InstanceConnections, OpenAiProxyParts } from './door.ts'

export interface OpenAiProxy {
  /** Base address, e.g. `http://127.0.0.1:8400`. */
  readonly url: string
  readonly port: number
  /** Calls inside now. */
  inFlight(): number
  /** Stops accepting, lets open calls end for `drainMs`, then cuts what is left with an error. */
  close(drainMs: number): Promise<void>
}

/** All headers of a request together; the sizes that callers' tracing and cookies reach, twice over. */
const HEADER_BYTES_MAX = 32_768
/** A head that takes longer comes from a caller who means to sit on the connection. */
const HEAD_MS_MAX = 15_000
/** A body of 32 MiB at 2 Mbit/s. */
const REQUEST_MS_MAX = 130_000
const CHECK_MS = 2_000
/** Above the usual 60 s idle times of load balancers: they close first, so that no call meets a closing connection. */
const KEEP_ALIVE_MS = 75_000
const CONNECTIONS_MAX = 20_000

/** Opens the OpenAI door. Rejects where it cannot listen. */
export async function createOpenAiProxy(parts: OpenAiProxyParts): Promise<OpenAiProxy> {
  const door = createDoor(parts)
  const server = createServer({
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: HEAD_MS_MAX,
    requestTimeout: REQUEST_MS_MAX,
    connectionsCheckingInterval: CHECK_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    noDelay: true,
  })
  server.maxConnections = CONNECTIONS_MAX
  server.on('drop', () => door.count('connection refused: too many'))
  server.on('request', (request, response) => receive(door, { request, response, expectsContinue: false }))
  server.on('checkContinue', (request, response) => receive(door, { request, response, expectsContinue: true }))
  server.on('clientError', (error, socket) => answerBroken(error, socket as Socket))
  await listen(server, parts.listen)
  const { port } = server.address() as AddressInfo
  const { host } = parts.listen
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    inFlight: () => door.guests.size,
    close: (drainMs) => close(server, door, drainMs),
  }
}

function listen(server: Server, at: { readonly host: string; readonly port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: at.host, port: at.port, backlog: 4096 }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

interface Received {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly expectsContinue: boolean
}

/** Whatever throws here costs one call, not the process. */
function receive(door: Door, received: Received): void {
  const { request, response } = received
  // A caller may go away at any byte; the exchange learns of it from the connection.
  response.on('error', noteLost)
  request.on('error', noteLost)
  try {
    route(door, received)
  } catch (error) {
    door.count(`proxy failed: ${error instanceof Error ? error.name : 'unknown'}`)
    if (response.headersSent) response.destroy()
    else response.writeHead(500).end()
  }
}

function route(door: Door, received: Received): void {
  const { request, response } = received
  const path = request.url ?? '/'
  if (!door.accepting()) response.shouldKeepAlive = false
  if (request.method === 'POST' && path.startsWith('/v1/') && !path.startsWith('/v1/models')) admit(door, received)
  else if (!answerPage(door, request, response)) refuseRequest(door, request, response)
}

function noteLost(): void {
  // Nothing is lost unseen: a call in flight is settled by its connection's 'close'.
}

const WORDS: Readonly<Record<string, readonly [number, string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'Request Header Fields Too Large'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'Payload Too Large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout'],
}

/** Bytes that are no HTTP, too much head, or a head that never ends. */
function answerBroken(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable || socket.bytesWritten > 0) {
    socket.destroy()
    return
  }
  const [status, words] = WORDS[error.code ?? ''] ?? [400, 'Bad Request']
  const body = JSON.stringify({ error: { message: `${words}.`, type: 'invalid_request_error', param: null, code: null } })
  const head = `HTTP/1.1 ${status} ${words}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n`
  socket.end(head + body)
}

async function close(server: Server, door: Door, drainMs: number): Promise<void> {
  door.stopAccepting()
  const closed = new Promise<void>((done) => server.close(() => done()))
  server.closeIdleConnections()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((done) => {
    timer = setTimeout(done, drainMs)
  })
  await Promise.race([door.emptied(), late])
  clearTimeout(timer)
  door.cutAll()
  server.closeIdleConnections()
  // What was written last still has to reach the callers.
  const force = setTimeout(() => server.closeAllConnections(), LAST_WORDS_MS)
  await closed
  clearTimeout(force)
  door.close()
}

const LAST_WORDS_MS = 500
