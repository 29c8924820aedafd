import { type EventQueue, SCRAPE } from './event-queue.ts'
import type { Signals } from './twin-instance.ts'

/** How often routers read each signal of each instance, ms; 0: at each decision; Infinity: never. */
export type ScrapeMs = number | { readonly queueMs: number; readonly kvMs: number }

const SIGNALS: readonly Signals[] = ['all', 'queue', 'kv']

/** When which router scrapes what: `b` of a SCRAPE event is the signals' number. */
export class ScrapePlan {
  readonly #events: EventQueue
  readonly #everyMs: readonly number[]

  constructor(events: EventQueue, scrapeMs: ScrapeMs) {
    this.#events = events
    const { queueMs, kvMs } = typeof scrapeMs === 'number' ? { queueMs: scrapeMs, kvMs: scrapeMs } : scrapeMs
    this.#everyMs = queueMs === kvMs ? [queueMs, 0, 0] : [0, queueMs, kvMs]
  }

  /** Plans everybody's first scrapes: in turn, so that not all routers look at once. */
  start(routers: number): void {
    for (let router = 0; router < routers; router++)
      for (const [b, everyMs] of this.#everyMs.entries())
        if (everyMs > 0 && everyMs < Number.POSITIVE_INFINITY)
          this.#events.push((everyMs * router) / routers, { kind: SCRAPE, a: router, b })
  }

  /** What the scrape that happens now reads; the next one of its kind is planned. */
  happened(nowMs: number, router: number, b: number): Signals {
    this.#events.push(nowMs + (this.#everyMs[b] as number), { kind: SCRAPE, a: router, b })
    return SIGNALS[b] as Signals
  }
}
