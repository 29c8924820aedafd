import { expect, test } from 'vitest'
import { shapeOfSpeed } from '../../plugin/impact/engine-shape.ts'
import { evaluate } from '../../plugin/learning/evaluate.ts'
import { pairedGain } from '../../plugin/learning/evaluate-intervals.ts'
import { figureOf } from '../../plugin/learning/figure.ts'
import { decide, type Evidence } from '../../plugin/learning/gate.ts'
import { estimateOffPolicy, type LoggedChoice } from '../../plugin/learning/off-policy.ts'
import { AT, CALL_COLUMNS, CANDIDATE_COLUMNS } from '../../plugin/placement/features.ts'
import { createPolicy } from '../../plugin/placement/policies.ts'
import { createRng } from '../../plugin/rng.ts'
import { drawWide } from '../../plugin/simulation/scenario/mixes.ts'
import { generatedScenario, sameMachines } from '../../plugin/simulation/scenario/scenarios.ts'
import { logDay } from '../bench/trust/hidden.ts'

const fleet = [...sameMachines('v100-32g', 2, 'v'), ...sameMachines('a100-7b', 2, 'a')].map((one) => ({
  ...one,
  speed: one.name.startsWith('a') ? 3 : 1,
}))
const scenario = generatedScenario({ name: 'held-out', fleet, mix: drawWide, mixName: 'wide', callsPerS: 45, calls: 3_000 })
const { rows } = logDay(fleet, { calls: scenario.calls({ seed: 5 }), rng: createRng(5), policy: 'least-request' })

const GOOD: Evidence = {
  serving: 'least-request',
  gainWords: 'lower mean E2E',
  heldOutCalls: 5_000,
  instances: 4,
  gain: [0.1, 0.06, 0.14],
  gainVsLeastRequest: [0.1, 0.06, 0.14],
  ttftP99Ratio: 1.05,
  ttftP99VsLeastRequest: 1.05,
  slices: [{ slice: 'application chat', calls: 900, gain: [0.02, -0.04, 0.08] }],
  largestShare: 0.4,
  servingShare: 0.3,
  lostMore: 0,
  twinError: 0.02,
}

test('a challenger that is better in all that counts may be promoted, and the verdict is plain JSON', () => {
  const verdict = decide(GOOD)
  expect(verdict.passed).toBe(true)
  expect(verdict.words).toContain('10.0 % lower mean E2E than least-request')
  expect(JSON.parse(JSON.stringify(verdict))).toEqual(verdict)
})

const BAD: readonly (readonly [string, Partial<Evidence>, string])[] = [
  ['its gain may be none', { gain: [0.02, -0.01, 0.05] }, 'gain'],
  ['it may be worse than least-request', { gainVsLeastRequest: [0.01, -0.02, 0.04] }, 'least-request'],
  ['the tail pays for the mean', { ttftP99Ratio: 1.5, ttftP99VsLeastRequest: 1.4 }, 'TTFT p99'],
  ['one application pays for the others', { slices: [{ slice: 'application batch', calls: 300, gain: [-0.2, -0.3, -0.1] }] }, 'slices'],
  ['nearly all goes to one instance', { largestShare: 0.99, servingShare: 0.3 }, 'shares'],
  ['calls are lost', { lostMore: 40 }, 'lost'],
  ['the twin is not this fleet', { twinError: -0.5 }, 'twin'],
  ['there were too few calls', { heldOutCalls: 50 }, 'calls'],
]
for (const [why, evidence, name] of BAD)
  test(`not promoted where ${why}`, () => {
    const verdict = decide({ ...GOOD, ...evidence })
    expect(verdict.passed).toBe(false)
    expect(verdict.checks.filter((check) => !check.passed).map((check) => check.name)).toEqual([name])
  })

test('a slice that is worse by chance alone does not stop a promotion', () => {
  const slices = [{ slice: 'tenant small', calls: 150, gain: [-0.08, -0.25, 0.1] as const }]
  expect(decide({ ...GOOD, slices }).passed).toBe(true)
})

