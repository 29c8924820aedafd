import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Gate } from '../../plugin/hold/learned-rule.ts'
import { createPolicyCard } from '../../plugin/learning/policy-card.ts'
import { Domain } from '../../plugin/learning/policy-domain.ts'
import { BASE_POLICY_FOLDER, readPolicyModel, writePolicyModel } from '../../plugin/learning/policy-folder.ts'
import { encodePolicy } from '../../plugin/learning/policy-net.ts'
import { lossOf, OBJECTIVE, objectiveOf, playModel, playReferences } from '../../plugin/learning/policy-objective.ts'
import { drawHoldBack, type SearchState } from '../../plugin/learning/policy-search.ts'
import { FAMILIES, inRotation, MIXES } from '../../plugin/learning/policy-tasks.ts'
import { trainPolicy } from '../../plugin/learning/policy-train.ts'
import { openSession, tensorOver } from '../../plugin/neural/session.ts'
import { createPlaceForward } from '../../plugin/placement/learned.ts'
import {
  blockOf,
  HOLD_WIDTH,
  LEARNED_FEATURE_HASH,
  ORDER_WIDTH,
  PARAMETER_COUNT,
  PLACE_WIDTH,
  startParameters,
} from '../../plugin/placement/learned-model.ts'
import { createRng } from '../../plugin/rng.ts'
import { profileNamed } from '../../plugin/simulation/profiles.ts'
import type { Score } from '../../plugin/simulation/scenario/score.ts'
import { sketchCall, sketchInstance } from '../fakes/instances.ts'

function drawParameters(seed: number): Float32Array {
  const rng = createRng(seed)
  const parameters = startParameters(() => rng.normal())
  return parameters.map((value) => value + 0.3 * rng.normal())
}

const drawRows = (rows: number, width: number, seed: number): Float32Array => {
  const rng = createRng(seed)
  return Float32Array.from({ length: rows * width }, () => rng.normal())
}

test.each([1, 512])('the plain forward of %i rows equals onnxruntime', async (rows) => {
  const parameters = drawParameters(3)
  const { session, close } = await openSession(encodePolicy(parameters))
  const place = drawRows(rows, PLACE_WIDTH, 1)
  const hold = drawRows(rows, HOLD_WIDTH, 2)
  const order = drawRows(rows, ORDER_WIDTH, 3)
  const out = await session.run({
    place: tensorOver(place, [rows, PLACE_WIDTH]),
    hold: tensorOver(hold, [rows, HOLD_WIDTH]),
    order: tensorOver(order, [rows, ORDER_WIDTH]),
  })
  const forward = createPlaceForward(parameters)
  const ours = Float64Array.from(place)
  const costs = out.cost!.data as Float32Array
  expect(costs).toHaveLength(rows)
  for (let i = 0; i < rows; i++) expect(forward(ours, i * PLACE_WIDTH)).toBeCloseTo(costs[i] as number, 4)
  const weights = blockOf(parameters, 'order.linear')
  const keys = out.key!.data as Float32Array
  for (let i = 0; i < rows; i++) {
    const key = weights.reduce((sum, weight, f) => sum + weight * (order[i * ORDER_WIDTH + f] as number), 0)
    expect(key).toBeCloseTo(keys[i] as number, 4)
  }
  await close()
})

test('the hold head as it serves equals onnxruntime on the rows that it wrote', async () => {
  const parameters = drawParameters(5)
  const gate = new Gate({
    conditions: Float64Array.from(blockOf(parameters, 'hold.conditions')),
    shapeOf: () => profileNamed('v100-paper'),
  })
  const views = [1, 9, 40].map((inFlight, i) =>
    sketchInstance(
      { inFlight, awaitingFirstToken: 1 + i, promptTokens: 200 * inFlight, outputTokensLeft: 90 * inFlight, kvBlocks: 512 },
      i,
    ),
  )
  gate.look({ instances: views, count: 3, held: 5, inTurnMs: 9_000, nowMs: 4_000 })
  const held = { call: sketchCall({}), promptTokens: 180, predictedOutputTokens: 77, arrivedMs: 1_000 }
  const margins = views.map((_, i) => gate.margin(held, i))
  const { session, close } = await openSession(encodePolicy(parameters))
  const out = await session.run({
    place: tensorOver(new Float32Array(PLACE_WIDTH), [1, PLACE_WIDTH]),
    hold: tensorOver(Float32Array.from(gate.rows.subarray(0, 3 * HOLD_WIDTH)), [3, HOLD_WIDTH]),
    order: tensorOver(new Float32Array(ORDER_WIDTH), [1, ORDER_WIDTH]),
  })
  const theirs = out.margin!.data as Float32Array
  for (const [i, margin] of margins.entries()) expect(margin).toBeCloseTo(theirs[i] as number, 4)
  await close()
})

