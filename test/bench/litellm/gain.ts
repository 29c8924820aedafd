import { join } from 'node:path'
import type { Agent } from 'undici'
import { openReader } from '../../../plugin/log/read/reader.ts'
import { createRng } from '../../../plugin/rng.ts'
import type { MeasuredCall } from '../../../plugin/simulation/call-client.ts'
import { promptText } from '../../../plugin/simulation/prompt-text.ts'
import { fleetCallsPerS } from '../../../plugin/simulation/saturation.ts'
import { poissonGaps } from '../../../plugin/simulation/scenario/arrivals.ts'
import { drawPaper, drawWide, type Mix } from '../../../plugin/simulation/scenario/mixes.ts'
import { defaultVirtualFleet } from '../../../plugin/simulation/virtual-fleet.ts'
import type { LitellmProxy } from '../../e2e/litellm/proxy.ts'
import { atLeast, type Bar, cpuMsOf, progress, quantile, type Row, rounded, startNode } from '../harness.ts'
import { meanOf, type Outgoing, type Running, type Site, sendAll, startPhasewise, startProxy } from './site.ts'

/**
 * What asking Phasewise gains: one trace over the virtual fleet of two speeds, under each of LiteLLM's own strategies and under Phasewise, run after run. Every
 * caller names its application, as LiteLLM's keys do; how long an answer will be stands in a header that goes past Phasewise to the virtual instance.
 */

const GOAL = 0.2
const MIXES: Readonly<Record<string, Mix>> = { wide: drawWide, paper: drawPaper }
const BUILT_IN = ['simple-shuffle', 'least-busy', 'latency-based-routing'] as const
/** Capacity of the fleet's profiles for the embedded default's mix, V100 = 1 (see main-embedded.ts). */
const SPEEDS: Readonly<Record<string, number>> = { 'v100-llama-2-7b': 1, 'a100-llama-2-7b': 4.8 }
/** Longer answers are cut, so that a run ends soon after its last call. */
const OUTPUT_TOKENS_MAX = 600
const WARM_SECONDS = 10

export interface GainOptions {
  /** Seconds of the trace, and how often each strategy plays it (other dice each time, the same for all strategies). */
  readonly seconds: number
  readonly rounds: number
  /** Shares of the fleet's capacity for the mix. */
  readonly loads: readonly number[]
  readonly mix: string
  /** One call in so many is streamed: a stream costs LiteLLM time per token, and one LiteLLM must be able to feed the fleet. */
  readonly streamedOf: number
  /** Times faster than life that the fleet runs. */
  readonly timeFactor: number
  /** Phasewise's policies. */
  readonly policies: readonly string[]
  readonly strategies: readonly string[]
}

interface Contender {
  readonly name: string
  readonly proxy: LitellmProxy
  readonly site: Site | undefined
}

interface Run {
  readonly load: number
  readonly contender: Contender
  readonly calls: readonly MeasuredCall[]
  readonly litellmBusyRatio: number
}

/** Plays the trace at each load and gives a row for each strategy; the bar is the first policy's gain at the highest load, where queues matter most. */
export async function measureGain(
  options: GainOptions,
  agent: Agent,
  running: Running,
): Promise<{ readonly rows: readonly Row[]; readonly bars: readonly Bar[] }> {
  const contenders = await startContenders(options, running)
  const runs: Run[] = []
  const differencesMs: number[] = []
  const all = options.loads.length * options.rounds * contenders.length
  // All at once: what each strategy learns from is the fleet as it is, and a connection's and a worker's first call.
  const warmLoad = 0.5 / contenders.length
  await Promise.all(
    contenders.map(({ proxy }, k) =>
      sendAll(proxy, agent, traceOf(options, { seed: 99 + k, seconds: WARM_SECONDS, load: warmLoad, name: `warm${k}` })),
    ),
  )
  for (const load of options.loads)
    for (let i = 0; i < options.rounds; i++)
      for (let k = 0; k < contenders.length; k++) {
        const contender = contenders[(i + k) % contenders.length] as Contender
        const name = `${load}-${i}`
        const busyMs = cpuMsOf(contender.proxy.pid)
        const startMs = performance.now()
        const calls = await sendAll(contender.proxy, agent, traceOf(options, { seed: i + 1, seconds: options.seconds, load, name }))
        const litellmBusyRatio = (cpuMsOf(contender.proxy.pid) - busyMs) / (performance.now() - startMs)
        runs.push({ load, contender, calls, litellmBusyRatio })
        if (contender.site) differencesMs.push(...(await ttftDifferences(contender.site, name, calls)))
        progress(runs.length, all, `load ${load}, ${contender.name}: mean E2E ${meanOf(calls.map((one) => one.e2eMs)).toFixed(0)} ms`)
      }
  return summarise(options, runs, differencesMs)
}

