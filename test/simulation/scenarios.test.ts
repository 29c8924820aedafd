import { existsSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { createRng } from '../../plugin/rng.ts'
import { revealOutput } from '../../plugin/simulation/fleet/truth.ts'
import type { TwinCall } from '../../plugin/simulation/fleet/twin-call.ts'
import { AGENT_PLAN, generateAgents } from '../../plugin/simulation/scenario/agents.ts'
import { parseArm, playArm } from '../../plugin/simulation/scenario/arm.ts'
import { gammaGaps, poissonGaps, weibullGaps } from '../../plugin/simulation/scenario/arrivals.ts'
import { drawPaper, drawWide, mixtureOf } from '../../plugin/simulation/scenario/mixes.ts'
import { sampleScenarios } from '../../plugin/simulation/scenario/samples.ts'
import { generatedScenarios } from '../../plugin/simulation/scenario/scenarios.ts'
import { drawServeGen, readServeGen } from '../../plugin/simulation/scenario/servegen.ts'
import { halfOf, resampleBlocks } from '../../plugin/simulation/scenario/trace-calls.ts'
import { loadTraceScenarios } from '../../plugin/simulation/scenario/trace-scenarios.ts'

const DATA = new URL('../../../shared/data/', import.meta.url).pathname

const outputOf = (call: TwinCall): number => revealOutput(call.outputTokens, 'engine')
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
const deviation = (values: readonly number[]): number => {
  const center = mean(values)
  return Math.sqrt(mean(values.map((value) => (value - center) ** 2)))
}

describe('generated workloads', () => {
  test.each([
    ['Poisson', 1, (seed: number) => poissonGaps(20, createRng(seed))],
    ['gamma, CV 0.5', 0.5, (seed: number) => gammaGaps({ callsPerS: 20, cv: 0.5 }, createRng(seed))],
    ['gamma, CV 5', 5, (seed: number) => gammaGaps({ callsPerS: 20, cv: 5 }, createRng(seed))],
    ['gamma, CV 13', 13, (seed: number) => gammaGaps({ callsPerS: 20, cv: 13 }, createRng(seed))],
    ['Weibull, shape 0.7', 1.462, (seed: number) => weibullGaps({ callsPerS: 20, shape: 0.7 }, createRng(seed))],
  ])('arrivals have their rate and their burstiness: %s', (_, cv, make) => {
    const count = 400_000
    const gap = make(7)
    const gaps = Array.from({ length: count }, gap)
    // Four standard errors of a mean of independent gaps.
    expect(Math.abs(mean(gaps) / 50 - 1)).toBeLessThan((4 * cv) / Math.sqrt(count))
    expect(deviation(gaps) / mean(gaps) / cv).toBeCloseTo(1, cv > 3 ? 0 : 1)
  })

  test('the mixes have the stated means, four standard errors wide', () => {
    const expected = { paper: [(29 + 30 + 212 + 125 + 26) / 5, (62 + 334 + 143 + 220 + 64) / 5], wide: [296, 101.2] } as const
    for (const [name, mix] of [
      ['paper', drawPaper],
      ['wide', drawWide],
    ] as const) {
      const rng = createRng(5)
      const drawn = Array.from({ length: 60_000 }, () => mix(rng))
      for (const [i, of] of (['promptTokens', 'outputTokens'] as const).entries()) {
        const values = drawn.map((call) => call[of])
        expect(Math.abs(mean(values) - expected[name][i]!)).toBeLessThan((4 * deviation(values)) / Math.sqrt(values.length) + 1)
      }
    }
  })

  test('a mixture gives each application its share and its own lengths', () => {
    const mix = mixtureOf([
      { application: 'a', weight: 3, mix: () => ({ task: 'qna', application: 'x', promptTokens: 1, outputTokens: 1 }) },
      { application: 'b', weight: 1, mix: () => ({ task: 'qna', application: 'x', promptTokens: 2, outputTokens: 2 }) },
    ])
    const rng = createRng(1)
    const drawn = Array.from({ length: 10_000 }, () => mix(rng))
    const ofB = drawn.filter((call) => call.application === 'b')
    expect(ofB.every((call) => call.promptTokens === 2)).toBe(true)
    expect(Math.abs(ofB.length / drawn.length - 0.25)).toBeLessThan(4 * Math.sqrt((0.25 * 0.75) / 10_000))
  })

  test('an agent sends its history again: each prompt begins with the one before and its answer', () => {
    const calls = generateAgents({ ...AGENT_PLAN, sessionsPerS: 1, sessions: 20, sigma: 0.5, rng: createRng(2) })
    expect(calls.length).toBeGreaterThan(60)
    expect(calls.every((call, i) => i === 0 || call.atMs >= calls[i - 1]!.atMs)).toBe(true)
    const sharedBlocks = Math.floor(AGENT_PLAN.systemTokens / 16)
    const bySession = Map.groupBy(calls, (call) => call.blockHashes[sharedBlocks + 1])
    expect(bySession.size).toBe(20)
    for (const steps of bySession.values())
      steps.forEach((step, i) => {
        const before = steps[i - 1]
        if (!before) return
        expect(step.promptTokens).toBeGreaterThan(before.promptTokens)
        expect(Array.from(step.blockHashes).slice(0, before.blockHashes.length - 1)).toEqual(Array.from(before.blockHashes).slice(0, -1))
      })
  })
})

describe('scenarios', () => {
  const scenarios = generatedScenarios()

  test('stand under their names, with their rates', () => {
    const names = scenarios.map((scenario) => scenario.name)
    for (const name of [
      'paper-v100x4@11',
      'paper-v100x4@14',
      'paper-v100x4@20',
      'paper-v100x8@40',
      'v100x4@12',
      'v100x4@40',
      'v100x8@40',
      'a100x4@110',
      'mixed@60',
      'bursty',
      'failures',
    ])
      expect(names).toContain(name)
    for (const { name, callsPerS, fleet } of scenarios) {
      const [, count, rate] = /x(\d+)@(\d+)/.exec(name) ?? []
      if (!count) continue
      expect([fleet.length, callsPerS]).toEqual([Number(count), Number(rate)])
    }
    expect(sampleScenarios().map((scenario) => scenario.name)).toContain('agents')
  })

  test('a seed gives the same calls; another σ changes predictions alone; another rate changes times alone', () => {
    const [scenario] = scenarios
    const sketch = (calls: readonly TwinCall[]) => calls.map((call) => [call.atMs, call.promptTokens, outputOf(call), call.predictedTokens])
    const base = scenario!.calls({ seed: 4 })
    expect(sketch(scenario!.calls({ seed: 4 }))).toEqual(sketch(base))
    expect(sketch(scenario!.calls({ seed: 5 }))).not.toEqual(sketch(base))
    const sure = scenario!.calls({ seed: 4, sigma: 0 })
    expect(
      sure.every(
        (call, i) => call.predictedTokens === outputOf(call) && call.atMs === base[i]!.atMs && outputOf(call) === outputOf(base[i]!),
      ),
    ).toBe(true)
    const fast = scenario!.calls({ seed: 4, rateFactor: 2 })
    expect(
      fast.every((call, i) => Math.abs(call.atMs * 2 - base[i]!.atMs) < 1e-6 && call.predictedTokens === base[i]!.predictedTokens),
    ).toBe(true)
  })

  test('predictions err log-normally by σ', () => {
    const calls = scenarios[0]!.calls({ seed: 1 }).filter((call) => outputOf(call) > 50)
    const errors = calls.map((call) => Math.log(call.predictedTokens / outputOf(call)))
    expect(Math.abs(mean(errors))).toBeLessThan((4 * 0.5) / Math.sqrt(errors.length))
    expect(deviation(errors)).toBeCloseTo(0.5, 1)
  })

  test('an arm on a scenario gives the same score each time, and holding gains in the overload that it is made for', () => {
    const scenario = scenarios.find((one) => one.name === 'paper-v100x4@20')!
    const calls = scenario.calls({ seed: 1 })
    const score = (arm: string) => playArm(parseArm(arm), { scenario, calls, seed: 1 })
    const [turn, least, held] = ['round-robin', 'least-kv', 'least-kv + kv-time'].map(score)
    expect(score('least-kv')).toEqual(least)
    expect(least!.meanE2eMs).toBeLessThan(turn!.meanE2eMs)
    expect(held!.meanE2eMs).toBeLessThan(0.6 * turn!.meanE2eMs)
    expect(turn!.preemptions).toBeGreaterThan(1000)
  })

  test('resampling keeps whole minutes and their calls; halves do not overlap', () => {
    const trace = Array.from({ length: 601 }, (_, i) => ({ atMs: i * 1000, promptTokens: i + 1, outputTokens: 1 }))
    const resampled = resampleBlocks(trace, createRng(3))
    expect(resampled).toHaveLength(600)
    expect(resampled.every((call, i) => call.atMs === i * 1000 && (call.promptTokens - 1) % 60 === i % 60)).toBe(true)
    const halves = (['first', 'second'] as const).map((half) => halfOf(trace, half))
    expect(halves.flat().map((call) => call.promptTokens)).toEqual(trace.map((call) => call.promptTokens))
    expect(halves[1]![0]!.atMs).toBeLessThan(1000)
  })
})

describe.skipIf(!existsSync(DATA))('recorded workloads (skipped where the data is absent)', () => {
  test('the trace scenarios load, and what lacks its file is named', async () => {
    const { scenarios, missing } = await loadTraceScenarios(DATA)
    expect(missing).toEqual([])
    const chat = scenarios.find((one) => one.name === 'azure-chat-over')!
    expect(chat.calls({ seed: 1 })).toHaveLength(6000)
    const elsewhere = await loadTraceScenarios('/nowhere')
    expect(elsewhere.scenarios).toEqual([])
    expect(elsewhere.missing.map((one) => one.name)).toContain('mooncake')
  })

  test("ServeGen's day rises and falls with the recorded rates", () => {
    const clients = readServeGen(`${DATA}servegen/data/language/m-small`)
    expect(clients).toHaveLength(11)
    const plan = { fromHour: 48, rateFactor: 1 / 200, speed: 1 }
    const calls = drawServeGen(clients, { ...plan, hours: 6, rng: createRng(1) })
    const expected = clients
      .flatMap((client) => client.windows)
      .filter((window) => window.startS >= 48 * 3600 && window.startS < 54 * 3600)
      .reduce((sum, window) => sum + (600 * window.callsPerS) / 200, 0)
    expect(calls.length / expected).toBeGreaterThan(0.8)
    expect(calls.length / expected).toBeLessThan(1.2)
  })
})
