import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createPolicy, POLICY_NAMES } from '../../plugin/placement/policies.ts'
import { createRng } from '../../plugin/rng.ts'
import { type Sketch, sketchCall, sketchCandidates } from '../fakes/instances.ts'

function probabilities(policy: string, sketches: readonly Sketch[], parts = {}, change = {}): number[] {
  const { candidates, out, call } = sketchCandidates(sketches, change)
  createPolicy(policy, parts).distribute(candidates, call, out)
  return [...out.probabilities.subarray(0, sketches.length)]
}

test('least-request takes the fewest in flight and splits ties evenly', () => {
  expect(probabilities('least-request', [{ inFlight: 3 }, { inFlight: 1 }, { inFlight: 1 }])).toEqual([0, 0.5, 0.5])
})

test('least-request-speed: a fast instance may hold more, and an idle fleet starts on the fastest', () => {
  expect(probabilities('least-request-speed', [{ speed: 1 }, { speed: 4 }])).toEqual([0, 1])
  expect(
    probabilities('least-request-speed', [
      { speed: 1, inFlight: 1 },
      { speed: 4, inFlight: 6 },
    ]),
  ).toEqual([0, 1])
  expect(
    probabilities('least-request-speed', [
      { speed: 1, inFlight: 1 },
      { speed: 4, inFlight: 8 },
    ]),
  ).toEqual([1, 0])
})

test('p2c of three: 2/3 for the least loaded, 1/3 for the middle one, nothing for the most loaded', () => {
  const [a, b, c] = probabilities('p2c', [{ inFlight: 5 }, { inFlight: 0 }, { inFlight: 2 }])
  expect(a).toBe(0)
  expect(b).toBeCloseTo(2 / 3)
  expect(c).toBeCloseTo(1 / 3)
})

test('p2c as written out is the draw it stands for (4 sigma over 40,000 pairs)', () => {
  const loads = [4, 1, 1, 7, 3]
  const expected = probabilities(
    'p2c',
    loads.map((inFlight) => ({ inFlight })),
  )
  const rng = createRng(11)
  const draws = 40_000
  const seen = loads.map(() => 0)
  for (let i = 0; i < draws; i++) {
    const a = rng.int(5)
    const b = (a + 1 + rng.int(4)) % 5
    const difference = loads[a]! - loads[b]!
    const won = difference < 0 || (difference === 0 && rng.next() < 0.5) ? a : b
    seen[won]!++
  }
  expected.forEach((p, i) => {
    expect(Math.abs(seen[i]! / draws - p), `seed ${rng.seed}, candidate ${i}`).toBeLessThan(4 * Math.sqrt(0.25 / draws))
  })
})

test('round-robin goes through the names in turn', () => {
  const { candidates, out, call } = sketchCandidates([{}, {}, {}])
  const policy = createPolicy('round-robin')
  const turns = [0, 1, 2, 3].map(() => {
    policy.distribute(candidates, call, out)
    const index = out.probabilities.subarray(0, 3).indexOf(1)
    policy.onPlaced?.(candidates.instances[index]!, call, { nowMs: 0, promptTokens: 100, predictedOutputTokens: 50 })
    return index
  })
  expect(turns).toEqual([0, 1, 2, 0])
})

test('least-tokens: prompts not yet prefilled plus one and a half times all prompts in flight', () => {
  const { candidates, out, call } = sketchCandidates([
    { prefillTokensPending: 100, promptTokens: 100 },
    { prefillTokensPending: 0, promptTokens: 160 },
  ])
  createPolicy('least-tokens').distribute(candidates, call, out)
  expect([...out.costs.subarray(0, 2)]).toEqual([250, 240])
})

const equal = { weights: { queue: 1, kv: 1, prefix: 1, adapter: 1 } }
const T = 'T'
const adapterCases: readonly [string, readonly Sketch[], number][] = [
  [
    'adapter loaded, low queue',
    [
      { waiting: 0, kv: 0.2, adapters: ['foo', 'bar'] },
      { waiting: 0, kv: 0.1, adapters: ['foo', T] },
      { waiting: 10, kv: 0.2, adapters: ['foo', 'bar'] },
    ],
    1,
  ],
  [
    'adapter beats kv',
    [
      { waiting: 10, kv: 0.2, adapters: ['foo', 'bar'] },
      { waiting: 10, kv: 0.4, adapters: ['foo', T] },
      { waiting: 10, kv: 0.3, adapters: ['foo'] },
    ],
    1,
  ],
  [
    'both loaded, lower kv',
    [
      { waiting: 4, kv: 0.2, adapters: [T] },
      { waiting: 4, kv: 0.85, adapters: ['foo', T] },
    ],
    0,
  ],
]
test.each(adapterCases)('weighted with equal weights: %s', (_name, sketches, expected) => {
  const facts = { promptTokens: 10, predictedOutputTokens: Number.NaN, adapter: T }
  expect(probabilities('weighted', sketches, equal, { facts }).indexOf(1)).toBe(expected)
})

test('weighted: lower queue and kv wins', () => {
  const sketches = [
    { waiting: 3, kv: 0.2 },
    { waiting: 0, kv: 0.1 },
    { waiting: 10, kv: 0.2 },
  ]
  expect(probabilities('weighted', sketches)).toEqual([0, 1, 0])
})

test('weighted: a longer cached prefix is worth more than a shorter queue', () => {
  const call = sketchCall({ prefixBlocks: new BigUint64Array(4) })
  const sketches = [
    { waiting: 0, kv: 0.5 },
    { waiting: 2, kv: 0.5 },
  ]
  expect(probabilities('weighted', sketches, {}, { call, matchedBlocks: [0, 4] })).toEqual([0, 1])
  expect(probabilities('weighted', sketches, {}, { call, matchedBlocks: [0, 2] })).toEqual([1, 0])
})

test('weighted: an instance with no scrape is neither sought nor shunned', () => {
  expect(probabilities('weighted', [{ waiting: 0, kv: 0.1 }, {}, { waiting: 8, kv: 0.9 }])).toEqual([1, 0, 0])
  expect(probabilities('weighted', [{}, {}])).toEqual([0.5, 0.5])
})

const sketches = fc.array(
  fc.record({
    inFlight: fc.nat(50),
    prefillTokensPending: fc.nat(9_000),
    promptTokens: fc.nat(20_000),
    speed: fc.double({ min: 0.1, max: 8, noNaN: true }),
    waiting: fc.oneof(fc.nat(40), fc.constant(Number.NaN)),
    kv: fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constant(Number.NaN)),
  }),
  { minLength: 1, maxLength: 40 },
)
test.each(POLICY_NAMES)('%s gives a distribution over any candidates', (name) => {
  fc.assert(
    fc.property(sketches, (list) => {
      const all = probabilities(name, list)
      expect(all.every((p) => p >= 0 && p <= 1 + 1e-9)).toBe(true)
      expect(all.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6)
    }),
  )
})