const fleet = [
  { name: 'a', profile: profileNamed('v100-32g') },
  { name: 'b', profile: profileNamed('a100-7b') },
]
const calls = Array.from({ length: 300 }, (_, i) => ({ atMs: 60 * i, promptTokens: 100 + (i % 7) * 90, outputTokens: 20 + (i % 5) * 40 }))
const own = { kind: 'own', fleet, calls } as const
const SMALL = { generations: 2, population: 4, tasks: 2, validationTasks: 2 }

test('the same seed and plan train the same model, in this thread or in two others; another seed trains another', async () => {
  const train = (seed: number, workers: number) => trainPolicy({ domain: own, seed, workers, plan: SMALL })
  const [here, there, other] = [await train(1, 0), await train(1, 2), await train(2, 0)]
  expect([...there.model.parameters]).toEqual([...here.model.parameters])
  expect(there.model.version).toBe(here.model.version)
  expect([...other.model.parameters]).not.toEqual([...here.model.parameters])
  expect(here.history).toHaveLength(2)
}, 60_000)

test('a search that was broken off goes on from any generation, and comes out the same to the bit', async () => {
  const plan = { ...SMALL, generations: 4, averagedGenerations: 2, linearGenerations: 1 }
  const kept: SearchState[] = []
  const whole = await trainPolicy({ domain: own, seed: 6, plan, checkpoint: (state) => void kept.push(state) })
  expect(kept.map(({ generation }) => generation)).toEqual([1, 2, 3, 4])
  for (const state of [kept[0], kept[2]]) {
    // As it comes back from disk.
    const resume = JSON.parse(JSON.stringify(state)) as SearchState
    const rest = await trainPolicy({ domain: own, seed: 6, plan, resume })
    expect([...rest.model.parameters]).toEqual([...whole.model.parameters])
    expect(rest.history).toHaveLength(4 - resume.generation)
  }
}, 180_000)

test('the limits of a night’s objective decide what counts as in time, and the objective what is minimised', async () => {
  const domain = await Domain.open(own)
  const [plan] = domain.plan({ tasks: 4, round: 0, rng: createRng(1) }).slice(-1)
  const task = domain.open(plan!)
  const within = (ttftMs: number, perTokenMs: number): number =>
    playReferences(task, objectiveOf({ kind: 'slo', ttftMs, perTokenMs, tailWeight: 1 })).leastRequest.withinLimits
  expect(within(1e9, 1e9)).toBe(1)
  expect(within(1, 0.1)).toBe(0)
  const parameters = drawParameters(9)
  const loss = (kind: 'latency' | 'slo', ttftMs: number): number => {
    const objective = objectiveOf({ kind, ttftMs, perTokenMs: 60, tailWeight: 1 })
    return lossOf(playModel(task, objective, parameters), playReferences(task, objective), { over: plan!.over, objective })
  }
  expect(objectiveOf({ kind: 'latency', ttftMs: 1, perTokenMs: 1, tailWeight: 0 })).toMatchObject({ e2eP99Weight: 0, ttftP99Weight: 0 })
  expect(loss('latency', 100)).toBe(loss('latency', 2_000))
  expect(loss('slo', 100)).not.toBe(loss('slo', 2_000))
  expect(loss('slo', 2_000)).not.toBe(loss('latency', 2_000))
}, 60_000)

