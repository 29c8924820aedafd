import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Agent } from 'undici'
import { stringify } from 'yaml'
import { systemClock } from '../../plugin/clock.ts'
import { openReader } from '../../plugin/log/read/reader.ts'
import { createRng, type Rng } from '../../plugin/rng.ts'
import { type MeasuredCall, sendCall } from '../../plugin/simulation/call-client.ts'
import { promptText } from '../../plugin/simulation/prompt-text.ts'
import { fleetCallsPerS } from '../../plugin/simulation/saturation.ts'
import { defaultVirtualFleet } from '../../plugin/simulation/virtual-fleet.ts'
import { mixTrace } from '../../plugin/simulation/workload.ts'
import { endProxies, type LitellmProxy, MASTER_KEY, startLitellm } from '../e2e/litellm/proxy.ts'
import { atLeast, atMost, type BenchResult, median, progress, quantile, type Row, rounded, startNode } from './harness.ts'

/**
 * LiteLLM's proxy with and without Phasewise, in turns within one run. First what asking costs: 50 calls/s to instances that answer at once. Then what it gains:
 * one trace of the five-task mix over the virtual fleet of two speeds, under each of LiteLLM's own strategies and under Phasewise.
 */

const STRATEGIES = ['simple-shuffle', 'least-busy', 'latency-based-routing', 'phasewise'] as const
type Strategy = (typeof STRATEGIES)[number]

const CALLS_PER_S = 50
const P50_MS_GOAL = 2
const P99_MS_GOAL = 8
const GAIN_GOAL = 0.2
/**
 * The fleet runs slower than life, answers are cut at this length and one in ten is streamed, so that one LiteLLM process, which pays per call and
 * per chunk, can feed the fleet: the queues are to be at the instances, not in front of LiteLLM.
 */
const TIME_FACTOR = 0.5
const OUTPUT_TOKENS_MAX = 300
const STREAMED_OF = 10
const WARM_SECONDS = 10
const MODEL = 'llama-2-7b'

interface Options {
  readonly rounds: number
  readonly seconds: number
  readonly traceSeconds: number
  readonly traceRounds: number
  readonly load: number
  /** Phasewise's. */
  readonly policy: string
  readonly strategies: readonly Strategy[]
}

export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '6' },
      seconds: { type: 'string', default: '6' },
      'trace-seconds': { type: 'string', default: '45' },
      'trace-rounds': { type: 'string', default: '2' },
      load: { type: 'string', default: '0.6' },
      policy: { type: 'string', default: 'impact' },
      strategies: { type: 'string', default: STRATEGIES.join(',') },
    },
  })
  const options: Options = {
    rounds: Number(values.rounds),
    seconds: Number(values.seconds),
    traceSeconds: Number(values['trace-seconds']),
    traceRounds: Number(values['trace-rounds']),
    load: Number(values.load),
    policy: values.policy,
    strategies: STRATEGIES.filter((one) => values.strategies.split(',').includes(one)),
  }
  const running: { end(): Promise<unknown> }[] = []
  const agent = new Agent({ connections: 512 })
  try {
    const cost = await measureCost(options, agent, running)
    const gain = await measureGain(options, agent, running)
    return { rows: [...cost.rows, ...gain.rows], bars: [...cost.bars, ...gain.bars] }
  } finally {
    await endProxies()
    await agent.destroy()
    for (const one of running.reverse()) await one.end()
  }
}

interface Site {
  readonly urls: readonly string[]
  readonly placements: string
  readonly folder: string
}

