import { systemClock } from '../../plugin/clock.ts'
import { createFleet, type Fleet } from '../../plugin/fleet/fleet.ts'
import { FLEET_DEFAULTS } from '../../plugin/fleet/options.ts'
import { BASE_POLICY_FOLDER, readPolicyModel } from '../../plugin/learning/policy-folder.ts'
import { createPolicy } from '../../plugin/placement/policies.ts'
import { createRng } from '../../plugin/rng.ts'
import { createDecide } from '../../plugin/router-decide.ts'
import { sketchCall } from '../fakes/instances.ts'
import { atMost, type Bar, type BenchResult, median, progress, type Row, rounded } from './harness.ts'

/** µs that one decision may cost, by number of instances. */
const GOALS = { 4: 10, 64: 60, 512: 400 } as const
/** µs for the policies that roll the belief forward, at 8 instances with 32 calls each in flight. */
const LOOK_AHEAD_GOAL = 50
const ROUNDS = 9
/** µs for the learned policy by number of instances, with 32 calls on each. */
const LEARNED_GOALS = [
  [8, 20],
  [64, 150],
  [512, 1_000],
] as const

/**
 * What one decision costs alone: eligible instances, every feature of each, prefix match of an eight-block prompt, policy, exploration, draw, ranking of fallbacks and
 * the copy of the rows for the log; with calls in flight and scrapes on every instance. Median over rounds of the mean.
 */
export async function run(): Promise<BenchResult> {
  const rows: Row[] = []
  const bars: Bar[] = []
  const cases = ['least-request-speed', 'weighted', 'p2c'].flatMap((policy) => ([4, 64, 512] as const).map((size) => ({ policy, size })))
  const lookAhead = ['impact', 'predicted-latency']
  const total = cases.length + LEARNED_GOALS.length + lookAhead.length
  for (const [i, { policy, size }] of cases.entries()) {
    const us = measure(loadedFleet(size), policy)
    rows.push({ policy, instances: size, 'µs per decision': rounded(us) })
    if (policy === 'least-request-speed') bars.push(atMost(`us${size}`, rounded(us), GOALS[size]))
    progress(i + 1, total, `${policy} on ${size} instances`)
  }
  for (const [i, [size, goal]] of LEARNED_GOALS.entries()) {
    const us = measure(loadedFleet(size, 32), 'learned')
    rows.push({ policy: 'learned', instances: size, 'µs per decision': rounded(us) })
    bars.push(atMost(`learnedUs${size}`, rounded(us), goal))
    progress(cases.length + i + 1, total, `learned on ${size} instances with 32 calls each`)
  }
  for (const [i, policy] of lookAhead.entries()) {
    const us = measure(loadedFleet(8, 32), policy)
    rows.push({ policy, instances: 8, 'µs per decision': rounded(us) })
    bars.push(atMost(`${policy}Us8`, rounded(us), LOOK_AHEAD_GOAL))
    progress(cases.length + LEARNED_GOALS.length + i + 1, total, `${policy} on 8 instances with 32 calls each`)
  }
  return { rows, bars }
}

const model = readPolicyModel(BASE_POLICY_FOLDER)

function measure(fleet: Fleet, policy: string): number {
  const decide = createDecide({
    fleet,
    rng: createRng(1),
    fallbacksMax: 3,
    count: (what) => {
      throw new Error(what)
    },
  })
  const policies = { policy: createPolicy(policy, { model }), fallbackPolicy: createPolicy('least-request'), explorationRatio: 0.01 }
  const facts = { promptTokens: 300, predictedOutputTokens: 150 }
  const call = sketchCall({ prefixBlocks: BigUint64Array.from({ length: 8 }, (_, i) => BigInt(i + 1)) })
  const iterations = Math.max(500, Math.floor(100_000 / fleet.instances('m').length))
  const means = Array.from({ length: ROUNDS }, () => {
    const startedMs = systemClock.nowMs()
    for (let i = 0; i < iterations; i++) decide({ pool: 'm', policies, call, facts, lengthVersion: 'none', nowMs: startedMs })
    return ((systemClock.nowMs() - startedMs) * 1_000) / iterations
  })
  return median(means)
}

/**
 * A pool where every instance holds calls, has been scraped, and every third holds the prompt's first blocks. With `callsEach` so many calls of different
 * lengths are in flight on each, seven of eight decoding.
 */
function loadedFleet(size: number, callsEach?: number): Fleet {
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
    for (let k = 0; k < (callsEach ?? 1 + (i % 9)); k++) {
      const dispatch = fleet.dispatch(
        instance,
        {
          callId: i * 100 + k,
          promptTokens: callsEach ? 20 + 9 * k : 200,
          predictedOutputTokens: callsEach ? 10 + ((k * 37) % 300) : 100,
          stream: true,
          ...(i % 3 === 0 ? { prefixBlocks: BigUint64Array.of(1n, 2n, 3n) } : {}),
        },
        nowMs,
      )
      if (callsEach && k % 8 > 0) fleet.progress(instance, dispatch, 1 + ((k * 13) % 40), nowMs)
    }
  })
  return fleet
}
