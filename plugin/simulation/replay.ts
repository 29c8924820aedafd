import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, type Dispatcher } from 'undici'
import type { Clock } from '../clock.ts'
import { seedOf } from '../rng.ts'
import { type MeasuredCall, sendCall } from './call-client.ts'
import { promptText } from './prompt-text.ts'
import type { TraceCall } from './traces.ts'

export interface ReplayOptions {
  /** In order of time; a generator or a stream is read as it is needed. */
  readonly trace: Iterable<TraceCall> | AsyncIterable<TraceCall>
  /** Where to send the calls, e.g. http://127.0.0.1:8400; with or without /v1. */
  readonly url: string
  /** Times faster than the trace; 1 by default. */
  readonly speed?: number
  /** At most so many calls. */
  readonly calls?: number
  /** Only the trace's first so many seconds. */
  readonly seconds?: number
  /** The first model that /v1/models lists by default. */
  readonly model?: string
  readonly apiKey?: string
  readonly clock: Clock
  /** About four times a second, and at the end. */
  readonly onProgress?: (progress: ReplayProgress) => void
  /** Aborted: sends nothing more and leaves the calls under way. */
  readonly signal?: AbortSignal
}

export interface ReplayProgress {
  readonly sent: number
  readonly succeeded: number
  readonly failed: number
  readonly inFlight: number
  /** Place in the trace, ms. */
  readonly atMs: number
}

/** Mean and percentiles in ms; undefined where there was nothing to measure. */
export interface Distribution {
  readonly count: number
  readonly meanMs: number
  readonly p50Ms: number
  readonly p95Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

export interface ReplayResult {
  readonly sent: number
  readonly succeeded: number
  readonly failed: number
  readonly failures: Readonly<Record<string, number>>
  readonly ttft: Distribution | undefined
  readonly tpot: Distribution | undefined
  readonly e2e: Distribution | undefined
  /** Successful calls by serving instance, where replies name it. */
  readonly callsByInstance: Readonly<Record<string, number>>
  /** How late calls left, against the trace's own times: the sender's quality, not the server's. */
  readonly lateness: Distribution | undefined
  readonly outputTokens: number
  readonly wallMs: number
  readonly speed: number
  readonly model: string
}

const PROGRESS_EVERY_MS = 250

/**
 * Sends a trace's calls at the trace's own times, open loop: a slow answer delays nobody. Each call streams, asks for exactly the
 * trace's output length and has a prompt of the trace's token count; equal `hashIds` are equal text. Rejects when no model is known.
 */
export async function replay(options: ReplayOptions): Promise<ReplayResult> {
  const dispatcher = new Agent({ connections: null, pipelining: 1, headersTimeout: 0, bodyTimeout: 0, keepAliveTimeout: 30_000 })
  try {
    const model = options.model ?? (await firstModel(options, dispatcher))
    return await run({ ...options, model, dispatcher })
  } finally {
    await dispatcher.destroy()
  }
}

async function run(options: ReplayOptions & { readonly model: string; readonly dispatcher: Dispatcher }): Promise<ReplayResult> {
  const { clock, signal, speed = 1, model } = options
  if (!(speed > 0)) throw new Error(`speed must be above 0, got ${speed}`)
  // Every call under way listens; Node's warning is about leaks of ten.
  if (signal) setMaxListeners(0, signal)
  const done: MeasuredCall[] = []
  const latenessMs: number[] = []
  const underWay = new Set<Promise<void>>()
  const startMs = clock.nowMs()
  let atMs = 0
  let failed = 0
  const tell = (): void =>
    options.onProgress?.({ sent: latenessMs.length, succeeded: done.length - failed, failed, inFlight: underWay.size, atMs })
  const ticker = setInterval(tell, PROGRESS_EVERY_MS)
  try {
    for await (const call of options.trace) {
      if (
        latenessMs.length >= (options.calls ?? Number.POSITIVE_INFINITY) ||
        call.atMs >= (options.seconds ?? Number.POSITIVE_INFINITY) * 1000
      )
        break
      atMs = call.atMs
      const dueMs = startMs + call.atMs / speed
      await until({ dueMs, clock, signal })
      if (signal?.aborted) break
      const outgoing = outgoingCall(call, { ...options, index: latenessMs.length })
      latenessMs.push(Math.max(0, clock.nowMs() - dueMs))
      const settled = sendCall(outgoing, options).then((measured) => {
        done.push(measured)
        if (!measured.ok) failed++
        underWay.delete(settled)
      })
      underWay.add(settled)
    }
    await Promise.all(underWay)
  } finally {
    clearInterval(ticker)
  }
  tell()
  return summarise({ done, latenessMs, wallMs: clock.nowMs() - startMs, speed, model })
}

/** Timers are late by up to about a millisecond; one set this much early comes in time on average. */
const TIMER_LEAD_MS = 0.5

async function until(wait: { readonly dueMs: number; readonly clock: Clock; readonly signal: AbortSignal | undefined }): Promise<void> {
  const restMs = wait.dueMs - wait.clock.nowMs() - TIMER_LEAD_MS
  if (restMs <= 0) return
  try {
    await sleep(restMs, undefined, wait.signal ? { signal: wait.signal } : {})
  } catch (cause) {
    // Waking up by the abort is what was asked for; the caller looks at the signal.
    if (!wait.signal?.aborted) throw cause
  }
}

function outgoingCall(call: TraceCall, send: ReplayOptions & { readonly model: string; readonly index: number }) {
  const content = promptText({
    promptTokens: call.promptTokens,
    seed: seedOf(`replay ${send.index}`),
    ...(call.hashIds ? { hashIds: call.hashIds } : {}),
    ...(call.task === undefined ? {} : { task: call.task }),
  })
  return {
    origin: originOf(send.url),
    path: '/v1/chat/completions',
    headers: {
      'content-type': 'application/json',
      'x-virtual-output-tokens': String(call.outputTokens),
      ...(call.application === undefined ? {} : { 'x-phasewise-application': call.application }),
      ...authorization(send.apiKey),
    },
    body: JSON.stringify({
      model: send.model,
      messages: [{ role: 'user', content }],
      stream: true,
      stream_options: { include_usage: true },
      max_tokens: call.outputTokens,
      ignore_eos: true,
    }),
    ...(send.signal ? { signal: send.signal } : {}),
  }
}

/** The bearer header of a key, none without one. */
export function authorization(apiKey: string | undefined): Record<string, string> {
  return apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }
}