/** Phasewise before instances at `urls`. */
async function startPhasewise({ policy }: Options, urls: readonly string[], running: { end(): Promise<unknown> }[]): Promise<Site> {
  const folder = mkdtempSync(join(tmpdir(), 'phasewise-bench-'))
  running.push({ end: async () => rmSync(folder, { recursive: true, force: true }) })
  const any = '127.0.0.1:0'
  const speeds =
    urls.length === defaultVirtualFleet.length ? defaultVirtualFleet.map((one) => (one.profile.startsWith('a100') ? 4.8 : 1)) : []
  const instances = urls.map((url, i) => ({ name: `i${i}`, url, speed: speeds[i] ?? 1 }))
  const config = {
    gateways: { openai: { listen: any }, placements: { listen: any, loopbackWithoutKey: true }, envoy: { listen: 'off' } },
    admin: { listen: any },
    telemetry: { metrics: any },
    pools: [{ name: MODEL, engine: 'virtual', policy, exploration: 0, instances }],
  }
  writeFileSync(join(folder, 'phasewise.yaml'), stringify(config))
  const phasewise = startNode(new URL('../../plugin/main.ts', import.meta.url).pathname, ['start'], { cwd: folder })
  running.push(phasewise)
  const [, placements = ''] = await phasewise.printed(/placing\s+(http:\S+)/)
  return { urls, placements, folder }
}

/** LiteLLM before the same instances: by a strategy of its own, or by Phasewise. */
function startStrategy(strategy: Strategy, site: Site): Promise<LitellmProxy> {
  const own = strategy === 'phasewise' ? 'simple-shuffle' : strategy
  const folder = mkdtempSync(join(tmpdir(), 'phasewise-litellm-'))
  if (strategy === 'phasewise')
    copyFileSync(new URL('../../plugin/gateways/litellm/phasewise_litellm.py', import.meta.url), join(folder, 'phasewise_litellm.py'))
  return startLitellm({
    folder,
    deployments: site.urls.map((url) => ({ url })),
    config: {
      router_settings: { routing_strategy: own, num_retries: 0, disable_cooldowns: true },
      ...(strategy === 'phasewise' ? { litellm_settings: { callbacks: 'phasewise_litellm.handler' } } : {}),
    },
    env: { PHASEWISE_URL: site.placements, LITELLM_LOG: 'ERROR' },
  })
}

const HEADERS = { authorization: `Bearer ${MASTER_KEY}`, 'content-type': 'application/json' }

interface Sending {
  readonly proxy: LitellmProxy
  readonly agent: Agent
  readonly calls: readonly { readonly atMs: number; readonly body: unknown; readonly name: string }[]
}

/** Sends each call at its own time, whatever became of those before. */
async function sendAll({ proxy, agent, calls }: Sending): Promise<MeasuredCall[]> {
  const startMs = performance.now()
  return Promise.all(
    calls.map(async ({ atMs, body, name }) => {
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, startMs + atMs - performance.now())))
      const headers = { ...HEADERS, 'x-phasewise-task': name }
      return sendCall(
        { origin: proxy.url, path: '/v1/chat/completions', headers, body: JSON.stringify(body) },
        { dispatcher: agent, clock: systemClock },
      )
    }),
  )
}

