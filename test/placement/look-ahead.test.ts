import { expect, test } from 'vitest'
import type { EngineShape } from '../../plugin/impact/engine-shape.ts'
import { PAPER_MIXING } from '../../plugin/impact/mixing.ts'
import { simpleLaw } from '../../plugin/impact/step.ts'
import { createPaperGreedy } from '../../plugin/placement/paper-greedy.ts'
import { createPolicy, createTwinPolicy, isOracle, POLICY_NAMES, UNSELECTABLE_POLICIES } from '../../plugin/placement/policies.ts'
import { sketchCandidates } from '../fakes/instances.ts'

const law = simpleLaw({ t0: 10, a: 0.1, a2: 0, b: 0, c: 0 })
const shape: EngineShape = { law, order: 'v0', kvBlocks: 1e6, seats: 256, budgetTokens: 4_096, admissionKvRatio: 1 }
const facts = { promptTokens: 1_000, predictedOutputTokens: 11 }
const decoding = { firstTokenMs: 0, outputTokens: 1, predictedOutputTokens: 101 }
const waiting = { promptTokens: 2_000, predictedOutputTokens: 1 }

test('predicted-latency takes the earliest own end, impact the least added to everybody', () => {
  const sketches = [
    // Four calls decode: the own prefill of 110 ms stops each of them for as long.
    { inFlight: 4, open: [decoding, decoding, decoding, decoding] },
    // One prompt waits: it shares the own prefill step, 10 + 0.1·3000, and ends 100 ms later than alone.
    { inFlight: 1, open: [waiting] },
  ]
  const made = sketchCandidates(sketches, { facts })
  const costs = (name: string): number[] => {
    createPolicy(name, { profileOf: () => shape }).distribute(made.candidates, made.call, made.out)
    return [...made.out.costs.subarray(0, 2)]
  }
  expect(costs('predicted-latency')[0]).toBeCloseTo(110 + 10 * 10, 6)
  expect(costs('predicted-latency')[1]).toBeCloseTo(310 + 10 * 10, 6)
  expect(costs('impact')[0]).toBeCloseTo(210 + 4 * 110, 6)
  expect(costs('impact')[1]).toBeCloseTo(410 + 100, 6)
})

test('a prompt that an instance holds already costs little there', () => {
  const { candidates, out, call } = sketchCandidates([{}, {}], { facts })
  candidates.rows.set([0.9], 13)
  createPolicy('impact', { profileOf: () => shape }).distribute(candidates, call, out)
  expect(out.costs[0]).toBeCloseTo(20 + 100, 3)
  expect(out.costs[1]).toBeCloseTo(110 + 100, 3)
})

test('paper-greedy takes the highest r_mixing', () => {
  const sketches = [
    { inFlight: 10, promptTokens: 3_000, outputTokensLeft: 1_000 },
    { inFlight: 2, promptTokens: 5_000, outputTokensDone: 500 },
  ]
  const { candidates, out, call } = sketchCandidates(sketches, { facts: { promptTokens: 500, predictedOutputTokens: 300 } })
  createPaperGreedy({ shapeOf: () => shape, parameters: PAPER_MIXING }).distribute(candidates, call, out)
  // r_p = 1 − (0.16 + 0.132)/0.5 = 0.416, r_d = −0.264; and r_p = 1 − (0.16 + 0.1815)/0.5 = 0.317, r_d = −0.0528.
  expect(out.costs[0]).toBeCloseTo(-(0.416 - 0.264) / 2, 6)
  expect(out.costs[1]).toBeCloseTo(-(0.317 - 0.0528) / 2, 6)
  expect(out.probabilities[1]).toBe(1)
})

test('an oracle is the same rule with another name, in a twin only; what cannot be selected says why', () => {
  expect(createTwinPolicy('oracle-impact').name).toBe('oracle-impact')
  expect(() => createPolicy('oracle-impact')).toThrow('only a twin knows')
  expect(() => createPolicy('paper-guided')).toThrow('trained for one fleet')
  for (const name of UNSELECTABLE_POLICIES.keys()) expect(POLICY_NAMES).not.toContain(name)
  expect(POLICY_NAMES.some(isOracle)).toBe(false)
  for (const name of POLICY_NAMES) expect(createPolicy(name).name).toBe(name)
})
