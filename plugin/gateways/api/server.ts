import { chmodSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, ListenOptions } from 'node:net'
import type { Clock } from '../../clock.ts'
import type { Router } from '../../router.ts'
import { declaresTooMuch, readBody } from '../openai/read-body.ts'
import { Desk } from './desk.ts'
import { createDirectory, type KnownInstance } from './directory.ts'
import { type ApiKey, createAdmit, type StoredKeys } from './keys.ts'
import { describeApi } from './openapi.ts'
import { invalid, invalidField, Problem } from './problems.ts'
import { type Answered, createRoutes, type Route, type RouteParts } from './routes.ts'
import { createSwitchboard, type Switchboard } from './switchboard.ts'

/** All that the placement API is made of. */
export interface PlacementApiParts {
  readonly listen?: { readonly host: string; readonly port: number } | undefined
  /** Path of a Unix socket to listen on besides. */
  readonly socket?: string | undefined
  readonly tls?: { readonly certFile: string; readonly keyFile: string } | undefined
  readonly keys: readonly ApiKey[]
  readonly stored?: StoredKeys | undefined
  /** Callers on this machine need no key. */
  readonly openLoopback: boolean
  readonly bodyLimitBytes: number
  readonly settleLimitMs: number
  readonly textFeatures: boolean
  /** Makes numbers of the prompt for the length predictor; it never throws. */
  readonly readText?: (text: string) => Float32Array | undefined
  readonly router: Router
  readonly instances: () => readonly KnownInstance[]
  readonly fleet: RouteParts['fleet']
  readonly askDrain: RouteParts['askDrain']
  readonly control: RouteParts['control']
  readonly version: string
  readonly clock: Clock
  readonly nextCallId: () => number
  readonly count: (what: string) => void
}

export interface PlacementApi {
  /** Base address, e.g. `http://127.0.0.1:8403`; undefined where only the socket listens. */
  readonly url: string | undefined
  /** Placements not settled yet. */
  open(): number
  /** Places nothing new, waits up to `drainMs` for outcomes, closes the rest as unknown. */
  close(drainMs: number): Promise<void>
}

/** A head that takes longer comes from a caller who means to sit on the connection. */
const HEAD_MS_MAX = 15_000
const REQUEST_MS_MAX = 60_000
/** Above the usual idle times of callers' pools and of load balancers: they close first. */
const KEEP_ALIVE_MS = 75_000
const CONNECTIONS_MAX = 10_000
/** What is written last still has to reach the callers. */
const LAST_WORDS_MS = 500

/** Opens the placement API. Rejects where it cannot listen. */
export async function createPlacementApi(parts: PlacementApiParts): Promise<PlacementApi> {
  const { clock, count, version } = parts
  const directory = createDirectory({ instances: parts.instances, nowMs: clock.nowMs })
  const desk = new Desk({ ...parts, directory })
  const { router, fleet, askDrain, control } = parts
  const routes = createRoutes({ desk, ready: () => router.ready(), version, fleet, askDrain, control })
  const admit = createAdmit({ keys: parts.keys, stored: parts.stored, openLoopback: parts.openLoopback, nowMs: clock.nowMs, count })
  const document = Buffer.from(JSON.stringify(describeApi(routes, version)))
  const door: Door = { parts, admit, document, switchboard: createSwitchboard(routes) }
  const listener: RequestListener = (request, response) => receive(door, request, response)
  const servers: Server[] = []
  try {
    const { listen, socket, tls } = parts
    const first = listen && (await open(listener, { host: listen.host, port: listen.port }, tls))
    if (first) servers.push(first)
    if (socket !== undefined) servers.push(await openSocket(listener, socket))
    return {
      url: first && listen && addressOf(first, listen.host, tls !== undefined),
      open: () => desk.open,
      async close(drainMs) {
        await desk.close(drainMs)
        await Promise.all(servers.map(closeServer))
      },
    }
  } catch (error) {
    await Promise.all([desk.close(0), ...servers.map(closeServer)])
    throw error
  }
}

interface Door {
  readonly parts: PlacementApiParts
  readonly admit: ReturnType<typeof createAdmit>
  readonly switchboard: Switchboard
  readonly document: Buffer
}

function open(listener: RequestListener, at: ListenOptions, tls: PlacementApiParts['tls']): Promise<Server> {
  const options = { headersTimeout: HEAD_MS_MAX, requestTimeout: REQUEST_MS_MAX, keepAliveTimeout: KEEP_ALIVE_MS, noDelay: true }
  const server = tls
    ? createTlsServer({ ...options, cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile) }, listener)
    : createServer(options, listener)
  server.maxConnections = CONNECTIONS_MAX
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ ...at, backlog: 1024 }, () => {
      server.off('error', reject)
      resolve(server)
    })
  })
}