test('a rule that knows the speeds passes on held-out calls of an unequal fleet, one that does not is refused against it', async () => {
  const parts = { fleet, calls: rows, scrapeMs: 50, networkMs: 1.5, seed: 1 }
  const better = await evaluate({ ...parts, serving: { arm: 'least-request' }, challenger: { arm: 'least-request-speed' } })
  expect(better.passed, better.words).toBe(true)
  expect(better.gain[1]).toBeGreaterThan(0.1)
  expect(Math.abs(better.twinError)).toBeLessThan(0.05)
  expect(better.slices.length).toBeGreaterThan(3)
  const worse = await evaluate({ ...parts, serving: { arm: 'least-request-speed' }, challenger: { arm: 'random' } })
  expect(worse.passed).toBe(false)
  expect(worse.gain[2]).toBeLessThan(0)
  const again = await evaluate({ ...parts, serving: { arm: 'least-request-speed' }, challenger: { arm: 'random' } })
  expect(JSON.stringify(again)).toBe(JSON.stringify(worse))
}, 120_000)

test('a pool that the challenger would make slower is a slice that refuses it', async () => {
  const parts = { fleet, calls: rows.slice(0, 1_500), scrapeMs: 50, networkMs: 1.5, seed: 1 }
  const [serving, challenger] = [{ arm: 'least-request' }, { arm: 'least-request-speed' }]
  // Its speeds are told the wrong way round: there the better rule overloads the slow ones.
  const misled = fleet.map((one) => ({ ...one, speed: one.name.startsWith('a') ? 1 : 3 }))
  const others = [{ pool: 'other', fleet: misled, calls: rows, serving, challenger }]
  const verdict = await evaluate({ ...parts, serving, challenger, others })
  expect(verdict.slices[0]).toMatchObject({ slice: 'pool other', calls: rows.length })
  expect(verdict.slices[0]?.gain[2]).toBeLessThan(0)
  expect(verdict.checks.filter((check) => !check.passed).map((check) => check.name)).toEqual(['slices'])
  expect(verdict.words).toContain('pool other')
}, 120_000)

test('what serves is judged with what it believes of the engines, not with what the night found of them', async () => {
  const parts = { fleet, calls: rows.slice(0, 1_500), scrapeMs: 50, networkMs: 1.5, seed: 1 }
  const impact = { arm: 'impact' }
  const same = await evaluate({ ...parts, serving: impact, challenger: impact })
  expect(same.gain).toEqual([0, 0, 0])
  const unknowing = { ...impact, believes: () => shapeOfSpeed(1) }
  const told = await evaluate({ ...parts, serving: unknowing, challenger: impact })
  expect(told.gain[1]).toBeGreaterThan(0.05)
}, 120_000)

test('where calls in time are the objective, they decide, and what nobody is late under gains nothing', async () => {
  const parts = { fleet, calls: rows.slice(0, 1_500), scrapeMs: 50, networkMs: 1.5, seed: 1 }
  const arms = { serving: { arm: 'least-request' }, challenger: { arm: 'least-request-speed' } }
  const within = (ttftMs: number, perTokenMs: number) =>
    evaluate({ ...parts, ...arms, figure: figureOf({ kind: 'slo', ttftMs, perTokenMs }) })
  const tight = await within(1_000, 25)
  expect(tight.words).toContain('fewer calls late than least-request')
  expect(tight.gain[1]).toBeGreaterThan(0.1)
  const inTime = (name: string): number => tight.arms.find(({ arm }) => arm === name)?.withinLimits as number
  expect(inTime('challenger')).toBeGreaterThan(inTime('least-request'))
  const loose = await within(3_600_000, 60_000)
  expect(loose.gain).toEqual([0, 0, 0])
  expect(loose.passed).toBe(false)
}, 120_000)

test('equal arms gain nothing, exactly', () => {
  const runs = Array.from({ length: 4 }, (_, k) => Float64Array.from({ length: 200 }, (_, i) => 100 + i + k))
  expect(pairedGain({ ours: runs, theirs: runs }, createRng(1))).toEqual([0, 0, 0])
})

/** Of the stationary first-order process below: 0.05² ÷ (1 − 0.98²). */
const OWN_VARIANCE = 0.05 ** 2 / (1 - 0.98 ** 2)

