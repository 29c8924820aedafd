import fc from 'fast-check'
import { expect, test } from 'vitest'
import { drawExploring } from '../../plugin/placement/draw.ts'
import {
  AT,
  CALL_AT,
  CALL_COLUMNS,
  CANDIDATE_COLUMNS,
  FEATURE_HASH,
  hashColumns,
  LOGGED_CANDIDATES_MAX,
} from '../../plugin/placement/features.ts'
import { createPolicy } from '../../plugin/placement/policies.ts'
import type { Policy } from '../../plugin/placement/policy.ts'
import { rankOthers, sampleLogged } from '../../plugin/placement/ranking.ts'
import { createRng } from '../../plugin/rng.ts'
import { sketchCall, sketchCandidates } from '../fakes/instances.ts'

test('the logged propensity is the observed frequency, exploration and ties included (I8; 4.5 sigma over 60,000 draws)', () => {
  for (const name of ['least-request', 'p2c', 'random', 'weighted']) {
    const rng = createRng(7)
    const { candidates, out, call } = sketchCandidates([
      { inFlight: 1, waiting: 0 },
      { inFlight: 1 },
      { inFlight: 4, waiting: 3 },
      { inFlight: 9 },
    ])
    const policy = createPolicy(name)
    const draws = 60_000
    const seen = [0, 0, 0, 0]
    const told = [Number.NaN, Number.NaN, Number.NaN, Number.NaN]
    for (let i = 0; i < draws; i++) {
      policy.distribute(candidates, call, out)
      const draw = drawExploring({ policy, out, count: 4, explorationRatio: 0.1, rng })
      seen[draw.index]!++
      told[draw.index] = draw.propensity
    }
    told.forEach((p, i) => {
      if (Number.isNaN(p)) expect(seen[i]).toBe(0)
      else
        expect(Math.abs(seen[i]! / draws - p), `${name}, seed ${rng.seed}, candidate ${i}`).toBeLessThan(
          4.5 * Math.sqrt((p * (1 - p)) / draws),
        )
    })
  }
})

test('a policy that gives no distribution is refused, not obeyed', () => {
  const broken: Policy = { name: 'broken', reason: 'lowest cost', distribute: (_c, _call, out) => void out.probabilities.fill(Number.NaN) }
  const { candidates, out, call } = sketchCandidates([{}, {}])
  broken.distribute(candidates, call, out)
  expect(() => drawExploring({ policy: broken, out, count: 2, explorationRatio: 0, rng: createRng(1) })).toThrow(
    'broken gave probability NaN',
  )
})

test('an explored choice says so, and one candidate needs no draw', () => {
  const { candidates, out, call } = sketchCandidates([{ inFlight: 0 }, { inFlight: 5 }])
  const policy = createPolicy('least-request')
  policy.distribute(candidates, call, out)
  expect(drawExploring({ policy, out, count: 2, explorationRatio: 1, rng: createRng(3) })).toMatchObject({
    explored: true,
    reason: 'explored',
    propensity: 0.5,
  })
  policy.distribute(candidates, call, out)
  expect(drawExploring({ policy, out, count: 1, explorationRatio: 1, rng: createRng(3) })).toMatchObject({
    index: 0,
    reason: 'only candidate',
  })
})

test('fallbacks go from least to most cost, the chosen left out', () => {
  const { candidates, out, call } = sketchCandidates([{ inFlight: 4 }, { inFlight: 1 }, { inFlight: 3 }, { inFlight: 2 }])
  createPolicy('least-request').distribute(candidates, call, out)
  expect(rankOthers({ candidates, out, chosen: 1, most: 2 })).toEqual([3, 2])
  createPolicy('round-robin').distribute(candidates, call, out)
  expect(rankOthers({ candidates, out, chosen: 0, most: 3 })).toEqual([1, 3, 2])
})