/** Owner and group alone may speak on the socket: reaching it counts as being on this machine. */
const SOCKET_MODE = 0o660

/** A socket left by a process that was killed is taken away; the data directory's lock says that none of ours still has it. */
async function openSocket(listener: RequestListener, path: string): Promise<Server> {
  rmSync(path, { force: true })
  const server = await open(listener, { path }, undefined)
  chmodSync(path, SOCKET_MODE)
  return server
}

function addressOf(server: Server, host: string, secure: boolean): string {
  const { port } = server.address() as AddressInfo
  return `${secure ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${port}`
}

async function closeServer(server: Server): Promise<void> {
  const closed = new Promise<void>((done) => server.close(() => done()))
  server.closeIdleConnections()
  const force = setTimeout(() => server.closeAllConnections(), LAST_WORDS_MS)
  await closed
  clearTimeout(force)
}

function receive(door: Door, request: IncomingMessage, response: ServerResponse): void {
  // A caller may go away at any byte; what was placed for it is settled or closed like any other placement.
  response.on('error', noteLost)
  serve(door, request).then(
    ({ status, value, headers = {} }) => send(response, { status, type: 'application/json', body: encode(value), headers }),
    (error: unknown) => sendProblem(door, { request, response, error }),
  )
}

async function serve(door: Door, request: IncomingMessage): Promise<Answered> {
  if (request.method === 'GET' && (request.url === '/openapi.json' || request.url === '/openapi.json?'))
    return { status: 200, value: door.document }
  const { route, params } = door.switchboard(request.method ?? '', request.url ?? '/')
  const keyName = route.scope ? door.admit(request, route.scope) : 'anybody'
  const bytes = route.takes ? await bodyOf(door, request) : NOTHING
  return route.handle({ params, keyName, bytes, body: route.takes ? check(route, bytes) : undefined })
}

const NOTHING = Buffer.alloc(0)

function bodyOf({ parts: { bodyLimitBytes } }: Door, request: IncomingMessage): Promise<Buffer> {
  const encoding = request.headers['content-encoding']
  if (encoding !== undefined && encoding !== 'identity')
    throw new Problem(
      { kind: 'unsupported-encoding', status: 415, detail: 'Send the request as it is.' },
      {},
      { 'accept-encoding': 'identity' },
    )
  // Made where it is needed alone: an error's stack costs more than reading the usual body.
  const tooLarge = () => new Problem({ kind: 'too-large', status: 413, detail: `The request is larger than ${bodyLimitBytes} bytes.` })
  if (declaresTooMuch(request, bodyLimitBytes)) throw tooLarge()
  return new Promise((resolve, reject) => {
    readBody(request, bodyLimitBytes, (read) => {
      if (read.kind === 'body') resolve(read.body)
      else
        reject(
          read.kind === 'too large' ? tooLarge() : new Problem({ kind: 'left', status: 400, detail: 'The request ended before its end.' }),
        )
    })
  })
}

function check(route: Route, bytes: Buffer): unknown {
  let value: unknown
  try {
    value = JSON.parse(bytes.toString('utf8'))
  } catch {
    // The parser's own words may quote the prompt.
    throw invalidField('', 'is not valid JSON')
  }
  const checked = route.takes?.safeParse(value)
  if (checked && !checked.success) throw invalid(checked.error)
  return checked?.data
}

/** A text leaves in one piece with its head; a buffer would be a second one. */
function encode(value: unknown): Buffer | string {
  return Buffer.isBuffer(value) ? value : JSON.stringify(value)
}

interface Sent {
  readonly status: number
  readonly type: string
  readonly body: Buffer | string
  readonly headers?: Readonly<Record<string, string>>
}

function send(response: ServerResponse, { status, type, body, headers = {} }: Sent): void {
  if (response.headersSent || response.destroyed) return
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body), 'cache-control': 'no-store', ...headers })
  response.end(body)
}

function sendProblem(
  { parts }: Door,
  { request, response, error }: { readonly request: IncomingMessage; readonly response: ServerResponse; readonly error: unknown },
): void {
  const isOurs = error instanceof Problem
  if (!isOurs) parts.count(`api failed: ${error instanceof Error ? error.name : 'unknown'}`)
  const { body, headers } = isOurs
    ? error
    : new Problem({ kind: 'failed', status: 500, detail: 'The placement API failed on this request.' })
  // What is still coming is not wanted any more.
  const close = request.complete ? {} : { connection: 'close' }
  if (!request.complete) request.resume()
  send(response, { status: body.status, type: 'application/problem+json', body: encode(body), headers: { ...headers, ...close } })
}

function noteLost(): void {
  // Nothing is lost unseen: an answer that did not arrive leaves a placement that is settled by key, or closed by the limit and counted.
}
