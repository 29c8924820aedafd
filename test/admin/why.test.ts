import { expect, test } from 'vitest'
import { createChart } from '../../admin/chart.ts'
import { formatDuration, formatNumber, formatPercent, formatSeconds } from '../../admin/format.ts'
import { createTimeline, phasesOf } from '../../admin/timeline.ts'
import { explain } from '../../admin/why.ts'
import { CANDIDATE_COLUMNS } from '../../plugin/log/read/columns.ts'
import type { Decision, StoredAttempt, StoredCall, StoredCandidate } from '../../plugin/log/read/decision.ts'

type Known = Partial<Record<string, number>>

function candidate(instance: string, cost: number, known: Known = {}): StoredCandidate {
  const features = Float32Array.from(CANDIDATE_COLUMNS.map(({ name }) => known[name] ?? Number.NaN))
  return { instanceId: instance.charCodeAt(0), instance, cost, features }
}

function decision(parts: {
  readonly call?: Partial<StoredCall>
  readonly candidates?: StoredCandidate[]
  readonly attempts?: StoredAttempt[]
}): Decision {
  const call = {
    policy: 'least-request-speed',
    reason: 'lowest cost',
    heldMs: 0,
    placedMs: 0,
    ttftMs: 200,
    e2eMs: 1000,
    outputTokens: 40,
    outcome: 'completed',
    error: null,
    arrivedUnixMs: 1_000_000,
    ...parts.call,
  } as StoredCall
  const { candidates = [], attempts = [] } = parts
  return {
    call,
    instance: candidates[0]?.instance,
    candidates,
    candidatesTotal: candidates.length,
    callFeatures: undefined,
    otherFeatureHash: undefined,
    attempts,
    neighbours: [],
    newerId: undefined,
    olderId: undefined,
  }
}

const say = (one: Decision): string =>
  explain(one)
    .map(({ text }) => text)
    .join('')

test('the sentence names what the policy reads and the chosen one is better in, and what speaks against it, nothing else', () => {
  const a = candidate('a', 1, { inFlight: 1, speed: 2, weight: 1, kvUsage: 0.1 })
  const b = candidate('b', 4, { inFlight: 3, speed: 1, weight: 1, kvUsage: 0.9 })
  expect(say(decision({ candidates: [a, b] }))).toBe(
    'Placed on a rather than b because it had 1 call in flight against 3 and it is 2.00 times as fast.',
  )
  const faster = candidate('a', 2, { inFlight: 3, speed: 2, weight: 1 })
  const idler = candidate('b', 3, { inFlight: 2, speed: 1, weight: 1 })
  expect(say(decision({ candidates: [faster, idler] }))).toBe(
    'Placed on a rather than b because it is 2.00 times as fast, although it had 3 calls in flight against 2.',
  )
})

test('at most three features are named', () => {
  const a = candidate('a', -6, { waiting: 0, kvUsage: 0.1, prefixMatch: 0.5, adapterLoaded: 1 })
  const b = candidate('b', -1, { waiting: 5, kvUsage: 0.2, prefixMatch: 0, adapterLoaded: 0 })
  const sentence = say(decision({ call: { policy: 'weighted' }, candidates: [a, b] }))
  expect(sentence).toBe(
    'Placed on a rather than b because 0 waited in its queue against 5, 50 % of the prompt was cached there against 0 % and its adapter was loaded there.',
  )
})

test.each([
  ['only candidate', [candidate('a', 1)], 'Placed on a, the only instance that could take this call.'],
  [
    'tie broken at random',
    [candidate('a', 1), candidate('b', 1), candidate('c', 1), candidate('d', 2)],
    'Placed on a by lot: it, b and c cost the same, 1.00.',
  ],
  ['next in turn', [candidate('a', Number.NaN), candidate('b', Number.NaN)], 'Placed on a because it was next in turn.'],
  [
    'fallback policy',
    [candidate('a', 1), candidate('b', 2)],
    'Placed on a by the fallback policy least-request-speed, since the pool’s own policy gave no answer.',
  ],
  [
    'switched off',
    [candidate('a', 1), candidate('b', 2)],
    'Placed on a by the fallback policy least-request-speed, since Phasewise was switched off.',
  ],
  [
    'any reachable instance',
    [candidate('a', 1), candidate('b', 2)],
    'Placed on a because no healthy instance was left and a troubled one is better than none.',
  ],
] as const)('the reason "%s" is said in words', (reason, candidates, sentence) => {
  expect(say(decision({ call: { reason }, candidates: [...candidates] }))).toBe(sentence)
})

