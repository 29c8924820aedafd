import type { Agent } from 'undici'
import type { MeasuredCall } from '../../../plugin/simulation/call-client.ts'
import { endProxies, type LitellmProxy } from '../../e2e/litellm/proxy.ts'
import { atMost, type Bar, cpuMsOf, median, progress, quantile, type Row, rounded, startNode } from '../harness.ts'
import { meanOf, type Running, type Site, sendAll, startPhasewise, startProxy } from './site.ts'

/** What asking Phasewise costs: calls at an even pace to instances that answer at once, through LiteLLM with and without it, in turns. */

/** The pace that the bars are set for. */
const CALLS_PER_S = 50
const P50_MS_GOAL = 2
const P99_MS_GOAL = 8
/** Imports, connections, Python's own specialisation of hot code. */
const WARM_SECONDS = 5

export interface CostOptions {
  readonly rounds: number
  readonly seconds: number
  readonly policy: string
  /** Another pace than the bars' gives figures and no bars: where LiteLLM itself is at its limit at 50, all of them are its queue's. */
  readonly callsPerS?: number
}

interface Figures {
  readonly p50Ms: number
  readonly p99Ms: number
}

/** LiteLLM without and with Phasewise before instances that answer at once, both warm. */
export async function startBoth(
  { policy, warmSeconds }: { readonly policy: string; readonly warmSeconds: number },
  agent: Agent,
  running: Running,
): Promise<{ readonly site: Site; readonly proxies: readonly LitellmProxy[] }> {
  const upstream = startNode(new URL('../proxy/upstream.ts', import.meta.url).pathname, ['3'])
  running.push(upstream)
  const ports = ((await upstream.printed(/ports ([\d,]+)/))[1] ?? '').split(',')
  const instances = ports.map((port) => ({ url: `http://127.0.0.1:${port}` }))
  const site = await startPhasewise(instances, policy, running)
  const proxies = await Promise.all([false, true].map((asks) => startProxy(site, { strategy: 'simple-shuffle', asks })))
  for (const proxy of proxies) await play(proxy, agent, warmSeconds)
  return { site, proxies }
}

/** Each round plays both, the other first each time; its difference counts, and of the rounds the median: one disturbed round decides nothing. */
export async function measureCost(
  options: CostOptions,
  agent: Agent,
  running: Running,
): Promise<{ readonly rows: readonly Row[]; readonly bars: readonly Bar[] }> {
  const { proxies } = await startBoth({ policy: options.policy, warmSeconds: WARM_SECONDS }, agent, running)
  const callsPerS = options.callsPerS ?? CALLS_PER_S
  const added: Figures[] = []
  const all: number[][] = [[], []]
  const cpuMs = [0, 0]
  for (let i = 0; i < options.rounds; i++) {
    const of: Figures[] = []
    for (const k of i % 2 === 0 ? [0, 1] : [1, 0]) {
      const proxy = proxies[k] as LitellmProxy
      const cpuBeforeMs = cpuMsOf(proxy.pid)
      const times = (await play(proxy, agent, options.seconds, callsPerS)).map((one) => one.e2eMs)
      cpuMs[k] = (cpuMs[k] as number) + cpuMsOf(proxy.pid) - cpuBeforeMs
      all[k]?.push(...times)
      of[k] = { p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) }
    }
    const [without, within] = of as [Figures, Figures]
    added.push({ p50Ms: within.p50Ms - without.p50Ms, p99Ms: within.p99Ms - without.p99Ms })
    progress(i + 1, options.rounds, `cost: added p50 ${added.at(-1)?.p50Ms.toFixed(2)} ms, p99 ${added.at(-1)?.p99Ms.toFixed(2)} ms`)
  }
  await endProxies()
  const rows = ['LiteLLM', 'LiteLLM + Phasewise'].map((what, k) => ({
    what: `${what}, ${callsPerS} calls/s`,
    calls: all[k]?.length ?? 0,
    'CPU ms/call': rounded((cpuMs[k] ?? 0) / Math.max(1, all[k]?.length ?? 0)),
    'E2E mean ms': rounded(meanOf(all[k] ?? [])),
    'E2E p50 ms': rounded(quantile(all[k] ?? [], 0.5)),
    'E2E p99 ms': rounded(quantile(all[k] ?? [], 0.99)),
  }))
  const of = (figure: keyof Figures): number => rounded(median(added.map((one) => one[figure])))
  console.log(`added at ${callsPerS} calls/s: p50 ${of('p50Ms')} ms, p99 ${of('p99Ms')} ms (medians of the rounds)`)
  if (callsPerS !== CALLS_PER_S) return { rows, bars: [] }
  return { rows, bars: [atMost('addedP50Ms', of('p50Ms'), P50_MS_GOAL), atMost('addedP99Ms', of('p99Ms'), P99_MS_GOAL)] }
}

/** Calls at an even pace; throws where one fails. */
export async function play(proxy: LitellmProxy, agent: Agent, seconds: number, callsPerS = CALLS_PER_S): Promise<MeasuredCall[]> {
  const body = { model: 'chat', messages: [{ role: 'user', content: 'What is the capital of France?' }], max_tokens: 8 }
  const calls = Array.from({ length: seconds * callsPerS }, (_, i) => ({ atMs: (i / callsPerS) * 1_000, body }))
  const measured = await sendAll(proxy, agent, calls)
  const failed = measured.find((one) => !one.ok)
  if (failed) throw new Error(`a call failed: ${failed.failure}`)
  return measured
}