/** Scheme, host and port of an address that may carry a path such as /v1. */
export function originOf(url: string): string {
  return new URL(url).origin
}

async function firstModel({ url, apiKey }: ReplayOptions, dispatcher: Dispatcher): Promise<string> {
  const reply = await dispatcher.request({ origin: originOf(url), path: '/v1/models', method: 'GET', headers: authorization(apiKey) })
  const text = await reply.body.text()
  const model = reply.statusCode === 200 ? (JSON.parse(text) as { data?: { id?: string }[] }).data?.[0]?.id : undefined
  if (model === undefined) throw new Error(`${url}/v1/models answered ${reply.statusCode} and named no model; say which with --model`)
  return model
}

interface Measurements {
  readonly done: readonly MeasuredCall[]
  readonly latenessMs: readonly number[]
  readonly wallMs: number
  readonly speed: number
  readonly model: string
}

function summarise({ done, latenessMs, ...rest }: Measurements): ReplayResult {
  const succeeded = done.filter((call) => call.ok)
  return {
    sent: latenessMs.length,
    succeeded: succeeded.length,
    failed: done.length - succeeded.length,
    failures: countBy(done.flatMap((call) => call.failure ?? [])),
    ttft: distributionOf(succeeded.flatMap((call) => call.ttftMs ?? [])),
    tpot: distributionOf(succeeded.flatMap((call) => call.tpotMs ?? [])),
    e2e: distributionOf(succeeded.map((call) => call.e2eMs)),
    callsByInstance: countBy(succeeded.flatMap((call) => call.instance ?? [])),
    lateness: distributionOf(latenessMs),
    outputTokens: succeeded.reduce((sum, call) => sum + call.outputTokens, 0),
    ...rest,
  }
}

function countBy(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names.toSorted()) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

/** Mean, nearest-rank percentiles and maximum; undefined for no values. */
export function distributionOf(values: readonly number[]): Distribution | undefined {
  if (values.length === 0) return undefined
  const sorted = values.toSorted((a, b) => a - b)
  const percentile = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] as number
  return {
    count: sorted.length,
    meanMs: sorted.reduce((sum, value) => sum + value, 0) / sorted.length,
    p50Ms: percentile(0.5),
    p95Ms: percentile(0.95),
    p99Ms: percentile(0.99),
    maxMs: percentile(1),
  }
}
