import fc from 'fast-check'
import { expect, test } from 'vitest'
import { shapeOfSpeed } from '../../plugin/impact/engine-shape.ts'
import { createChoose } from '../../plugin/placement/choose.ts'
import { createAbsent, createGuarded } from '../../plugin/placement/guarded.ts'
import { createLearned } from '../../plugin/placement/learned.ts'
import { PlaceFeatures } from '../../plugin/placement/learned-features.ts'
import {
  blockOf,
  checkModel,
  LEARNED_FEATURE_HASH,
  type LearnedModel,
  PARAMETER_COUNT,
  PLACE_FEATURES,
  PLACE_WIDTH,
  startParameters,
} from '../../plugin/placement/learned-model.ts'
import { createPolicy } from '../../plugin/placement/policies.ts'
import { createRng } from '../../plugin/rng.ts'
import { profileNamed } from '../../plugin/simulation/profiles.ts'
import { type Sketch, sketchCandidates } from '../fakes/instances.ts'

const shapeOf = () => shapeOfSpeed(1)
const facts = { promptTokens: 300, predictedOutputTokens: 120 }

/** A model whose hidden units speak as well. */
function drawModel(seed: number): LearnedModel {
  const rng = createRng(seed)
  const parameters = startParameters(() => rng.normal())
  for (let i = 0; i < parameters.length; i++) parameters[i] = (parameters[i] as number) + 0.2 * rng.normal()
  return { version: 'drawn', featureHash: LEARNED_FEATURE_HASH, parameters }
}

const sketches = fc.array(
  fc.record({
    inFlight: fc.nat(50),
    prefillTokensPending: fc.nat(9_000),
    promptTokens: fc.nat(20_000),
    outputTokensLeft: fc.nat(9_000),
    awaitingFirstToken: fc.nat(9),
    waiting: fc.oneof(fc.nat(40), fc.constant(Number.NaN)),
    kvBlocks: fc.oneof(fc.integer({ min: 10, max: 5_000 }), fc.constant(Number.NaN)),
    foreignInFlight: fc.oneof(fc.nat(9), fc.constant(Number.NaN)),
  }),
  { minLength: 1, maxLength: 40 },
)

function costsOf(model: LearnedModel, list: readonly Sketch[]): number[] {
  const { candidates, call, out } = sketchCandidates(list, { facts })
  createLearned({ model, shapeOf }).distribute(candidates, call, out)
  return [...out.costs.subarray(0, list.length)]
}

test('learned gives a distribution over any candidates', () => {
  fc.assert(
    fc.property(sketches, fc.nat(99), (list, seed) => {
      const { candidates, call, out } = sketchCandidates(list, { facts })
      createLearned({ model: drawModel(seed), shapeOf }).distribute(candidates, call, out)
      const all = [...out.probabilities.subarray(0, list.length)]
      expect(all.every((p) => p >= 0 && p <= 1)).toBe(true)
      expect(all.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6)
    }),
  )
})

test('the order of the candidates changes no cost', () => {
  fc.assert(
    fc.property(sketches, fc.nat(99), (list, seed) => {
      const model = drawModel(seed)
      const there = costsOf(model, list)
      const back = costsOf(model, list.toReversed()).toReversed()
      for (const [i, cost] of there.entries()) expect(back[i]).toBeCloseTo(cost, 6)
    }),
  )
})

test('one model serves 1 candidate and 512, and equal candidates cost the same however many there are', () => {
  const model = drawModel(7)
  const sketch = { inFlight: 6, promptTokens: 1_000, outputTokensLeft: 900, waiting: 1, kvBlocks: 900 }
  const [alone] = costsOf(model, [sketch])
  const many = costsOf(model, new Array<Sketch>(512).fill(sketch))
  expect(many).toHaveLength(512)
  for (const cost of many) expect(cost).toBeCloseTo(alone as number, 5)
})

