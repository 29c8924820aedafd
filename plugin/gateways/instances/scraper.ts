import { request } from 'undici'
import type { Connections } from './connections.ts'

/** Why a scrape gave no text. 'connect': nobody listens there; 'other': too late, another status than 200, or a broken body. */
export interface ScrapeFailure {
  readonly kind: 'connect' | 'other'
  readonly message: string
}

/** `Target` is whatever the caller names an instance by; one object is scraped once. `Mark` is what it wants back with the answer. */
export interface ScraperParts<Target extends { readonly url: string }, Mark> {
  readonly intervalMs: number
  readonly timeoutMs: number
  /** Monotonic clock. */
  readonly nowMs: () => number
  /** Uniform in [0, 1): spreads the first scrapes over the interval. */
  readonly random: () => number
  readonly connections: Pick<Connections, 'dispatcherFor' | 'authorization'>
  /** Called right before the request is sent. */
  readonly begin: (target: Target, nowMs: number) => Mark
  readonly onText: (target: Target, mark: Mark, text: string, nowMs: number) => void
  readonly onFailure: (target: Target, failure: ScrapeFailure, nowMs: number) => void
}

export interface Scraper<Target> {
  /** Scrapes these from now on; those not named any more are left alone. */
  track(targets: Iterable<Target>): void
  /** Ends all scraping; resolves when nothing is under way any more. */
  close(): Promise<void>
}

/** A vLLM needs 6 to 20 ms to answer (gateways.md): scraping takes at most a tenth of an instance's time, so 20 ms allow 200 ms intervals. */
const REST_FACTOR = 9
/** However slow, an instance is scraped this often, or its values would count as stale (`scrapeStaleMs`) all the time. */
const REST_MS_MAX = 2_000
/** A body of a hundred engines; beyond that it is no /metrics. */
const BODY_BYTES_MAX = 8 * 1024 * 1024

/** Pause before the next scrape of an instance whose last one took `tookMs`. */
export function restMs(given: { readonly tookMs: number; readonly intervalMs: number }): number {
  const slow = Math.min(REST_FACTOR * given.tookMs, REST_MS_MAX)
  return Math.max(given.intervalMs - given.tookMs, slow, 0)
}

/** Asks each tracked instance for its /metrics again and again, one request at a time per instance. */
export function createScraper<Target extends { readonly url: string }, Mark>(parts: ScraperParts<Target, Mark>): Scraper<Target> {
  const loops = new Map<Target, { readonly stop: AbortController; readonly done: Promise<void> }>()
  const ending = new Set<Promise<void>>()
  const drop = (target: Target): void => {
    const loop = loops.get(target)
    if (!loop) return
    loops.delete(target)
    loop.stop.abort()
    ending.add(loop.done)
    loop.done.finally(() => ending.delete(loop.done))
  }
  return {
    track(targets) {
      const wanted = new Set(targets)
      for (const target of [...loops.keys()]) if (!wanted.has(target)) drop(target)
      for (const target of wanted) {
        if (loops.has(target)) continue
        const stop = new AbortController()
        loops.set(target, { stop, done: scrapeForever(parts, target, stop.signal) })
      }
    },
    async close() {
      for (const target of [...loops.keys()]) drop(target)
      await Promise.all(ending)
    },
  }
}

async function scrapeForever<Target extends { readonly url: string }, Mark>(
  parts: ScraperParts<Target, Mark>,
  target: Target,
  stop: AbortSignal,
): Promise<void> {
  let pauseMs = parts.random() * parts.intervalMs
  while (await rested(pauseMs, stop)) {
    const startedMs = parts.nowMs()
    const mark = parts.begin(target, startedMs)
    const result = await scrape(parts, target.url, stop)
    if (stop.aborted) return
    const nowMs = parts.nowMs()
    if (typeof result === 'string') parts.onText(target, mark, result, nowMs)
    else parts.onFailure(target, result, nowMs)
    pauseMs = restMs({ tookMs: nowMs - startedMs, intervalMs: parts.intervalMs })
  }
}

/** Resolves true after the pause, false as soon as `stop` says so. The pause keeps no process alive. */
function rested(pauseMs: number, stop: AbortSignal): Promise<boolean> {
  if (stop.aborted) return Promise.resolve(false)
  return new Promise((resolve) => {
    const onStop = (): void => {
      clearTimeout(timer)
      resolve(false)
    }
    const timer = setTimeout(() => {
      stop.removeEventListener('abort', onStop)
      resolve(true)
    }, pauseMs).unref()
    stop.addEventListener('abort', onStop, { once: true })
  })
}

async function scrape<Target extends { readonly url: string }, Mark>(
  parts: ScraperParts<Target, Mark>,
  url: string,
  stop: AbortSignal,
): Promise<string | ScrapeFailure> {
  try {
    const authorization = parts.connections.authorization(url)
    const { statusCode, body } = await request(`${url.replace(/\/+$/, '')}/metrics`, {
      dispatcher: parts.connections.dispatcherFor(url),
      signal: AbortSignal.any([stop, AbortSignal.timeout(parts.timeoutMs)]),
      headers: { accept: 'text/plain', ...(authorization === undefined ? {} : { authorization }) },
    })
    if (statusCode !== 200) {
      await body.dump()
      return { kind: 'other', message: `/metrics answered ${statusCode}` }
    }
    return await readText(body)
  } catch (error) {
    return failureOf(error)
  }
}

async function readText(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.length
    if (bytes > BODY_BYTES_MAX) throw new Error(`/metrics is longer than ${BODY_BYTES_MAX} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Errors that say that no server listens at the address, or that there is no way to it. */
const CONNECT_ERRORS = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'UND_ERR_CONNECT_TIMEOUT'])

function failureOf(error: unknown): ScrapeFailure {
  const { message } = error instanceof Error ? error : new Error(String(error))
  const code = (error as { readonly code?: unknown } | undefined)?.code
  return { kind: typeof code === 'string' && CONNECT_ERRORS.has(code) ? 'connect' : 'other', message: message || String(code) }
}