async function startContenders({ timeFactor, policies, strategies }: GainOptions, running: Running): Promise<Contender[]> {
  const specs = defaultVirtualFleet.map((spec) => ({ ...spec, timeFactor }))
  const fleet = startNode(new URL('../live/fleet.ts', import.meta.url).pathname, [JSON.stringify(specs)])
  running.push(fleet)
  const urls = ((await fleet.printed(/urls (\S+) end/))[1] ?? '').split(',')
  const instances = defaultVirtualFleet.map(({ profile }, i) => ({ url: urls[i] ?? '', profile, speed: SPEEDS[profile] ?? 1 }))
  const contenders: Contender[] = []
  let site: Site | undefined
  for (const policy of policies) {
    site = await startPhasewise(instances, policy, running)
    contenders.push({
      name: `phasewise, policy ${policy}`,
      site,
      proxy: await startProxy(site, { strategy: 'simple-shuffle', asks: true }),
    })
  }
  if (!site) throw new Error('name at least one policy')
  for (const strategy of BUILT_IN.filter((one) => strategies.includes(one)))
    contenders.push({ name: strategy, site: undefined, proxy: await startProxy(site, { strategy, asks: false }) })
  return contenders
}

/** A mix's calls at the wished share of the fleet's capacity for it; the task of each tells which call it is. */
function traceOf(
  { mix, timeFactor, streamedOf }: GainOptions,
  { seed, seconds, load, name }: { readonly seed: number; readonly seconds: number; readonly load: number; readonly name: string },
): Outgoing[] {
  const draw = MIXES[mix] ?? drawWide
  const rng = createRng(seed)
  const contents = rng.stream('contents')
  const gapMs = poissonGaps(fleetCallsPerS(defaultVirtualFleet, draw) * timeFactor * load, rng.stream('arrivals'))
  const calls: Outgoing[] = []
  for (let atMs = gapMs(); atMs < seconds * 1_000; atMs += gapMs()) {
    const { task, application, promptTokens, outputTokens } = draw(contents)
    const content = promptText({ promptTokens, task, seed: contents.int(2 ** 31) })
    const wanted = { 'x-virtual-output-tokens': String(Math.min(OUTPUT_TOKENS_MAX, outputTokens)) }
    calls.push({
      atMs,
      body: { model: 'chat', stream: calls.length % streamedOf === 0, messages: [{ role: 'user', content }], extra_headers: wanted },
      headers: { 'x-phasewise-application': application, 'x-phasewise-task': `${name}-${calls.length}` },
    })
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

function summarise({ mix, loads, policies }: GainOptions, runs: readonly Run[], differencesMs: readonly number[]) {
  const rows: Row[] = []
  const gains = new Map<number, number>()
  for (const load of loads) {
    const own = runs.filter((run) => run.load === load)
    const means = new Map([...new Set(own.map((run) => run.contender))].map((one) => [one, meanE2eOf(own, one)]))
    const best = Math.min(...[...means].flatMap(([one, mean]) => (one.site ? [] : [mean])))
    for (const [contender, mean] of means) {
      rows.push(
        rowOf(
          own.filter((run) => run.contender === contender),
          { mix, load, gain: 1 - mean / best },
        ),
      )
      if (contender.name.endsWith(` ${policies[0]}`)) gains.set(load, 1 - mean / best)
    }
  }
  rows.push({
    what: 'TTFT logged less TTFT measured by the caller',
    calls: differencesMs.length,
    'TTFT mean ms': rounded(meanOf(differencesMs)),
    'TTFT p50 ms': rounded(quantile(differencesMs, 0.5)),
    'TTFT p99 ms': rounded(quantile(differencesMs, 0.99)),
  })
  return { rows, bars: [atLeast('gainVsBestBuiltin', rounded(gains.get(Math.max(...loads)) ?? Number.NaN), GOAL)] }
}

function meanE2eOf(runs: readonly Run[], contender: Contender): number {
  return meanOf(runs.flatMap((run) => (run.contender === contender ? run.calls.flatMap((one) => (one.ok ? [one.e2eMs] : [])) : [])))
}

function rowOf(runs: readonly Run[], { mix, load, gain }: { readonly mix: string; readonly load: number; readonly gain: number }): Row {
  const calls = runs.flatMap((run) => run.calls)
  const good = calls.filter((one) => one.ok)
  const times = good.map((one) => one.e2eMs)
  const ttfts = good.flatMap((one) => (one.ttftMs === undefined ? [] : [one.ttftMs]))
  return {
    what: `${runs[0]?.contender.name}, mix ${mix}, load ${load}`,
    calls: calls.length,
    failed: calls.length - good.length,
    'E2E mean ms': rounded(meanOf(times)),
    'E2E p50 ms': rounded(quantile(times, 0.5)),
    'E2E p99 ms': rounded(quantile(times, 0.99)),
    'TTFT mean ms': rounded(meanOf(ttfts)),
    'TPOT mean ms': rounded(meanOf(good.flatMap((one) => (one.tpotMs === undefined ? [] : [one.tpotMs])))),
    'under best built-in': rounded(gain),
    'LiteLLM busy': rounded(meanOf(runs.map((run) => run.litellmBusyRatio))),
  }
}
