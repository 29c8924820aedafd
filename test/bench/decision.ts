import { systemClock } from '../../plugin/clock.ts'
import { createFleet, type Fleet } from '../../plugin/fleet/fleet.ts'
import { FLEET_DEFAULTS } from '../../plugin/fleet/options.ts'
import { createPolicy } from '../../plugin/placement/policies.ts'
import { createRng } from '../../plugin/rng.ts'
import { createDecide } from '../../plugin/router-decide.ts'
import { sketchCall } from '../fakes/instances.ts'
import { atMost, type Bar, type BenchResult, median, progress, type Row, rounded } from './harness.ts'

/** µs that one decision may cost, by number of instances. */
const GOALS = { 4: 10, 64: 60, 512: 400 } as const
const ROUNDS = 9

/**
 * What one decision costs alone: eligible instances, every feature of each, prefix match of an eight-block prompt, policy, exploration, draw, ranking of fallbacks and
 * the copy of the rows for the log; with calls in flight and scrapes on every instance. Median over rounds of the mean.
 */
export async function run(): Promise<BenchResult> {
  const rows: Row[] = []
  const bars: Bar[] = []
  const cases = ['least-request-speed', 'weighted', 'p2c'].flatMap((policy) => ([4, 64, 512] as const).map((size) => ({ policy, size })))
  for (const [i, { policy, size }] of cases.entries()) {
    const us = measure(size, policy)
    rows.push({ policy, instances: size, 'µs per decision': rounded(us) })
    if (policy === 'least-request-speed') bars.push(atMost(`us${size}`, rounded(us), GOALS[size]))
    progress(i + 1, cases.length, `${policy} on ${size} instances`)
  }
  return { rows, bars }
}

function measure(size: number, policy: string): number {
  const fleet = loadedFleet(size)
  const decide = createDecide({
    fleet,
    rng: createRng(1),
    fallbacksMax: 3,
    count: (what) => {
      throw new Error(what)
    },
  })
  const policies = { policy: createPolicy(policy), fallbackPolicy: createPolicy('least-request'), explorationRatio: 0.01 }
  const facts = { promptTokens: 300, predictedOutputTokens: 150 }
  const call = sketchCall({ prefixBlocks: BigUint64Array.from({ length: 8 }, (_, i) => BigInt(i + 1)) })
  const iterations = Math.max(500, Math.floor(100_000 / size))
  const means = Array.from({ length: ROUNDS }, () => {
    const startedMs = systemClock.nowMs()
    for (let i = 0; i < iterations; i++) decide({ pool: 'm', policies, call, facts, lengthVersion: 'none', nowMs: startedMs })
    return ((systemClock.nowMs() - startedMs) * 1_000) / iterations
  })
  return median(means)
}

/** A pool where every instance holds calls, has been scraped, and every third holds the prompt's first blocks. */
function loadedFleet(size: number): Fleet {
  const fleet = createFleet({ options: FLEET_DEFAULTS })
  const desired = Array.from({ length: size }, (_, i) => ({
    name: `i${String(i).padStart(3, '0')}`,
    url: `http://10.0.${i >> 8}.${i & 255}:8000`,
    weight: 1,
    speed: 1 + (i % 3),
  }))
  const nowMs = systemClock.nowMs()
  fleet.reconcile('m', desired)
  fleet.instances('m').forEach((instance, i) => {
    const mark = fleet.beginScrape(instance, nowMs)
    fleet.applyScrape(
      instance,
      mark,
      `vllm:num_requests_running ${i % 7}\nvllm:num_requests_waiting ${i % 5}\nvllm:kv_cache_usage_perc 0.${i % 10}\n`,
      nowMs,
    )
    for (let k = 0; k < 1 + (i % 9); k++)
      fleet.dispatch(
        instance,
        {
          callId: i * 100 + k,
          promptTokens: 200,
          predictedOutputTokens: 100,
          stream: true,
          ...(i % 3 === 0 ? { prefixBlocks: BigUint64Array.of(1n, 2n, 3n) } : {}),
        },
        nowMs,
      )
  })
  return fleet
}
