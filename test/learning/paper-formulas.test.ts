import { expect, test } from 'vitest'
import { mixingReward, PAPER_MIXING } from '../../plugin/impact/mixing.ts'
import { PAPER_CONSTANTS, paperSettings } from '../../plugin/learning/paper-constants.ts'
import { annealing, greedyAction, heuristicOf, mixingOn, RewardMeter } from '../../plugin/learning/paper-reward.ts'
import { bucketOf, emptyReading, paperMixing, readInstance, stateWidth, writeState } from '../../plugin/learning/paper-state.ts'
import { profileNamed } from '../../plugin/simulation/profiles.ts'
import { sketchInstance } from '../fakes/instances.ts'

const settings = paperSettings()
const shape = profileNamed('v100-paper')
const mixing = paperMixing(shape, settings)

test('every constant says where it comes from', () => {
  for (const [name, { source, why }] of Object.entries(PAPER_CONSTANTS)) {
    expect(['paper', 'reconstructed', 'chosen'], name).toContain(source)
    expect(why.length, name).toBeGreaterThan(3)
  }
})

test('the state has 3 + 6m numbers, 27 for four instances', () => {
  expect(stateWidth(4)).toBe(27)
  expect(stateWidth(8)).toBe(51)
})

test('predicted output falls into the three buckets of the paper, and an unknown one into the first', () => {
  expect([1, 255, 256, 2047, 2048, 9000, Number.NaN].map((tokens) => bucketOf(tokens, settings))).toEqual([0, 0, 1, 1, 2, 2, 0])
})

const busy = sketchInstance(
  {
    open: [
      // Waits with a light prompt; prefills a heavy one (0.32 ms a token, so 1,563 tokens are 0.5 s); decodes a short answer, and a long one.
      { promptTokens: 100, predictedOutputTokens: 50, outputTokens: 0, firstTokenMs: Number.NaN },
      { promptTokens: 2000, predictedOutputTokens: 50, outputTokens: 0, firstTokenMs: Number.NaN },
      { promptTokens: 300, predictedOutputTokens: 100, outputTokens: 60, firstTokenMs: 5 },
      { promptTokens: 40, predictedOutputTokens: 400, outputTokens: 100, firstTokenMs: 5 },
    ],
  },
  0,
)

test('an instance is read as its calls by phase and size, its memory and its next completion', () => {
  const reading = emptyReading()
  readInstance(busy, { shape, mixing, settings }, reading)
  expect(reading).toMatchObject({ lightPrompts: 1, heavyPrompts: 1, shortDecodes: 1, longDecodes: 1, runningCalls: 4 })
  expect(reading.runningTokens).toBe(100 + 128 + 2000 + 128 + 300 + 128 + 40 + 512)
  const held = 100 + 2000 + 360 + 140
  expect(reading.capacityRatio).toBeCloseTo(1 - held / 8192, 12)
  // 68 tokens are left of the bucket's 128, at 33 ms and 5e-4 ms per token held.
  expect(reading.earliestS).toBeCloseTo((68 * (33 + 5e-4 * held)) / 1000, 9)
  expect(reading.unfinished).toBeCloseTo(1 + 1 + 0.4 + 0.75, 12)
})

test('a reading is written anew: what an instance was before leaves no trace', () => {
  const reading = emptyReading()
  readInstance(busy, { shape, mixing, settings }, reading)
  readInstance(sketchInstance({}, 0), { shape, mixing, settings }, reading)
  expect(reading).toEqual(emptyReading())
})

test('the state stands in its order: queue, prompt, bucket, then six numbers for each instance', () => {
  const readings = [emptyReading(), { ...emptyReading(), lightPrompts: 16, shortDecodes: 48, capacityRatio: 0.165, earliestS: 5 }]
  const out = new Float32Array(stateWidth(2))
  writeState({ queued: 256, promptTokens: 1563, bucket: 1, promptSecondsPerToken: mixing.promptSecondsPerToken, readings, settings }, out)
  expect(out[0]).toBe(0.5)
  expect(out[2]).toBe(0.5)
  expect([...out.subarray(3, 9)]).toEqual([0, 0, 0, 0, 1, 0])
  expect([...out.subarray(9)].map((one) => Number(one.toFixed(4)))).toEqual([0.5, 0, 0.75, 0, 0.5, 0.5])
  writeState({ queued: 9999, promptTokens: 1, bucket: 0, promptSecondsPerToken: mixing.promptSecondsPerToken, readings, settings }, out)
  expect(out[0]).toBe(1)
})

