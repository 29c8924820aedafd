import { expect, test } from 'vitest'
import type { CandidateInput } from '../../plugin/placement/candidates.ts'
import { createLitellmLatency } from '../../plugin/placement/litellm-latency.ts'
import { createPolicy, type PolicyParts } from '../../plugin/placement/policies.ts'
import type { Policy, Settled } from '../../plugin/placement/policy.ts'
import { cutEqualWork } from '../../plugin/placement/size-interval.ts'
import { type Sketch, sketchCall, sketchCandidates, sketchInstance } from '../fakes/instances.ts'

interface Asked {
  readonly sketches: readonly Sketch[]
  readonly change?: Partial<CandidateInput>
  readonly parts?: PolicyParts
}

/** Costs and probabilities of one decision. */
function ask(policy: Policy | string, { sketches, change, parts }: Asked): { costs: number[]; odds: number[] } {
  const { candidates, out, call } = sketchCandidates(sketches, change)
  const rule = typeof policy === 'string' ? createPolicy(policy, parts) : policy
  rule.distribute(candidates, call, out)
  return { costs: [...out.costs.subarray(0, sketches.length)], odds: [...out.probabilities.subarray(0, sketches.length)] }
}

const placed = { nowMs: 0, promptTokens: 100, predictedOutputTokens: 50 }
const settled: Settled = { nowMs: 0, completed: true, ttftMs: 100, tpotMs: 10, e2eMs: 1_000, promptTokens: 100, outputTokens: 50 }
const fourBlocks = sketchCall({ prefixBlocks: BigUint64Array.of(1n, 2n, 3n, 0xfedcba9876543210n) })

test('vllm-dp: four times waiting plus running; no scrape is the mean of the others', () => {
  const sketches = [{ waiting: 2, running: 5 }, { waiting: 0, running: 11 }, {}]
  expect(ask('vllm-dp', { sketches })).toEqual({ costs: [13, 11, 12], odds: [0, 1, 0] })
})

test('least-kv: tokens by capacity, and tokens alone where some capacity is unknown', () => {
  const small = { promptTokens: 600, outputTokensDone: 200, kvBlocks: 100 }
  const large = { promptTokens: 900, outputTokensDone: 60, kvTokensUnseen: 40, kvBlocks: 200 }
  expect(ask('least-kv', { sketches: [small, large] })).toEqual({ costs: [800 / 1_600, 1_000 / 3_200], odds: [0, 1] })
  expect(ask('least-kv', { sketches: [{ promptTokens: 700 }, large] }).odds).toEqual([1, 0])
})

test('least-tokens-predicted: prompts not yet prefilled plus output still to come', () => {
  const sketches = [
    { prefillTokensPending: 100, promptTokens: 100, outputTokensLeft: 200 },
    { promptTokens: 900, outputTokensLeft: 290 },
  ]
  expect(ask('least-tokens-predicted', { sketches })).toEqual({ costs: [300, 290], odds: [0, 1] })
})

test('quadratic: L² + L kilobytes per call in flight, taken off at its end', () => {
  const policy = createPolicy('quadratic')
  const { candidates, out, call } = sketchCandidates([{}, {}])
  const large = sketchCall({ promptBytes: 3 * 1_024 })
  policy.onPlaced?.(candidates.instances[0]!, large, placed)
  policy.onPlaced?.(candidates.instances[1]!, sketchCall({ promptBytes: 1_024 }), placed)
  policy.distribute(candidates, call, out)
  expect([...out.costs.subarray(0, 2)]).toEqual([12, 2])
  policy.onSettled?.(candidates.instances[0]!, large, settled)
  policy.distribute(candidates, call, out)
  expect([...out.costs.subarray(0, 2)]).toEqual([0, 2])
})

test('size-interval: cuts carry equal work, and each interval belongs to one instance', () => {
  expect([...cutEqualWork(Float64Array.of(40, 10, 10, 20), 2)]).toEqual([20])
  expect([...cutEqualWork(Float64Array.of(1, 1, 1, 1, 1, 1), 3)]).toEqual([1, 1])
  const policy = createPolicy('size-interval')
  for (const tokens of [40, 10, 10, 20])
    policy.onPlaced?.(sketchInstance({}, 0), fourBlocks, { nowMs: 0, promptTokens: tokens, predictedOutputTokens: 0 })
  const sized = (promptTokens: number, nowMs = 0) =>
    ask(policy, { sketches: [{}, {}], change: { facts: { promptTokens, predictedOutputTokens: 0 }, nowMs } }).odds
  expect([sized(20), sized(21)]).toEqual([
    [1, 0],
    [0, 1],
  ])
  policy.onPlaced?.(sketchInstance({}, 0), fourBlocks, { nowMs: 0, promptTokens: 320, predictedOutputTokens: 0 })
  expect(sized(21, 4_999)).toEqual([0, 1])
  expect(sized(21, 5_000)).toEqual([1, 0])
})

