import { expect, test } from 'vitest'
import { basePolicy } from '../../plugin/learning/serving-models.ts'
import { createRng } from '../../plugin/rng.ts'
import { compareOnScenario, compareOnStored, type LabStep, type Played } from '../../plugin/simulation/lab.ts'
import type { ServedCall } from '../../plugin/simulation/log-replay/traffic.ts'
import { intervalOf, pairedGain } from '../../plugin/simulation/paired.ts'
import { SCENARIO_NAMES } from '../../plugin/simulation/scenario/names.ts'
import { generatedScenarios } from '../../plugin/simulation/scenario/scenarios.ts'

function playThrough(play: Generator<LabStep, Played>): { readonly result: Played; readonly steps: LabStep[] } {
  const steps: LabStep[] = []
  for (let next = play.next(); ; next = play.next()) {
    if (next.done) return { result: next.value, steps }
    steps.push(next.value)
  }
}

test('the scenarios offered by name are those there are', () => {
  expect(SCENARIO_NAMES).toEqual(generatedScenarios().map(({ name, label }) => ({ name, label })))
})

test('a scenario: a row per arm and load, the first compared with by the others, the same again from the same plan', () => {
  const plan = { name: 'v100x4@12', arms: ['round-robin', 'least-request', 'round-robin + fcfs'], loads: [0.5, 1], seeds: 2 }
  const { result, steps } = playThrough(compareOnScenario(plan))
  expect(result.rows.map(({ load, arm }) => [load, arm])).toEqual([0.5, 1].flatMap((load) => plan.arms.map((arm) => [load, arm])))
  expect(result.rows.map(({ gain }) => gain === undefined)).toEqual([true, false, false, true, false, false])
  expect(result.rows.every((row) => row.meanE2eMs > 0 && row.p99E2eMs >= row.p50E2eMs)).toBe(true)
  expect(steps.length).toBe(1 + 2 * 2 * 3)
  expect(steps.every(({ doneRatio }) => doneRatio >= 0 && doneRatio < 1)).toBe(true)
  expect(playThrough(compareOnScenario(plan)).result).toEqual(result)
  expect(() => playThrough(compareOnScenario({ ...plan, name: 'nowhere' }))).toThrow('there is no scenario nowhere')
})

test('stored calls: what was done is what was logged, and a policy that sends all to the slow one is found worse', () => {
  const rng = createRng(3)
  const calls = Array.from({ length: 600 }, (_, i): ServedCall => {
    const outputTokens = 20 + rng.int(60)
    return {
      arrivedUnixMs: 1_000_000 + i * 400,
      application: 'app',
      tenant: 'app',
      task: null,
      promptTokens: 200,
      maxTokens: null,
      instance: i % 2 === 0 ? 'a' : 'b',
      predictedOutputTokens: outputTokens,
      outcome: 'completed',
      ttftMs: 40,
      tpotMs: i % 2 === 0 ? 12 : 30,
      e2eMs: 40 + outputTokens * (i % 2 === 0 ? 12 : 30),
      outputTokens,
      prefixBlocks: [],
    }
  })
  const instances = [
    { name: 'a', speed: 2.5, kvTokens: Number.NaN },
    { name: 'b', speed: 1, kvTokens: Number.NaN },
  ]
  const given = {
    label: 'stored',
    calls,
    instances,
    countedFromUnixMs: 1_000_000 + 100 * 400,
    arms: ['as-logged', 'least-request-speed'],
    loads: [1, 2],
  }
  const { result } = playThrough(compareOnStored(given))
  expect([result.calls, result.samples, result.rows.length]).toEqual([500, 20, 4])
  const logged = calls.slice(100).reduce((sum, call) => sum + call.e2eMs, 0) / 500
  expect(Math.abs((result.rows[0]?.meanE2eMs ?? 0) / logged - 1)).toBeLessThan(0.1)
  expect(result.rows[1]?.gain?.low).toBeGreaterThan(0)
  const models = new Map([['learned@policy-0', basePolicy()]])
  const learned = playThrough(
    compareOnStored({ ...given, arms: ['as-logged', 'learned@policy-0', 'learned@policy-0 + off'], loads: [1], models }),
  )
  const [asLogged, ...played] = learned.result.rows
  expect(asLogged).toEqual(result.rows[0])
  expect(played.map(({ arm }) => arm)).toEqual(['learned@policy-0', 'learned@policy-0 + off'])
  for (const row of played) expect(row.meanE2eMs).toBeLessThan(asLogged?.meanE2eMs ?? 0)
})

test('paired gains: their interval holds the mean, lacking samples are left out, one sample gives none', () => {
  expect(intervalOf([4])).toEqual({ mean: 4, low: null, high: null })
  const gain = pairedGain([1, 2, Number.NaN, 3], [2, 4, 5, 6])
  expect(gain).toEqual({ mean: 0.5, low: 0.5, high: 0.5 })
  const { mean, low, high } = intervalOf([1, 2, 3, 4])
  expect([mean, (low ?? 0) < mean, (high ?? 0) > mean]).toEqual([2.5, true, true])
})