test('the interval of a gain holds what is true about as often as it says, though neighbouring calls hang together', () => {
  const rng = createRng(12)
  const TRUE_GAIN = 0.1
  let held = 0
  const experiments = 120
  for (let k = 0; k < experiments; k++) {
    const runs = { ours: [] as Float64Array[], theirs: [] as Float64Array[] }
    for (let replay = 0; replay < 8; replay++) {
      // Queues: both arms are late together, and each by itself, for some fifty calls on end.
      let [both, own] = [0, 0]
      const theirs = new Float64Array(1_200)
      runs.ours.push(
        theirs.map((_, i) => {
          both = 0.98 * both + 0.1 * rng.normal()
          own = 0.98 * own + 0.05 * rng.normal()
          theirs[i] = 1_000 * Math.exp(both)
          return 1_000 * (1 - TRUE_GAIN) * Math.exp(both + own - OWN_VARIANCE / 2)
        }),
      )
      runs.theirs.push(theirs)
    }
    const [, low, high] = pairedGain(runs, rng.stream(`bootstrap ${k}`))
    if (low <= TRUE_GAIN && TRUE_GAIN <= high) held++
  }
  // Three sigma of a binomial at 95 % over 120; the wider one of two intervals may hold more often.
  expect(held / experiments).toBeGreaterThan(0.95 - 3 * Math.sqrt((0.05 * 0.95) / experiments))
})

/** Two instances, one twice as slow, chosen by lot: what the better choice would gain is known. */
function choicesOf(count: number): LoggedChoice[] {
  const rng = createRng(8)
  return Array.from({ length: count }, (_, i) => {
    const rows = new Float32Array(2 * CANDIDATE_COLUMNS.length)
    const chosenIsFast = rng.next() < 0.5
    const loads = [rng.int(6), rng.int(6)]
    loads.forEach((inFlight, k) => {
      rows[k * CANDIDATE_COLUMNS.length + AT.inFlight] = inFlight
      rows[k * CANDIDATE_COLUMNS.length + AT.speed] = (k === 0) === chosenIsFast ? 2 : 1
      rows[k * CANDIDATE_COLUMNS.length + AT.weight] = 1
    })
    const e2eMs = 1000 * (1 + loads[0]!) * (chosenIsFast ? 1 : 2) * Math.exp(0.2 * rng.normal())
    return { arrivedUnixMs: i * 1000, callRow: new Float32Array(CALL_COLUMNS.length), rows, names: ['a', 'b'], propensity: 0.5, e2eMs }
  })
}

test('logged decisions tell what another policy would have gained per call', () => {
  const choices = choicesOf(4_000)
  const truth = choices.map(({ rows }) => {
    const costs = [0, 1].map(
      (k) => (rows[k * CANDIDATE_COLUMNS.length + AT.inFlight]! + 1) * (rows[k * CANDIDATE_COLUMNS.length + AT.speed] === 2 ? 1 : 2),
    )
    return Math.log(Math.min(...costs)) - Math.log(costs[0]!)
  })
  const gain = 1 - Math.exp(truth.reduce((sum, one) => sum + one, 0) / truth.length)
  const found = estimateOffPolicy(choices, { policy: createPolicy('least-request-speed'), rng: createRng(2) })
  expect(found.low).toBeLessThan(gain)
  expect(found.high).toBeGreaterThan(gain)
  expect(found.high - found.low).toBeLessThan(0.1)
  expect(found.effective).toBeGreaterThan(1_000)
})

test('decisions of less than a minute still have an interval', () => {
  const within = choicesOf(600).map((choice, i) => ({ ...choice, arrivedUnixMs: 1_000_000_000_000 + i * 80 }))
  const { low, high } = estimateOffPolicy(within, { policy: createPolicy('least-request-speed'), rng: createRng(2) })
  expect(high - low).toBeGreaterThan(0.01)
})

test('off-policy needs decisions and a policy that can be asked', () => {
  expect(() => estimateOffPolicy(choicesOf(20), { policy: createPolicy('least-request'), rng: createRng(1) })).toThrow(
    '20 logged decisions',
  )
  expect(() => estimateOffPolicy(choicesOf(600), { policy: createPolicy('round-robin'), rng: createRng(1) })).toThrow('keeps state')
})
