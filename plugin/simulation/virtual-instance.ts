import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Clock } from '../clock.ts'
import { seedOf } from '../rng.ts'
import { createEngine, type Engine, type EngineStats } from './engine.ts'
import type { Profile } from './profiles.ts'
import { type Behaviour, parseBehaviour, WELL_BEHAVED } from './virtual/behaviour.ts'
import { BadBody, PATHS } from './virtual/demand.ts'
import { readJson, refuse, sendJson } from './virtual/exchange.ts'
import { EngineLoop } from './virtual/loop.ts'
import { emptyCounters, metricsText, type ServerCounters } from './virtual/metrics.ts'
import { Serving } from './virtual/serving.ts'

export interface VirtualInstanceOptions {
  readonly name: string
  readonly profile: Profile
  /** Model names served; the first is the one metrics are labelled with. */
  readonly models: readonly string[]
  /** 127.0.0.1 by default. */
  readonly host?: string
  /** 0 takes a free port. */
  readonly port: number
  /** Every duration of the engine is divided by it: 4 is four times faster than the profile. 1 by default. */
  readonly timeFactor?: number
  /** In place of the profile's. */
  readonly kvBlocks?: number
  readonly seats?: number
  readonly prefixCache?: boolean
  /** Calls that may wait in the engine; one more gets 503. Unbounded by default. */
  readonly maxQueued?: number
  /** Demanded as bearer token or `x-api-key` on /v1 paths; none by default. */
  readonly apiKey?: string
  readonly clock: Clock
}

export interface VirtualInstance {
  readonly name: string
  readonly url: string
  readonly port: number
  stats(): EngineStats
  behaviour(): Behaviour
  /** Plays one of the things that go wrong, or 'ok' again (a closed port is opened again). */
  setBehaviour(behaviour: { readonly mode: Behaviour['mode'] } & Partial<Behaviour>): Promise<void>
  /** Closes the port and every connection. */
  close(): Promise<void>
}

/** How long a server whose engine died says 503 before its port closes, as seen on vLLM 0.32. */
const KILLED_PORT_CLOSES_AFTER_MS = 1000

/**
 * Starts an engine in real time behind the HTTP API of a vLLM server (OpenAI and Anthropic paths, /health, /metrics). Resolves when
 * it listens; rejects when the port is taken.
 */
export async function startVirtualInstance(options: VirtualInstanceOptions): Promise<VirtualInstance> {
  const machine = new Machine(options)
  await machine.listen(options.port)
  return {
    name: options.name,
    url: `http://${options.host ?? '127.0.0.1'}:${machine.port}`,
    port: machine.port,
    stats: () => machine.engine.stats(),
    behaviour: () => machine.behaviour,
    setBehaviour: (behaviour) => machine.behave({ ...WELL_BEHAVED, ...parseBehaviour(behaviour) }),
    close: () => machine.close(),
  }
}

/** One instance: its engine, its loop, its port and what it does wrong at the moment. */
class Machine {
  readonly engine: Engine
  readonly #loop: EngineLoop
  readonly #serving: Serving
  readonly #server: Server
  readonly #counters: ServerCounters = emptyCounters()
  readonly #options: VirtualInstanceOptions
  #behaviour = WELL_BEHAVED
  #port = 0
  #later: NodeJS.Timeout | undefined

