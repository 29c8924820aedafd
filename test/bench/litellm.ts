import { parseArgs } from 'node:util'
import { Agent } from 'undici'
import { endProxies } from '../e2e/litellm/proxy.ts'
import type { BenchResult } from './harness.ts'
import { measureCost } from './litellm/cost.ts'
import { measureGain } from './litellm/gain.ts'
import { measureOutage } from './litellm/outage.ts'
import type { Running } from './litellm/site.ts'

/** LiteLLM's proxy with and without Phasewise, in turns within one run: what asking costs, what an outage of it costs, and what it gains. */
export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string', default: 'cost,outage,gain' },
      rounds: { type: 'string', default: '10' },
      seconds: { type: 'string', default: '6' },
      'calls-per-s': { type: 'string', default: '50' },
      'outage-rounds': { type: 'string', default: '3' },
      'outage-seconds': { type: 'string', default: '8' },
      'gain-rounds': { type: 'string', default: '1' },
      'gain-seconds': { type: 'string', default: '45' },
      loads: { type: 'string', default: '0.7,0.9' },
      mix: { type: 'string', default: 'wide' },
      'streamed-of': { type: 'string', default: '10' },
      'time-factor': { type: 'string', default: '0.5' },
      policies: { type: 'string', default: 'impact' },
      strategies: { type: 'string', default: 'simple-shuffle,least-busy,latency-based-routing' },
    },
  })
  const running: Running = []
  const agent = new Agent({ connections: 1_024 })
  const policies = values.policies.split(',')
  const parts = {
    cost: () => {
      const pace = { rounds: Number(values.rounds), seconds: Number(values.seconds), callsPerS: Number(values['calls-per-s']) }
      return measureCost({ ...pace, policy: policies[0] ?? '' }, agent, running)
    },
    outage: () =>
      measureOutage(
        { rounds: Number(values['outage-rounds']), seconds: Number(values['outage-seconds']), policy: policies[0] ?? '' },
        agent,
        running,
      ),
    gain: () =>
      measureGain(
        {
          rounds: Number(values['gain-rounds']),
          seconds: Number(values['gain-seconds']),
          loads: values.loads.split(',').map(Number),
          mix: values.mix,
          streamedOf: Number(values['streamed-of']),
          timeFactor: Number(values['time-factor']),
          policies,
          strategies: values.strategies.split(','),
        },
        agent,
        running,
      ),
  }
  try {
    const only = values.only.split(',')
    const done: BenchResult[] = []
    for (const [name, part] of Object.entries(parts)) if (only.includes(name)) done.push(await part())
    return { rows: done.flatMap((one) => one.rows), bars: done.flatMap((one) => one.bars) }
  } finally {
    await endProxies()
    await agent.destroy()
    for (const one of running.reverse()) await one.end()
  }
}