test('cache-aware: a match above 30 % wins whatever the load, until the pool is out of balance', () => {
  const change = { call: fourBlocks, matchedBlocks: [0, 2, 1] }
  expect(ask('cache-aware', { sketches: [{}, { inFlight: 60 }, {}], change }).odds).toEqual([0, 1, 0])
  expect(ask('cache-aware', { sketches: [{}, { inFlight: 65 }, { inFlight: 1 }], change }).odds).toEqual([1, 0, 0])
  expect(ask('cache-aware', { sketches: [{ inFlight: 200 }, { inFlight: 270 }, { inFlight: 230 }], change }).odds).toEqual([0, 1, 0])
  expect(ask('cache-aware', { sketches: [{ inFlight: 2 }, {}], change: { ...change, matchedBlocks: [1, 0] } }).odds).toEqual([0, 1])
})

test('prefix-hash: one prefix stays with one instance while that carries at most 1.25 times the mean', () => {
  const change = { call: fourBlocks }
  const home = ask('prefix-hash', { sketches: [{}, {}, {}, {}], change }).odds.indexOf(1)
  expect(home).toBeGreaterThanOrEqual(0)
  const loaded = (inFlight: number) => [0, 1, 2, 3].map((i) => ({ inFlight: i === home ? inFlight : 4 + i }))
  expect(ask('prefix-hash', { sketches: loaded(6), change }).odds.indexOf(1)).toBe(home)
  expect(ask('prefix-hash', { sketches: loaded(9), change }).odds.indexOf(1)).toBe(home === 0 ? 1 : 0)
  const gone = ask('prefix-hash', { sketches: [0, 1, 2, 3].filter((i) => i !== (home + 1) % 4).map((i) => ({ name: `i${i}` })), change })
  expect(gone.odds.indexOf(1)).toBe((home + 1) % 4 > home ? home : home - 1)
})

test('prefix-hash spreads prefixes evenly (4 sigma over 4,000)', () => {
  const seen = [0, 0, 0, 0]
  const policy = createPolicy('prefix-hash')
  for (let i = 0; i < 4_000; i++) {
    const call = sketchCall({ prefixBlocks: BigUint64Array.of(BigInt(i) * 0x9e3779b97f4a7c15n) })
    seen[ask(policy, { sketches: [{}, {}, {}, {}], change: { call } }).odds.indexOf(1)]!++
  }
  for (const count of seen) expect(Math.abs(count - 1_000)).toBeLessThan(4 * Math.sqrt(4_000 * 0.25 * 0.75))
})

test('least-load: tokens queued at the poll and dispatched since, by throughput, plus 0.15·k/(1−k) seconds', () => {
  const law = { dense: [{ baseMs: 0, perTokenMs: 1 }], head: { baseMs: 0, perCallMs: 0 } }
  const zero = { baseMs: 0, perCallMs: 0, perContextTokenMs: 0 }
  const prefill = { baseMs: 0, perTokenMs: 0, perCachedProductMs: 0, perSquareMs: 0 }
  const shape = {
    law: { ...law, decode: zero, prefill },
    order: 'v1',
    kvBlocks: 1,
    seats: 1,
    budgetTokens: 100,
    admissionKvRatio: 1,
  } as const
  const policy = createPolicy('least-load', { profileOf: () => shape })
  const at = (pending: number, ageMs: number, nowMs: number) =>
    sketchCandidates(
      [
        { prefillTokensPending: pending, kv: 0.5, scrapeAgeMs: ageMs },
        { kv: 0.8, scrapeAgeMs: ageMs },
      ],
      { nowMs },
    )
  const { candidates, out, call } = at(200, 10, 1_000)
  policy.distribute(candidates, call, out)
  expect(out.costs[0]).toBeCloseTo(0.2 + 0.15, 6)
  expect(out.costs[1]).toBeCloseTo(0.6, 6)
  policy.onPlaced?.(candidates.instances[0]!, call, placed)
  // Ten tokens are left in truth, but nobody has polled since: 200 + 100 are believed.
  const stale = { ...at(10, 1_010, 2_000).candidates, instances: candidates.instances }
  policy.distribute(stale, call, out)
  expect(out.costs[0]).toBeCloseTo(0.3 + 0.15, 6)
  policy.distribute({ ...at(10, 0, 2_000).candidates, instances: candidates.instances }, call, out)
  expect(out.costs[0]).toBeCloseTo(0.01 + 0.15, 6)
})

