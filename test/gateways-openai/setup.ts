import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { systemClock } from '../../plugin/clock.ts'
import { createFleet, type Fleet } from '../../plugin/fleet/fleet.ts'
import { FLEET_DEFAULTS } from '../../plugin/fleet/options.ts'
import { type Connections, createConnections } from '../../plugin/gateways/instances/connections.ts'
import { createOpenAiProxy, type OpenAiProxy, type OpenAiProxyParts } from '../../plugin/gateways/openai/proxy.ts'
import type { CallRow, LogRow } from '../../plugin/log/rows.ts'
import { createRunningLength } from '../../plugin/prediction/running-length.ts'
import { createRng } from '../../plugin/rng.ts'
import { createRouter, type LiveRouter, type RouterPool } from '../../plugin/router-place.ts'

/** A real proxy on a real router and fleet, before small real servers that play the instances. */

export interface Upstream {
  readonly url: string
  readonly server: Server
  /** Requests seen, in order. */
  readonly seen: { readonly headers: IncomingMessage['headers']; readonly url: string; readonly body: string }[]
  /** Resolves when an answer's connection closed before the answer was complete. */
  readonly cut: Promise<void>
  close(): void
}

export type Play = (response: ServerResponse, request: IncomingMessage, body: string) => void

const started: { close(): unknown }[] = []

/** Ends everything that a test started. */
export async function endAll(): Promise<void> {
  for (const one of started.splice(0).reverse()) await one.close()
}

/** A server that plays an instance. */
export async function startUpstream(play: Play): Promise<Upstream> {
  const seen: Upstream['seen'] = []
  let wasCut = (): void => undefined
  const cut = new Promise<void>((done) => {
    wasCut = done
  })
  const listener: RequestListener = async (request, response) => {
    response.on('close', () => {
      if (!response.writableFinished) wasCut()
    })
    response.on('error', () => undefined)
    request.on('error', () => undefined)
    let body = ''
    try {
      for await (const chunk of request.setEncoding('utf8')) body += chunk
    } catch {
      return
    }
    seen.push({ headers: request.headers, url: request.url ?? '', body })
    play(response, request, body)
  }
  const server = createServer(listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = (): void => {
    server.closeAllConnections()
    server.close()
  }
  started.push({ close })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server, seen, cut, close }
}

export interface Setup {
  readonly proxy: OpenAiProxy
  readonly router: LiveRouter
  readonly fleet: Fleet
  readonly connections: Connections
  readonly counted: string[]
  /** Rows of settled calls. */
  calls(): CallRow[]
  /** Resolves when `n` calls are settled. */
  settled(n: number): Promise<CallRow[]>
}

export interface SetupChange {
  readonly pool?: Partial<RouterPool>
  readonly parts?: Partial<OpenAiProxyParts>
  readonly apiKey?: string
}

const TIMEOUTS = { firstByteMs: 10_000, idleMs: 10_000, totalMs: 60_000 }

/** The proxy before instances at `urls`, in that order: the first is tried first, the others are its fallbacks. */
export async function startProxy(urls: readonly string[], change: SetupChange = {}): Promise<Setup> {
  const fleet = createFleet({ options: FLEET_DEFAULTS })
  const connections = createConnections({ connectTimeoutMs: 1_000, onProblem: () => undefined })
  // The fastest idle instance is placed on first.
  const instances = urls.map((url, i) => ({ name: `i${i}`, url, weight: 1, speed: 100 / 10 ** i }))
  fleet.reconcile('m', instances)
  connections.configure(
    'm',
    change.apiKey === undefined ? instances : instances.map((one) => ({ ...one, apiKey: change.apiKey as string })),
  )
  const rows: LogRow[] = []
  const counted: string[] = []
  const waiting: (() => void)[] = []
  const pool: RouterPool = {
    name: 'm',
    models: ['m'],
    aliases: { nick: 'm' },
    adapters: [],
    policy: 'least-request-speed',
    fallbackPolicy: 'least-request',
    explorationRatio: 0,
    requestUsage: true,
    virtual: false,
    ...change.pool,
  }
  const append = (row: LogRow): void => {
    rows.push(row)
    for (const look of waiting.splice(0)) look()
  }
  const router = createRouter({
    pools: [pool],
    fleet,
    tokens: { estimate: (_pool, call) => Math.ceil(call.promptBytes / 4), learn: () => undefined },
    lengths: createRunningLength(),
    log: { append },
    events: { settled: () => undefined, count: (what) => void counted.push(what) },
    clock: systemClock,
    rng: createRng(7),
    textFeatures: true,
    retriesPerCall: 2,
  })
  const proxy = await createOpenAiProxy({
    listen: { host: '127.0.0.1', port: 0 },
    router,
    connections,
    callerKeys: [],
    debugHeaders: false,
    bodyLimitBytes: 1024 * 1024,
    timeouts: TIMEOUTS,
    textFeatures: true,
    clock: systemClock,
    telemetry: {},
    count: (what) => void counted.push(what),
    ...change.parts,
  })
  started.push({
    close: async () => {
      await proxy.close(0)
      await connections.close(0)
    },
  })
  const calls = (): CallRow[] => rows.filter((row) => row.kind === 'call')
  const settled = async (n: number): Promise<CallRow[]> => {
    while (calls().length < n) await new Promise<void>((done) => waiting.push(done))
    return calls()
  }
  return { proxy, router, fleet, connections, counted, calls, settled }
}

/** A chat body with one user message. */
export const chat = (change: Record<string, unknown> = {}): string =>
  JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'Say hello.' }], ...change })

/** POSTs `body` to `path` of the proxy. */
export function post(setup: Pick<Setup, 'proxy'>, path: string, body: string, init: RequestInit = {}): Promise<Response> {
  return fetch(`${setup.proxy.url}${path}`, {
    method: 'POST',
    body,
    ...init,
    headers: { 'content-type': 'application/json', ...(init.headers as Record<string, string>) },
  })
}

/** A whole chat answer. */
export const ANSWER = {
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1,
  model: 'm',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hello!' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 9, completion_tokens: 2, total_tokens: 11 },
}

/** Plays a whole answer. */
export const answerWhole: Play = (response) => {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(ANSWER))
}

const chunk = (delta: object, finish: string | null = null): string =>
  `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`

/** The events of a streamed chat answer, without usage. */
export const EVENTS = [
  chunk({ role: 'assistant', content: '' }),
  chunk({ content: 'Hel' }),
  chunk({ content: 'lo!' }),
  chunk({}, 'stop'),
  'data: [DONE]\n\n',
]

/** The extra event of usage alone. */
export const USAGE_EVENT = `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [], usage: { prompt_tokens: 9, completion_tokens: 2, total_tokens: 11 } })}\n\n`

/** Plays a stream, with usage where asked for, as vLLM does: then every event but that one says `"usage":null`. */
export const answerStream: Play = (response, _request, body) => {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
  const wantsUsage = JSON.parse(body).stream_options?.include_usage === true
  for (const event of EVENTS) {
    if (wantsUsage && event.startsWith('data: [DONE]')) response.write(USAGE_EVENT)
    response.write(event)
  }
  response.end()
}

/** The error in a reply of OpenAI's shape. */
export async function errorIn(reply: Response): Promise<{ readonly message: string; readonly type: string; readonly code: string | null }> {
  const { error } = (await reply.json()) as { error: { message: string; type: string; code: string | null } }
  return error
}
