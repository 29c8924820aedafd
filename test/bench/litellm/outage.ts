import type { Agent } from 'undici'
import { openReader } from '../../../plugin/log/read/reader.ts'
import { endProxies, type LitellmProxy } from '../../e2e/litellm/proxy.ts'
import { atMost, type Bar, median, progress, quantile, type Row, rounded } from '../harness.ts'
import { play, startBoth } from './cost.ts'
import type { Running, Site } from './site.ts'

/**
 * What calls pay while Phasewise is away: 50 calls/s through LiteLLM with and without it, in turns, first while its router hangs (it takes connections and never
 * answers), then while it is gone. Every call must succeed.
 */

const P99_MS_GOAL = 30
const WARM_SECONDS = 3

/** Added p99 in either outage, of the rounds the median; the bar is the worse of the two. */
export async function measureOutage(
  options: { readonly rounds: number; readonly seconds: number; readonly policy: string },
  agent: Agent,
  running: Running,
): Promise<{ readonly rows: readonly Row[]; readonly bars: readonly Bar[] }> {
  const { site, proxies } = await startBoth({ policy: options.policy, warmSeconds: WARM_SECONDS }, agent, running)
  const router = await routerOf(site)
  process.kill(router, 'SIGSTOP')
  const hung = await addedIn('hung', { ...options, proxies, agent })
  process.kill(router, 'SIGCONT')
  await site.phasewise.end()
  const gone = await addedIn('gone', { ...options, proxies, agent })
  await endProxies()
  return {
    rows: [hung, gone],
    bars: [atMost('outageAddedP99Ms', Math.max(hung['added p99 ms'], gone['added p99 ms']), P99_MS_GOAL)],
  }
}

/** The process that answers placements: the one that has the port. */
async function routerOf(site: Site): Promise<number> {
  const reader = openReader(`${site.folder}/.phasewise/log.sqlite`)
  try {
    for (let tries = 0; tries < 50; tries++) {
      const pid = reader.read((query) => query.get<{ pid: number }>('SELECT pid FROM router_now')?.pid)
      if (pid !== undefined) return pid
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  } finally {
    reader.close()
  }
  throw new Error('the router did not write down its process id')
}

interface Outage {
  readonly rounds: number
  readonly seconds: number
  readonly proxies: readonly LitellmProxy[]
  readonly agent: Agent
}

async function addedIn(how: string, { rounds, seconds, proxies, agent }: Outage) {
  const added: { readonly p50Ms: number; readonly p99Ms: number }[] = []
  let calls = 0
  for (let i = 0; i < rounds; i++) {
    const times: number[][] = []
    for (const k of i % 2 === 0 ? [0, 1] : [1, 0])
      times[k] = (await play(proxies[k] as LitellmProxy, agent, seconds)).map((one) => one.e2eMs)
    const [without = [], within = []] = times
    calls += within.length
    added.push({ p50Ms: quantile(within, 0.5) - quantile(without, 0.5), p99Ms: quantile(within, 0.99) - quantile(without, 0.99) })
    progress(i + 1, rounds, `Phasewise ${how}: added p99 ${added.at(-1)?.p99Ms.toFixed(1)} ms`)
  }
  return {
    what: `LiteLLM while Phasewise is ${how}`,
    calls,
    failed: 0,
    'added p50 ms': rounded(median(added.map((one) => one.p50Ms))),
    'added p99 ms': rounded(median(added.map((one) => one.p99Ms))),
  }
}