  constructor(options: VirtualInstanceOptions) {
    const { profile, maxQueued, kvBlocks, seats, prefixCache, clock } = options
    this.#options = options
    this.engine = createEngine({
      profile,
      ...(maxQueued === undefined ? {} : { maxQueued }),
      ...(kvBlocks === undefined ? {} : { kvBlocks }),
      ...(seats === undefined ? {} : { seats }),
      ...(prefixCache === undefined ? {} : { prefixCache }),
    })
    this.#loop = new EngineLoop({ engine: this.engine, clock, timeFactor: options.timeFactor ?? 1 })
    this.#serving = new Serving({
      engine: this.engine,
      loop: this.#loop,
      clock,
      counters: this.#counters,
      models: options.models,
      idPrefix: seedOf(`${options.name}/${clock.nowUnixMs()}`).toString(16).padStart(8, '0'),
      behaviour: () => this.#behaviour,
    })
    this.#server = createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
      this.#answer(request, response).catch((cause: unknown) => response.destroy(cause instanceof Error ? cause : new Error(String(cause))))
    })
  }

  get port(): number {
    return this.#port
  }

  get behaviour(): Behaviour {
    return this.#behaviour
  }

  listen(port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(port, this.#options.host ?? '127.0.0.1', () => {
        this.#server.off('error', reject)
        this.#port = (this.#server.address() as AddressInfo).port
        resolve()
      })
    })
  }

  async behave(behaviour: Behaviour): Promise<void> {
    clearTimeout(this.#later)
    this.#behaviour = behaviour
    this.#loop.slowDown(behaviour.mode === 'slow' ? behaviour.factor : 1)
    if (behaviour.forMs !== undefined) this.#later = setTimeout(() => this.#recover(), behaviour.forMs)
    switch (behaviour.mode) {
      case 'hung':
        this.#loop.pause()
        return
      case 'engine-killed':
        this.#loop.pause()
        this.#serving.breakAll('EngineCore encountered an issue. See stack trace (above) for the root cause.')
        if (behaviour.forMs === undefined) this.#later = setTimeout(() => this.#closePort(), KILLED_PORT_CLOSES_AFTER_MS)
        return
      case 'sigterm-silent':
        this.#serving.silenceAll()
        this.#loop.pause()
        this.#server.close()
        return
      case 'refuse':
        this.#server.close()
        return
      default:
        if (!this.#server.listening) await this.listen(this.#port)
        this.#loop.resume()
    }
  }

  async close(): Promise<void> {
    clearTimeout(this.#later)
    this.#loop.stop()
    const closed = new Promise<void>((resolve) => (this.#server.listening ? this.#server.close(() => resolve()) : resolve()))
    this.#server.closeAllConnections()
    await closed
  }

  #closePort(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }

  #recover(): void {
    this.behave(WELL_BEHAVED).catch((cause: unknown) => {
      console.error(`virtual instance ${this.#options.name}: port ${this.#port} cannot be opened again: ${String(cause)}`)
    })
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?', 1)[0] as string
    const requestId = request.headers['x-request-id']
    if (requestId !== undefined) response.setHeader('x-request-id', requestId)
    const api = isServed(path) ? PATHS[path] : undefined
    if (path.startsWith('/v1/') && !this.#authorised(request)) {
      refuse(response, api, { status: 401, message: 'Unauthorized' })
    } else if (api && request.method === 'POST') {
      if (this.#behaviour.mode === 'engine-killed') refuse(response, api, { status: 500, message: 'EngineCore is dead' })
      else await this.#serving.serve(api, request, response)
    } else if (path === '/virtual/behaviour' && request.method === 'POST') await this.#setBehaviour(request, response)
    else this.#answerRead(path, response)
  }

  #answerRead(path: string, response: ServerResponse): void {
    switch (path) {
      case '/health':
        response.writeHead(this.#behaviour.mode === 'engine-killed' ? 503 : 200).end()
        return
      case '/metrics':
        response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
        response.end(this.#metrics())
        return
      case '/v1/models':
        sendJson(response, 200, { object: 'list', data: this.#options.models.map((id) => this.#modelCard(id)) })
        return
      case '/virtual/behaviour':
        sendJson(response, 200, this.#behaviour)
        return
      default:
        refuse(response, undefined, { status: 404, message: `Not Found: ${path}` })
    }
  }

  async #setBehaviour(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const behaviour = parseBehaviour(await readJson(request))
      sendJson(response, 200, behaviour)
      await this.behave(behaviour)
    } catch (cause) {
      if (!(cause instanceof BadBody)) throw cause
      refuse(response, undefined, { status: 400, message: cause.message, field: cause.field })
    }
  }

  #metrics(): string {
    const { models, name, profile, prefixCache } = this.#options
    return metricsText({
      model: models[0] ?? name,
      engine: this.engine.stats(),
      server: this.#counters,
      prefixCache: prefixCache ?? profile.prefixCache,
      lostMs: this.#loop.lostMs,
    })
  }

  #modelCard(id: string): unknown {
    return { id, object: 'model', created: 0, owned_by: 'virtual', root: id, parent: null, max_model_len: this.engine.maxContextTokens }
  }

  #authorised(request: IncomingMessage): boolean {
    const { apiKey } = this.#options
    return apiKey === undefined || request.headers.authorization === `Bearer ${apiKey}` || request.headers['x-api-key'] === apiKey
  }
}

function isServed(path: string): path is keyof typeof PATHS {
  return Object.hasOwn(PATHS, path)
}