test("a training goes on from a champion on a fleet's own calls, tells of each generation, and stops when it is told to", async () => {
  const champion = { version: 'champion', featureHash: LEARNED_FEATURE_HASH, parameters: drawParameters(9) }
  const stop = new AbortController()
  const told: number[] = []
  const training = trainPolicy({
    domain: own,
    seed: 4,
    champion,
    plan: { ...SMALL, generations: 5 },
    told: ({ generation }) => {
      told.push(generation)
      if (generation === 2) stop.abort(new Error('enough'))
    },
    signal: stop.signal,
  })
  await expect(training).rejects.toThrow('enough')
  expect(told).toEqual([1, 2])
}, 60_000)

const madeScore = (given: Partial<Score>): Score =>
  ({ meanE2eMs: 1_000, p99E2eMs: 3_000, p99TtftMs: 500, lost: 0, calls: 100, ...given }) as Score
const references = { leastRequest: madeScore({}), roundRobin: madeScore({ meanE2eMs: 2_000 }) }

test('short of its goal a task costs in full, beyond it little more is won, and a tail within its limit is free', () => {
  const loss = (given: Partial<Score>) => lossOf(madeScore(given), references, { over: false, objective: OBJECTIVE, goal: 0.5 })
  expect(loss({ meanE2eMs: 1_100 })).toBeCloseTo(Math.log(1.1))
  expect(loss({ meanE2eMs: 900 })).toBeCloseTo(OBJECTIVE.beyondGoalWeight * Math.log(0.9))
  const limitMs = OBJECTIVE.ttftP99Ratio * 500
  expect(loss({ p99TtftMs: limitMs })).toBe(loss({ p99TtftMs: 100 }))
  expect(loss({ p99TtftMs: 2 * limitMs })).toBeGreaterThan(0.3)
})

test('kinds that come up twice do so a lap behind the others, and none in overload reads a trace', () => {
  const rotation = inRotation(FAMILIES)
  expect(rotation.slice(0, FAMILIES.length)).toEqual([...FAMILIES])
  expect(rotation.length).toBe(FAMILIES.reduce((sum, { times = 1 }) => sum + times, 0))
  for (const { family, over, mix } of FAMILIES) if (over) expect(MIXES[mix], family).toBeDefined()
})

test('a hold head drawn back moves in proportion, and nothing else of the model moves', () => {
  const parameters = drawParameters(11)
  const [half, whole] = [drawHoldBack(parameters, 0.5), drawHoldBack(parameters, 1)]
  const hold = (all: Float32Array) => [...blockOf(all, 'hold.conditions')]
  for (const [j, value] of hold(half).entries())
    expect(value).toBeCloseTo(((hold(parameters)[j] as number) + (hold(whole)[j] as number)) / 2, 5)
  expect([...blockOf(half, 'place.linear')]).toEqual([...blockOf(parameters, 'place.linear')])
  expect([...drawHoldBack(parameters, 0)]).toEqual([...parameters])
})

test('a model comes back from its folder bit for bit; one for other features, damaged or missing is refused', () => {
  const folder = mkdtempSync(join(tmpdir(), 'policy-'))
  const model = { version: 'policy-test', featureHash: LEARNED_FEATURE_HASH, parameters: drawParameters(2) }
  const card = createPolicyCard({ version: model.version, command: 'test', seed: 2, traces: [], objective: OBJECTIVE })
  writePolicyModel(folder, model, card)
  expect([...readPolicyModel(folder).parameters]).toEqual([...model.parameters])
  writeFileSync(join(folder, 'card.json'), JSON.stringify({ ...card, featureHash: '01234567' }))
  expect(() => readPolicyModel(folder)).toThrow('policy-test was made for features 01234567')
  writeFileSync(join(folder, 'card.json'), JSON.stringify(card))
  writeFileSync(join(folder, 'model.onnx'), readFileSync(join(folder, 'model.onnx')).subarray(0, 900))
  expect(() => readPolicyModel(folder)).toThrow('policy-test is damaged')
  writeFileSync(join(folder, 'card.json'), '{')
  expect(() => readPolicyModel(folder)).toThrow('is no card of a policy model')
  rmSync(folder, { recursive: true })
  expect(() => readPolicyModel(folder)).toThrow('cannot be read')
})

test('the policy that ships is for the features of this version', () => {
  expect(readPolicyModel(BASE_POLICY_FOLDER).parameters).toHaveLength(PARAMETER_COUNT)
})
