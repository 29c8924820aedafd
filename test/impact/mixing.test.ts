import { expect, test } from 'vitest'
import { capacityLeft, decodeImpact, mixingOf, mixingReward, PAPER_MIXING, promptImpact } from '../../plugin/impact/mixing.ts'
import { simpleLaw } from '../../plugin/impact/step.ts'

const call = { promptTokens: 500, outputTokens: 300, runningCalls: 10, runningTokens: 4_000 }

test('the estimator by hand, with the slopes of the paper', () => {
  // T = 3.2e-4·500 + 3.3e-5·4000 = 0.16 + 0.132 = 0.292 s; r_p = 1 − 0.292/0.5.
  expect(promptImpact(call, PAPER_MIXING)).toBeCloseTo(0.416, 9)
  // r_d = −3.3e-5·10·800
  expect(decodeImpact(call, PAPER_MIXING)).toBeCloseTo(-0.264, 9)
  expect(mixingReward(call, PAPER_MIXING)).toBeCloseTo(0.5 * 0.416 - 0.5 * 0.264, 9)
})

test('impact stays within its bounds: an empty instance 1 and 0, a hopeless one −1 and −1', () => {
  const none = { promptTokens: 0, outputTokens: 0, runningCalls: 0, runningTokens: 0 }
  expect([promptImpact(none, PAPER_MIXING), decodeImpact(none, PAPER_MIXING)]).toEqual([1, -0])
  const all = { promptTokens: 1e6, outputTokens: 1e6, runningCalls: 100, runningTokens: 1e6 }
  expect([promptImpact(all, PAPER_MIXING), decodeImpact(all, PAPER_MIXING)]).toEqual([-1, -1])
})

test('slopes of a profile: seconds per prompt token of a full budget, seconds per context token', () => {
  const law = simpleLaw({ t0: 33, a: 0.32, a2: 0, b: 0, c: 5e-4 })
  const mixing = mixingOf({ law, order: 'v0', kvBlocks: 512, seats: 256, budgetTokens: 4_096, admissionKvRatio: 0.99 })
  expect(mixing.promptSecondsPerToken).toBeCloseTo((33 + 0.32 * 4_096) / 4_096 / 1_000, 12)
  expect(mixing.contextSecondsPerToken).toBeCloseTo(5e-7, 15)
})

test('capacity is the share of the memory that predicted growth leaves free', () => {
  expect(capacityLeft({ runningTokens: 2_000 }, 8_000)).toBe(0.75)
  expect(capacityLeft({ runningTokens: 9_000 }, 8_000)).toBe(0)
})