async function measureCost(options: Options, agent: Agent, running: { end(): Promise<unknown> }[]): Promise<BenchResult> {
  const upstream = startNode(new URL('./proxy/upstream.ts', import.meta.url).pathname, ['3'])
  running.push(upstream)
  const ports = ((await upstream.printed(/ports ([\d,]+)/))[1] ?? '').split(',')
  const site = await startPhasewise(
    options,
    ports.map((port) => `http://127.0.0.1:${port}`),
    running,
  )
  const targets = await Promise.all((['simple-shuffle', 'phasewise'] as const).map((strategy) => startStrategy(strategy, site)))
  const round = (proxy: LitellmProxy, seconds: number): Promise<MeasuredCall[]> => {
    const body = { model: 'chat', messages: [{ role: 'user', content: 'What is the capital of France?' }], max_tokens: 8 }
    const calls = Array.from({ length: seconds * CALLS_PER_S }, (_, i) => ({ atMs: (i / CALLS_PER_S) * 1_000, body, name: 'cost' }))
    return sendAll({ proxy, agent, calls })
  }
  for (const proxy of targets) await round(proxy, 2)
  const added: { p50Ms: number; p99Ms: number }[] = []
  const all: number[][] = [[], []]
  for (let i = 0; i < options.rounds; i++) {
    const of: { p50Ms: number; p99Ms: number }[] = []
    for (const k of i % 2 === 0 ? [0, 1] : [1, 0]) {
      const measured = await round(targets[k] as LitellmProxy, options.seconds)
      if (!measured.every((one) => one.ok)) throw new Error(`a call failed: ${measured.find((one) => !one.ok)?.failure}`)
      const times = measured.map((one) => one.e2eMs)
      all[k]?.push(...times)
      of[k] = { p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) }
    }
    const [without, within] = of
    added.push({ p50Ms: (within?.p50Ms ?? 0) - (without?.p50Ms ?? 0), p99Ms: (within?.p99Ms ?? 0) - (without?.p99Ms ?? 0) })
    progress(i + 1, options.rounds, `cost: added p50 ${added.at(-1)?.p50Ms.toFixed(2)} ms, p99 ${added.at(-1)?.p99Ms.toFixed(2)} ms`)
  }
  await endProxies()
  const rows = ['LiteLLM', 'LiteLLM + Phasewise'].map((what, k) => ({
    what: `${what}, ${CALLS_PER_S} calls/s`,
    calls: all[k]?.length ?? 0,
    'E2E mean ms': rounded(meanOf(all[k] ?? [])),
    'E2E p50 ms': rounded(quantile(all[k] ?? [], 0.5)),
    'E2E p99 ms': rounded(quantile(all[k] ?? [], 0.99)),
  }))
  return {
    rows,
    bars: [
      atMost('addedP50Ms', median(added.map((one) => one.p50Ms)), P50_MS_GOAL),
      atMost('addedP99Ms', median(added.map((one) => one.p99Ms)), P99_MS_GOAL),
    ],
  }
}

async function measureGain(options: Options, agent: Agent, running: { end(): Promise<unknown> }[]): Promise<BenchResult> {
  const main = new URL('../../plugin/main.ts', import.meta.url).pathname
  const fleet = defaultVirtualFleet.map(({ profile }) =>
    startNode(main, ['virtual-instance', '--profile', profile, '--time-factor', String(TIME_FACTOR)]),
  )
  running.push(...fleet)
  const urls = await Promise.all(fleet.map(async (one) => (await one.printed(/ at (http:\S+),/))[1] ?? ''))
  const site = await startPhasewise(options, urls, running)
  const { strategies } = options
  const proxies = await Promise.all(strategies.map((strategy) => startStrategy(strategy, site)))
  const measured = new Map<Strategy, MeasuredCall[]>(strategies.map((strategy) => [strategy, []]))
  const differencesMs: number[] = []
  // All at once: what each strategy learns from is the fleet as it is, and a connection's and a worker's first call.
  const warm = { ...options, traceSeconds: WARM_SECONDS, load: options.load / proxies.length }
  await Promise.all(proxies.map((proxy, k) => sendAll({ proxy, agent, calls: traceOf(createRng(99 + k), warm, `warm${k}`) })))
  for (let i = 0; i < options.traceRounds; i++)
    for (let k = 0; k < strategies.length; k++) {
      const turn = (i + k) % strategies.length
      const strategy = strategies[turn] as Strategy
      // The same trace for every strategy of a round.
      const calls = await sendAll({
        proxy: proxies[turn] as LitellmProxy,
        agent,
        calls: traceOf(createRng(i + 1), options, `${strategy}-${i}`),
      })
      measured.get(strategy)?.push(...calls)
      if (strategy === 'phasewise') differencesMs.push(...(await ttftDifferences(site, `${strategy}-${i}`, calls)))
      progress(
        i * strategies.length + k + 1,
        options.traceRounds * strategies.length,
        `${strategy}: mean E2E ${meanOf(calls.map((one) => one.e2eMs)).toFixed(0)} ms, ${calls.filter((one) => !one.ok).length} failed`,
      )
    }
  return summarise(measured, differencesMs)
}