test('the log keeps all candidates up to its limit, else chosen, runner-up and a sample without repeats', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 600 }), fc.nat(), fc.nat(), fc.nat(), (count, a, b, offset) => {
      const chosen = a % count
      const runnerUp = count === 1 ? undefined : (chosen + 1 + (b % (count - 1))) % count
      const logged = sampleLogged(count, chosen, runnerUp, offset)
      expect(logged.length).toBe(Math.min(count, LOGGED_CANDIDATES_MAX))
      expect(new Set(logged).size).toBe(logged.length)
      expect(logged.every((i) => i >= 0 && i < count)).toBe(true)
      expect(logged[0]).toBe(chosen)
      if (runnerUp !== undefined) expect(logged[1]).toBe(runnerUp)
    }),
  )
})

test('each column holds what its name says: rows are written in the order of the column list', () => {
  const call = sketchCall({
    promptBytes: 101,
    stream: true,
    prefixBlocks: new BigUint64Array(4),
    caller: { application: 'a', tenant: 'a', priority: 3 },
    request: {
      answers: 2,
      stops: 5,
      tools: 6,
      turns: 7,
      responseFormat: 'json',
      wantsStreamUsage: false,
      systemHash: 0,
      maxTokens: 77,
      temperature: 0.5,
    },
  })
  const sketch = {
    inFlight: 11,
    prefillTokensPending: 12,
    promptTokens: 13,
    speed: 2,
    weight: 3,
    waiting: 14,
    kv: 0.25,
    adapters: ['x'],
    outputTokensDone: 7,
    awaitingFirstToken: 4,
    waitingMost: 9,
    kvTokensUnseen: 30,
    kvBlocks: 8,
  }
  const { candidates } = sketchCandidates([sketch], {
    call,
    facts: {
      promptTokens: 99,
      predictedOutputTokens: 55,
      outputSpan: { p50Tokens: 40, p90Tokens: 120, spreadLn: 0.75 },
      adapter: 'x',
      heldMs: 250,
    },
    matchedBlocks: [1],
  })
  const callValues = {
    promptTokens: 99,
    promptBytes: 101,
    maxTokens: 77,
    stream: 1,
    answers: 2,
    turns: 7,
    tools: 6,
    stops: 5,
    temperature: 0.5,
    jsonDemanded: 1,
    priority: 3,
    prefixBlocks: 4,
    predictedOutputTokens: 55,
    poolCandidates: 1,
    poolInFlight: 11,
    heldMs: 250,
    predictedOutputP50: 40,
    predictedOutputP90: 120,
    predictedOutputSpread: 0.75,
  }
  for (const [name, value] of Object.entries(callValues))
    expect(candidates.callRow[CALL_AT[name as keyof typeof CALL_AT]], name).toBe(value)
  const own = {
    inFlight: 11,
    prefillTokensPending: 12,
    promptTokensInFlight: 13,
    outputTokensLeft: 0,
    outputTokensDone: 7,
    speed: 2,
    weight: 3,
    slowStart: 1,
    scrapeAge: 10,
    waiting: 14,
    running: Number.NaN,
    kvUsage: 0.25,
    foreignInFlight: Number.NaN,
    prefixMatch: 0.25,
    adapterLoaded: 1,
    awaitingFirstToken: 4,
    waitingBelieved: 4,
    kvTokensBelieved: 50,
    kvTokensCapacity: 128,
  }
  for (const [name, value] of Object.entries(own)) expect(candidates.rows[AT[name as keyof typeof AT]], name).toBe(value)
  expect(Object.keys(callValues).length + Object.keys(own).length).toBe(CALL_COLUMNS.length + CANDIDATE_COLUMNS.length)
})

test('the hash names the list: another order is another hash', () => {
  expect(hashColumns(CALL_COLUMNS, CANDIDATE_COLUMNS)).toBe(FEATURE_HASH)
  expect(hashColumns(CALL_COLUMNS.toReversed(), CANDIDATE_COLUMNS)).not.toBe(FEATURE_HASH)
})