test('every feature has a place in the row, and moves with what it is named after', () => {
  const features = new PlaceFeatures({ shapeOf: () => profileNamed('v100-32g') })
  const fill = (list: readonly Sketch[]): Record<string, number>[] => {
    features.fill(sketchCandidates(list, { facts }).candidates)
    return list.map((_, i) => Object.fromEntries(PLACE_FEATURES.map((name, f) => [name, features.rows[i * PLACE_WIDTH + f] as number])))
  }
  const [calm, busy] = fill([
    { inFlight: 2, promptTokens: 100, outputTokensLeft: 50, waiting: 0, kvBlocks: 100 },
    {
      inFlight: 20,
      promptTokens: 1_500,
      outputTokensLeft: 900,
      prefillTokensPending: 700,
      awaitingFirstToken: 3,
      waiting: 3,
      waitingMost: 3,
      kvBlocks: 100,
      foreignInFlight: 2,
    },
  ]) as [Record<string, number>, Record<string, number>]
  for (const name of PLACE_FEATURES) expect(Number.isFinite(busy[name]), name).toBe(true)
  const rising = [
    'crowd',
    'crowdOverMean',
    'waits',
    'queue',
    'kv',
    'kvPeak',
    'kvHigh',
    'kvOver',
    'pending',
    'stall',
    'drag',
    'blocked',
    'own',
    'everybody',
    'fleetKvByKv',
    'stallShared',
    'foreign',
    'everybodyOverLeast',
  ]
  for (const name of rising) expect(busy[name], name).toBeGreaterThan(calm[name] as number)
  for (const name of ['fleetKv', 'long', 'prompt', 'fleetCrowd', 'time']) expect(busy[name], name).toBe(calm[name])
})

test("a cost that is no number is the fallback policy's decision, counted by its name", () => {
  const model = drawModel(1)
  const broken = { ...model, parameters: model.parameters.slice() }
  const learned = createLearned({ model: broken, shapeOf })
  const counted: string[] = []
  const choose = createChoose({ rng: createRng(1), count: (what) => counted.push(what) })
  const policies = (policy = learned) => ({ policy, fallbackPolicy: createPolicy('least-request'), explorationRatio: 0 })
  const made = sketchCandidates([{ inFlight: 3 }, { inFlight: 1 }], { facts })
  made.candidates.rows.fill(Number.POSITIVE_INFINITY, 0, 1)
  const choice = choose({ ...made, policies: policies() })
  expect(choice).toMatchObject({ reason: 'fallback policy', policy: { name: 'least-request' }, draw: { index: 1 } })
  choose({ ...made, policies: policies(createAbsent('learned')) })
  expect(counted).toEqual(['policy failed: not a number', 'policy failed: no model'])
})

test('late answers open a circuit: the fallback policy decides for ten seconds, then the policy again', () => {
  let nowMs = 0
  let slowMs = 20
  const policy = createGuarded({
    nowMs: () => nowMs,
    policy: {
      ...createPolicy('least-request'),
      distribute: (...args) => {
        nowMs += slowMs
        createPolicy('least-request').distribute(...args)
      },
    },
  })
  const { candidates, call, out } = sketchCandidates([{}, {}], { facts })
  const ask = () => policy.distribute(candidates, call, out)
  for (let i = 0; i < 3; i++) expect(ask).not.toThrow()
  expect(ask).toThrow('late')
  nowMs += 10_000
  slowMs = 1
  for (let i = 0; i < 9; i++) expect(ask).not.toThrow()
})

test('a model for other features, of another size, or with what is no number is refused by name', () => {
  const model = drawModel(1)
  const refused = (change: Partial<LearnedModel>) => () => createPolicy('learned', { model: { ...model, ...change } })
  expect(refused({ featureHash: 'deadbeef' })).toThrow(`made for features deadbeef; this version has ${LEARNED_FEATURE_HASH}`)
  expect(refused({ parameters: new Float32Array(3) })).toThrow(`drawn has 3 parameters; ${PARAMETER_COUNT} are needed`)
  expect(refused({ parameters: new Float32Array(PARAMETER_COUNT).fill(Number.NaN) })).toThrow('parameter 0 is NaN')
  expect(() => createPolicy('learned')).toThrow('needs a model')
  expect(checkModel(model)).toBe(model)
  expect(() => blockOf(model.parameters, 'nothing')).toThrow('no block')
})