/** The five-task mix at the wished share of the fleet's capacity, a call's name telling which it is. */
function traceOf(rng: Rng, { traceSeconds, load }: Options, name: string): Sending['calls'] {
  const callsPerS = fleetCallsPerS(defaultVirtualFleet) * TIME_FACTOR * load
  const calls: Sending['calls'][number][] = []
  for (const one of mixTrace({ rate: () => callsPerS, peakCallsPerS: callsPerS, rng })) {
    if (one.atMs > traceSeconds * 1_000) break
    const content = promptText({ promptTokens: one.promptTokens, seed: calls.length })
    const maxTokens = Math.min(OUTPUT_TOKENS_MAX, one.outputTokens)
    const stream = calls.length % STREAMED_OF === 0
    const body = { model: 'chat', stream, max_tokens: maxTokens, ignore_eos: true, messages: [{ role: 'user', content }] }
    calls.push({ atMs: one.atMs, body, name: `${name}-${calls.length}` })
  }
  return calls
}

/** What Phasewise logged as TTFT less what the caller measured, per call, ms. */
async function ttftDifferences(site: Site, name: string, calls: readonly MeasuredCall[]): Promise<number[]> {
  // The last outcomes are on their way: a batch, and the log's own rhythm.
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  const reader = openReader(join(site.folder, '.phasewise', 'log.sqlite'))
  try {
    const rows = reader.read((query) =>
      query.all<{ task: string; ttft: number }>(
        `SELECT task, ttft_ms AS ttft FROM call WHERE task LIKE '${name}-%' AND ttft_ms IS NOT NULL`,
      ),
    )
    return rows.flatMap(({ task, ttft }) => {
      const own = calls[Number(task.slice(name.length + 1))]?.ttftMs
      return own === undefined ? [] : [ttft - own]
    })
  } finally {
    reader.close()
  }
}

function summarise(measured: ReadonlyMap<Strategy, readonly MeasuredCall[]>, differencesMs: readonly number[]): BenchResult {
  const means = new Map<Strategy, number>()
  const rows: Row[] = [...measured].map(([strategy, calls]) => {
    const good = calls.filter((one) => one.ok)
    const times = good.map((one) => one.e2eMs)
    means.set(strategy, meanOf(times))
    return {
      what: `${strategy}, five-task mix`,
      calls: calls.length,
      failed: calls.length - good.length,
      'E2E mean ms': rounded(meanOf(times)),
      'E2E p50 ms': rounded(quantile(times, 0.5)),
      'E2E p99 ms': rounded(quantile(times, 0.99)),
      'TTFT mean ms': rounded(meanOf(good.flatMap((one) => (one.ttftMs === undefined ? [] : [one.ttftMs])))),
      'TPOT mean ms': rounded(meanOf(good.flatMap((one) => (one.tpotMs === undefined ? [] : [one.tpotMs])))),
    }
  })
  const best = Math.min(...[...means].flatMap(([strategy, mean]) => (strategy === 'phasewise' ? [] : [mean])))
  rows.push({
    what: 'TTFT logged less TTFT measured by the caller',
    calls: differencesMs.length,
    'TTFT mean ms': rounded(meanOf(differencesMs)),
    'E2E p50 ms': rounded(quantile(differencesMs, 0.5)),
    'E2E p99 ms': rounded(quantile(differencesMs, 0.99)),
  })
  return { rows, bars: [atLeast('gainVsBestBuiltin', 1 - (means.get('phasewise') ?? Number.NaN) / best, GAIN_GOAL)] }
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, one) => sum + one, 0) / values.length
}