test('weighted-4-3: prefix four, queue three, no kv', () => {
  const change = { call: fourBlocks, matchedBlocks: [3, 0] }
  expect(
    ask('weighted-4-3', {
      sketches: [
        { waiting: 9, kv: 1 },
        { waiting: 0, kv: 0 },
      ],
      change,
    }).costs,
  ).toEqual([-3, -3])
})

test('sticky-until-saturated: stays with a long match until its backlog is 18 s longer', () => {
  const change = { call: fourBlocks, matchedBlocks: [4, 3, 0] }
  const backlog = (tokens: number) => [{ prefillTokensPending: tokens, inFlight: 9 }, { inFlight: 5 }, {}]
  // The reference shape prefills 14.26 tokens per ms: 18 s are 256,712 tokens.
  expect(ask('sticky-until-saturated', { sketches: backlog(256_000), change }).odds).toEqual([1, 0, 0])
  // Now by uncached tokens, own ones included: 0 + 25 against 0 + 100.
  expect(ask('sticky-until-saturated', { sketches: backlog(257_000), change })).toMatchObject({
    costs: [257_000, 25, 100],
    odds: [0, 1, 0],
  })
  const decodeBound = createPolicy('sticky-until-saturated')
  decodeBound.onSettled?.(sketchInstance({}, 0), fourBlocks, { ...settled, promptTokens: 100, outputTokens: 50 })
  expect(ask(decodeBound, { sketches: backlog(257_000), change }).costs).toEqual([9, 5, 0])
})

test('dynamo-kv: blocks to prefill, own uncached ones included, plus blocks in use', () => {
  const sketches = [
    { prefillTokensPending: 160, promptTokens: 320 },
    { promptTokens: 320, outputTokensDone: 160 },
  ]
  const facts = { promptTokens: 64, predictedOutputTokens: 1 }
  expect(ask('dynamo-kv', { sketches, change: { call: fourBlocks, facts, matchedBlocks: [4, 0] } })).toEqual({
    costs: [30, 34],
    odds: [1, 0],
  })
})

test('lmetric: (pending + own uncached) · (batch + 1)', () => {
  const sketches = [{ prefillTokensPending: 100, inFlight: 1 }, { inFlight: 4 }]
  const facts = { promptTokens: 100, predictedOutputTokens: 1 }
  expect(ask('lmetric', { sketches, change: { call: fourBlocks, facts, matchedBlocks: [2, 2] } }).costs).toEqual([300, 250])
})

test('aibrix-prefix: the best match within one deviation, only the minimum when out of balance', () => {
  const change = { call: fourBlocks, matchedBlocks: [4, 4, 2, 0] }
  const loads = (...inFlight: number[]) => inFlight.map((one) => ({ inFlight: one }))
  // Mean 4, σ 2.35: 8 is beyond 6.35.
  expect(ask('aibrix-prefix', { sketches: loads(8, 3, 2, 3), change }).odds).toEqual([0, 1, 0, 0])
  expect(ask('aibrix-prefix', { sketches: loads(3, 4, 4, 4), change }).odds).toEqual([1, 0, 0, 0])
  expect(ask('aibrix-prefix', { sketches: loads(3, 12, 4, 4), change }).odds).toEqual([1, 0, 0, 0])
  expect(ask('aibrix-prefix', { sketches: loads(12, 4, 4, 3), change }).odds).toEqual([0, 0, 0, 1])
})

test('aibrix-least-latency: mean first-token time plus mean decode time of a mean answer, and the untried first', () => {
  const policy = createPolicy('aibrix-least-latency')
  const { candidates, out, call } = sketchCandidates([{}, {}])
  const [a, b] = candidates.instances
  policy.onSettled?.(a!, call, { ...settled, ttftMs: 100, tpotMs: 10, outputTokens: 100 })
  policy.distribute(candidates, call, out)
  expect([...out.costs.subarray(0, 2)]).toEqual([1_100, 0])
  policy.onSettled?.(b!, call, { ...settled, ttftMs: 300, tpotMs: 9, outputTokens: 100 })
  policy.onSettled?.(b!, call, { ...settled, completed: false, ttftMs: 1 })
  policy.distribute(candidates, call, out)
  expect([...out.costs.subarray(0, 2)]).toEqual([1_100, 1_200])
})

test('drain-rate: in flight by completions of the last minute', () => {
  const policy = createPolicy('drain-rate')
  const made = sketchCandidates([{ inFlight: 4 }, { inFlight: 3 }])
  const { candidates, out, call } = made
  for (const nowMs of [1_000, 2_000, 30_000]) policy.onSettled?.(candidates.instances[0]!, call, { ...settled, nowMs })
  policy.onSettled?.(candidates.instances[0]!, call, { ...settled, completed: false, nowMs: 30_000 })
  const at = (nowMs: number): number[] => {
    policy.distribute({ ...candidates, nowMs }, call, out)
    return [...out.costs.subarray(0, 2)]
  }
  expect(at(60_000)).toEqual([4 / 3, 3])
  expect(at(61_500)).toEqual([2, 3])
  expect(at(90_001)).toEqual([4, 3])
})

