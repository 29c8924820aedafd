import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, type Dispatcher } from 'undici'
import type { Clock } from '../clock.ts'
import type { Rng } from '../rng.ts'
import { type MeasuredCall, type OutgoingCall, sendCall } from './call-client.ts'
import { Conversations } from './conversations.ts'
import { promptText } from './prompt-text.ts'
import { authorization, originOf } from './replay.ts'
import { burstingRate, drawCall, poissonArrivals } from './workload.ts'

export interface DemoLoadOptions {
  /** Where the proxy listens; it may not be there yet. */
  readonly url: string
  readonly model: string
  /** Capacity of the fleet behind it, see `fleetCallsPerS`. */
  readonly capacityCallsPerS: number
  readonly apiKey?: string
  /** Share of the capacity sent most of the time, 0.6 by default. */
  readonly load?: number
  /** Share of the capacity sent in a burst, 1.3 by default. */
  readonly burstLoad?: number
  readonly burstEveryMs?: number
  readonly burstMs?: number
  readonly clock: Clock
  readonly rng: Rng
  /** Ends the load, with every call under way. */
  readonly signal: AbortSignal
  readonly onSettled?: (call: MeasuredCall) => void
}

export interface DemoLoadTotals {
  readonly sent: number
  readonly succeeded: number
  readonly failed: number
  /** Arrivals not sent, because the proxy was away or too many calls were under way. */
  readonly skipped: number
}

/** A burst of 20 s every 4 minutes: rare enough to see calm, frequent enough to be met by a visitor. */
const BURST_EVERY_MS = 240_000
const BURST_MS = 20_000

/** Calls under way at once; beyond it arrivals are skipped and counted, so that a stuck fleet does not eat the machine. */
const IN_FLIGHT_LIMIT = 2000

/** Waiting between looks at a proxy that is away. */
const AWAY = { firstMs: 200, mostMs: 5000 }

/** The application whose calls are turns of growing conversations, so that prefixes are reused. */
const CONVERSING = 'chat-assistant'

/**
 * Sends mixed traffic of the five tasks from named applications, until aborted: Poisson arrivals at a share of the fleet's capacity with a
 * burst above it, about half streamed. Never rejects over a proxy that is away, refuses or breaks off: it looks again, ever less often.
 */
export async function runDemoLoad(options: DemoLoadOptions): Promise<DemoLoadTotals> {
  setMaxListeners(0, options.signal)
  const dispatcher = new Agent({ connections: null, pipelining: 1, headersTimeout: 0, bodyTimeout: 0, keepAliveTimeout: 30_000 })
  try {
    return await new DemoLoad(options, dispatcher).run()
  } finally {
    await dispatcher.destroy()
  }
}

class DemoLoad {
  readonly #options: DemoLoadOptions
  readonly #dispatcher: Dispatcher
  readonly #contents: Rng
  readonly #conversations: Conversations
  readonly #underWay = new Set<Promise<void>>()
  readonly #totals = { sent: 0, succeeded: 0, failed: 0, skipped: 0 }
  #away = true

  constructor(options: DemoLoadOptions, dispatcher: Dispatcher) {
    this.#options = options
    this.#dispatcher = dispatcher
    this.#contents = options.rng.stream('contents')
    this.#conversations = new Conversations(options.rng.stream('conversations'))
  }

  async run(): Promise<DemoLoadTotals> {
    const { clock, signal, capacityCallsPerS, rng, load = 0.6, burstLoad = 1.3 } = this.#options
    const plan = { everyMs: this.#options.burstEveryMs ?? BURST_EVERY_MS, burstMs: this.#options.burstMs ?? BURST_MS }
    const rate = burstingRate({ baseCallsPerS: load * capacityCallsPerS, burstCallsPerS: burstLoad * capacityCallsPerS, ...plan })
    const peakCallsPerS = Math.max(load, burstLoad) * capacityCallsPerS
    let startMs = clock.nowMs()
    for (const atMs of poissonArrivals({ rate, peakCallsPerS, rng: rng.stream('arrivals') })) {
      if (this.#away) startMs += await this.#waitForProxy()
      await pause(startMs + atMs - clock.nowMs(), signal)
      if (signal.aborted) break
      if (this.#underWay.size >= IN_FLIGHT_LIMIT) this.#totals.skipped++
      else this.#send()
    }
    await Promise.all(this.#underWay)
    return this.#totals
  }

  #send(): void {
    this.#totals.sent++
    const settled = this.#call().then((call) => {
      this.#underWay.delete(settled)
      if (call.ok) this.#totals.succeeded++
      else this.#totals.failed++
      // No status at all: nobody is there.
      if (!call.ok && call.status === undefined) this.#away = true
      if (call.failure !== 'aborted') this.#options.onSettled?.(call)
    })
    this.#underWay.add(settled)
  }

  async #call(): Promise<MeasuredCall> {
    const drawn = drawCall(this.#contents)
    const stream = this.#contents.int(2) === 1
    const parts = { dispatcher: this.#dispatcher, clock: this.#options.clock }
    if (drawn.application === CONVERSING) {
      const conversation = this.#conversations.take()
      const call = await sendCall({ ...this.#outgoing(CONVERSING, conversation.messages, stream), keepText: true }, parts)
      this.#conversations.give(conversation, call.ok ? call.text : undefined)
      return call
    }
    const seed = this.#contents.int(2 ** 31)
    const content = promptText({ promptTokens: drawn.promptTokens, task: drawn.task, seed })
    return sendCall(this.#outgoing(drawn.application, [{ role: 'user', content }], stream), parts)
  }

  #outgoing(application: string, messages: readonly unknown[], stream: boolean): OutgoingCall {
    const { url, model, apiKey, signal } = this.#options
    return {
      origin: originOf(url),
      path: '/v1/chat/completions',
      headers: { 'content-type': 'application/json', 'x-phasewise-application': application, ...authorization(apiKey) },
      body: JSON.stringify({ model, messages, stream }),
      signal,
    }
  }

  /** Resolves when /health answers, with how long that took: time does not pass for the load meanwhile. */
  async #waitForProxy(): Promise<number> {
    const { clock, signal, url } = this.#options
    const awaySinceMs = clock.nowMs()
    for (let waitMs = AWAY.firstMs; !signal.aborted; waitMs = Math.min(AWAY.mostMs, waitMs * 2)) {
      if (await answers({ url, dispatcher: this.#dispatcher })) break
      await pause(waitMs, signal)
    }
    this.#away = false
    return clock.nowMs() - awaySinceMs
  }
}

async function answers({ url, dispatcher }: { readonly url: string; readonly dispatcher: Dispatcher }): Promise<boolean> {
  try {
    const reply = await dispatcher.request({ origin: originOf(url), path: '/health', method: 'GET', headersTimeout: 2000 })
    await reply.body.dump()
    return reply.statusCode === 200
  } catch {
    // Any failure here means the same: nobody is there yet.
    return false
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0 || signal.aborted) return
  try {
    await sleep(ms, undefined, { signal })
  } catch (cause) {
    if (!signal.aborted) throw cause
  }
}