test('the true output length does not reach the state: another one with the same prediction gives the same reading', () => {
  const of = (predicted: number) => {
    const reading = emptyReading()
    readInstance(
      sketchInstance({ open: [{ promptTokens: 10, predictedOutputTokens: predicted, outputTokens: 0, firstTokenMs: 1 }] }, 0),
      { shape, mixing, settings },
      reading,
    )
    // `unfinished` is the reward's alone.
    return { ...reading, unfinished: 0 }
  }
  expect(of(10)).toEqual(of(255))
  expect(of(10)).not.toEqual(of(256))
})

test('r_mixing is the estimator of the impact room, and −1 where no memory is left', () => {
  const out = new Float64Array(3)
  const call = { promptTokens: 100, outputTokens: 128 }
  const free = { runningCalls: 10, runningTokens: 2000, capacityRatio: 0.5 }
  const full = { ...free, capacityRatio: 0.1 }
  const idle = { runningCalls: 0, runningTokens: 0, capacityRatio: 0.1 }
  mixingOn(call, [free, full, idle], { parameters: [PAPER_MIXING, PAPER_MIXING, PAPER_MIXING], settings, out })
  expect(out[0]).toBe(mixingReward({ ...call, runningCalls: 10, runningTokens: 2000 }, PAPER_MIXING))
  expect(out[1]).toBe(-1)
  expect(out[2]).toBeGreaterThan(0)
})

test('h is 0 for the best action and the shortfall for every other; deferring is best where nobody has room', () => {
  const open = Float64Array.from([0.4, 0.1, -1])
  expect([0, 1, 2].map((action) => heuristicOf(action, open, settings))).toEqual([0, 0.1 - 0.4, -1.4])
  expect(heuristicOf(3, open, settings)).toBeCloseTo(-0.25 - 0.4, 12)
  expect(greedyAction(open, settings)).toBe(0)
  const full = Float64Array.from([-1, -1, -1])
  expect(heuristicOf(3, full, settings)).toBe(0)
  expect(heuristicOf(1, full, settings)).toBe(-0.75)
  expect(greedyAction(full, settings)).toBe(3)
})

test('HuRL anneals: guided starts with the heuristic alone and no future, and ends as baseline', () => {
  const gamma = settings.gamma
  expect(annealing('guided', 0, settings)).toEqual({ discount: 0, weight: gamma })
  for (const k of [1, 4, 9]) {
    const { discount, weight } = annealing('guided', k, settings)
    expect(discount).toBeCloseTo((1 - Math.exp(-0.5 * k)) * gamma, 12)
    expect(discount + weight).toBeCloseTo(gamma, 12)
  }
  expect(annealing('guided', 60, settings).weight).toBeLessThan(1e-12)
  expect(annealing('baseline', 3, settings)).toEqual({ discount: gamma, weight: 0 })
  expect(annealing('aware', 0, settings)).toEqual(annealing('aware', 50, settings))
})

test('the reward counts completions up and unfinished calls down, each discounted from the decision on', () => {
  const plain = paperSettings({ gamma: 0.9, rewardScale: 1, queueWeightPerS: 2 })
  const meter = new RewardMeter(plain)
  meter.start(1000, 10)
  // One tick, ten calls unfinished, then one of them completed: −2 · 10 · 0.02 s + 60, a tick later.
  meter.advance(1020, { unfinished: 10, completions: 1 })
  expect(meter.reward).toBeCloseTo(0.9 * (60 - 0.4), 12)
  // Two more ticks during which the unfinished part falls from ten to six: 8 on average.
  meter.advance(1060, { unfinished: 6, completions: 0 })
  expect(meter.reward).toBeCloseTo(0.9 * (60 - 0.4) - 0.9 ** 3 * 2 * 8 * 0.04, 12)
  meter.start(2000, 0)
  expect(meter.reward).toBe(0)
})