test('peak-ewma: a peak counts at once, fades by e per ten seconds, times calls in flight and one', () => {
  const policy = createPolicy('peak-ewma')
  const { candidates, out, call } = sketchCandidates([{ inFlight: 1 }, {}])
  const at = (nowMs: number): number => {
    policy.distribute({ ...candidates, nowMs }, call, out)
    return out.costs[0] as number
  }
  const sample = (nowMs: number, msPerToken: number): void =>
    policy.onSettled?.(candidates.instances[0]!, call, { ...settled, nowMs, e2eMs: 50 * msPerToken, outputTokens: 50 })
  expect(at(0)).toBe(0)
  sample(0, 20)
  expect(at(0)).toBeCloseTo(40, 9)
  expect(at(10_000)).toBeCloseTo(40 / Math.E, 9)
  sample(10_000, 5)
  expect(at(10_000)).toBeCloseTo(2 * (20 / Math.E + 5 * (1 - 1 / Math.E)), 9)
  sample(10_000, 100)
  expect(at(10_000)).toBeCloseTo(200, 9)
})

test('agentgateway: the better of two by health ÷ (1 + latency · (1 + 0.1 · pending))', () => {
  const policy = createPolicy('agentgateway')
  const { candidates, out, call } = sketchCandidates([{ inFlight: 10 }, { inFlight: 10 }, {}])
  const [a, b] = candidates.instances
  policy.onSettled?.(a!, call, { ...settled, e2eMs: 500 })
  policy.onSettled?.(b!, call, { ...settled, completed: false })
  policy.distribute(candidates, call, out)
  expect([...out.costs.subarray(0, 3)].map((cost) => Number(cost.toFixed(4)))).toEqual([2, 1.1111, 1])
  expect([...out.probabilities.subarray(0, 3)]).toEqual([0, 1 / 3, 2 / 3])
})

test('litellm: shuffle is even, least-busy takes the first of the least, latency the lowest mean of ten', () => {
  expect(ask('litellm-shuffle', { sketches: [{}, {}] }).odds).toEqual([0.5, 0.5])
  expect(ask('litellm-least-busy', { sketches: [{ inFlight: 2 }, { inFlight: 1 }, { inFlight: 1 }] }).odds).toEqual([0, 1, 0])
  const strict = createPolicy('litellm-latency')
  const loose = createLitellmLatency(0.5)
  const { candidates, out, call } = sketchCandidates([{}, {}, {}])
  const teach = (slot: number, ttftMs: number): void => {
    for (const policy of [strict, loose]) policy.onSettled?.(candidates.instances[slot]!, call, { ...settled, ttftMs })
  }
  const odds = (policy: Policy): number[] => {
    policy.distribute(candidates, call, out)
    return [...out.probabilities.subarray(0, 3)]
  }
  teach(0, 900)
  expect(odds(strict)).toEqual([0, 0.5, 0.5])
  for (let i = 0; i < 10; i++) teach(0, 100)
  teach(1, 120)
  teach(2, 160)
  expect(odds(strict)).toEqual([1, 0, 0])
  expect(odds(loose)).toEqual([0.5, 0.5, 0])
})

test('llumnix: free memory less what all waiting need, per call there', () => {
  const sketches = [
    { kvBlocks: 100, kv: 0.5, prefillTokensPending: 200, waiting: 1, running: 3 },
    { kvBlocks: 100, kv: 0.25, waiting: 0, running: 10 },
  ]
  expect(ask('llumnix', { sketches })).toEqual({ costs: [-150, -120], odds: [1, 0] })
  // No scrape: the ledger's belief of prefilled tokens, and its calls.
  expect(
    ask('llumnix', {
      sketches: [
        { kvBlocks: 100, promptTokens: 800, inFlight: 2 },
        { kvBlocks: 100, inFlight: 0 },
      ],
    }).odds,
  ).toEqual([0, 1])
})

test('selective-push demands that nobody waits, prefers the longest match, then the fewest in flight', () => {
  expect(createPolicy('selective-push').hold).toEqual({ waitingMax: 0 })
  const change = { call: fourBlocks, matchedBlocks: [1, 2, 2] }
  expect(ask('selective-push', { sketches: [{}, { inFlight: 30 }, { inFlight: 31 }], change }).odds).toEqual([0, 1, 0])
})
