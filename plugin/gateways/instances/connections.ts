import { readFileSync } from 'node:fs'
import { type Dispatcher, Pool } from 'undici'

/** One instance as a list or a discovery names it; keys are resolved already and never printed. */
export interface DesiredInstance {
  readonly name: string
  /** Base url, e.g. `http://10.0.0.3:8000`. */
  readonly url: string
  readonly weight: number
  readonly speed: number
  /** Sent as `Authorization: Bearer …`. */
  readonly apiKey?: string
  /** PEM file of the authority that signed the instance's certificate. */
  readonly caFile?: string
  /** The name its certificate is for, where the url holds an address. */
  readonly serverName?: string
}

export interface ConnectionsParts {
  readonly connectTimeoutMs: number
  /** Something about one instance's connection is wrong, in words with the remedy. */
  readonly onProblem: (problem: string) => void
}

/** Keep-alive connections to the instances, one pool per instance, shared by the calls and the scrapes. */
export interface Connections {
  /** Makes `owner`'s instances (a pool's name) these. Those that nobody names any more close when their calls ended. */
  configure(owner: string, instances: readonly DesiredInstance[]): void
  /** Throws for a url that no configured instance has. */
  dispatcherFor(url: string): Dispatcher
  /** Value of the Authorization header for the instance itself; undefined where it wants none. */
  authorization(url: string): string | undefined
  /** Closes all; calls that still run are given `graceMs` and then cut. */
  close(graceMs: number): Promise<void>
}

/** uvicorn (vLLM, SGLang) drops an idle connection after 5 s: below that, no call meets a connection that is just being dropped. */
const KEEP_ALIVE_MS = 4_000

interface Entry {
  readonly pool: Pool
  /** What the connection's security rests on: with another one the connections are made anew. */
  readonly tls: string
  readonly authorization: string | undefined
}

/** Connections to nobody yet; `configure` brings the instances. */
export function createConnections(parts: ConnectionsParts): Connections {
  const owners = new Map<string, readonly DesiredInstance[]>()
  const closing = new Map<Pool, Promise<void>>()
  let entries = new Map<string, Entry>()
  const complain = (error: unknown): void => parts.onProblem(`connections: ${error instanceof Error ? error.message : String(error)}`)
  const retire = (pool: Pool): void => {
    const closed = pool.close().catch(complain)
    closing.set(pool, closed)
    closed.finally(() => closing.delete(pool)).catch(complain)
  }
  return {
    configure(owner, instances) {
      owners.set(owner, instances)
      const next = new Map<string, Entry>()
      // Where two owners name the same url, the first one's key and authority hold.
      for (const instance of [...owners.values()].flat())
        if (!next.has(instance.url)) next.set(instance.url, entryFor(instance, entries.get(instance.url), parts))
      const kept = new Set([...next.values()].map((entry) => entry.pool))
      for (const { pool } of entries.values()) if (!kept.has(pool)) retire(pool)
      entries = next
    },
    dispatcherFor(url) {
      const entry = entries.get(url)
      if (!entry) throw new Error(`no instance is configured at ${url}`)
      return entry.pool
    },
    authorization: (url) => entries.get(url)?.authorization,
    async close(graceMs) {
      for (const { pool } of entries.values()) retire(pool)
      entries = new Map()
      const open = [...closing]
      const timer = setTimeout(() => {
        for (const [pool] of open) pool.destroy().catch(complain)
      }, graceMs)
      await Promise.all(open.map(([, closed]) => closed))
      clearTimeout(timer)
    },
  }
}

function entryFor(instance: DesiredInstance, known: Entry | undefined, parts: ConnectionsParts): Entry {
  const ca = readAuthority(instance, parts)
  const tls = JSON.stringify([ca, instance.serverName])
  const authorization = instance.apiKey === undefined ? undefined : `Bearer ${instance.apiKey}`
  if (known?.tls === tls) return { ...known, authorization }
  const pool = new Pool(new URL(instance.url).origin, {
    // How many calls run at once is the router's decision, and how long they may take the caller's: neither is cut here.
    connections: null,
    headersTimeout: 0,
    bodyTimeout: 0,
    pipelining: 1,
    allowH2: false,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MS,
    connect: {
      timeout: parts.connectTimeoutMs,
      ...(ca === undefined ? {} : { ca }),
      ...(instance.serverName === undefined ? {} : { servername: instance.serverName }),
    },
  })
  return { pool, tls, authorization }
}

function readAuthority(instance: DesiredInstance, parts: ConnectionsParts): string | undefined {
  if (instance.caFile === undefined) return undefined
  try {
    return readFileSync(instance.caFile, 'utf8')
  } catch (error) {
    parts.onProblem(
      `instance ${instance.name}: caFile ${instance.caFile} cannot be read (${(error as Error).message}); its certificate is checked against the system's authorities until the file is there`,
    )
    return undefined
  }
}