test('a policy that is not known here is not given reasons, only differences', () => {
  const a = candidate('a', 1, { inFlight: 1 })
  const b = candidate('b', 2, { inFlight: 2 })
  expect(say(decision({ call: { policy: 'learned' }, candidates: [a, b] }))).toContain('; what differs most: ')
})

test('a call that found no instance says so', () => {
  expect(say(decision({}))).toBe('Not placed: no instance could take this call.')
})

test('hold, failed tries and the final one follow one another in the drawing', () => {
  const attempts: StoredAttempt[] = [
    { instanceId: 1, instance: 'a', startedMs: 100, endedMs: 150, outcome: 'instance error', error: 'connect' },
    { instanceId: 2, instance: 'b', startedMs: 150, endedMs: 1000, outcome: 'completed', error: null },
  ]
  const one = decision({ call: { heldMs: 100 }, candidates: [candidate('a', 1), candidate('b', 2)], attempts })
  const phases = phasesOf(one)
  expect(phases.map(({ name, fromMs, toMs, where }) => [name, fromMs, toMs, where])).toEqual([
    ['held', 0, 100, 'in the router'],
    ['connect', 100, 150, 'a'],
    ['prefill', 150, 200, 'b'],
    ['decode, 40 tokens', 200, 1000, 'b'],
  ])
  expect(say(one)).toContain('No byte had reached the caller when a (connect) failed, so it was retried on b.')
  const neighbours = Array.from({ length: 40 }, (_, i) => ({ callId: i, arrivedUnixMs: 1_000_000, placedMs: 0, e2eMs: 900 }))
  const { drawings, hidden } = createTimeline({ ...one, neighbours }, phases)
  expect(hidden).toBe(28)
  for (const { bars, width } of drawings) for (const { x, width: wide } of bars) expect(x >= 0 && x + wide <= width).toBe(true)
})

test('a chart leaves a gap where nothing is known and shows a lonely point as a dot', () => {
  const chart = createChart({
    title: 'E2E',
    unit: 's',
    kind: 'lines',
    fromUnixMs: 0,
    toUnixMs: 300_000,
    bucketMs: 60_000,
    atUnixMs: [0, 60_000, 120_000, 180_000, 240_000],
    series: [{ name: 'p50', mark: 's1', values: [1, 2, undefined, 4, undefined] }],
  })
  const [wide] = chart.drawings
  expect(wide?.paths[0]?.d.match(/M/g)).toHaveLength(2)
  expect(wide?.dots).toHaveLength(1)
  expect(chart.rows.map(({ values }) => values[0])).toEqual(['–', '4.00', '–', '2.00', '1.00'])
})

test.each([
  [formatNumber, 0.0504, '0.050'],
  [formatNumber, 13.44, '13.4'],
  [formatNumber, 214_806, '214,806'],
  [formatNumber, Number.NaN, undefined],
  [formatSeconds, 1_922, '1.92'],
  [formatSeconds, null, undefined],
  [formatPercent, 0.0038, '0.38 %'],
  [formatPercent, 0, '0 %'],
  [formatPercent, 1, '100 %'],
  [formatDuration, 119.6, '120 ms'],
  [formatDuration, 1_720, '1.72 s'],
  [formatDuration, 184_000, '3 min 4 s'],
  [formatDuration, 9.2 * 86_400_000, '9 d 4 h'],
  [formatDuration, Number.POSITIVE_INFINITY, undefined],
] as const)('%o of %d reads %s', (format, value, expected) => {
  expect(format(value as number)).toBe(expected)
})
