import { expect, test } from 'vitest'
import { blocksNeeded, estimateSwitchback, gatherBlocks, type SwitchbackBlock } from '../../plugin/learning/switchback.ts'
import { armOf, assertPlan, guardedArmOf, momentOf, suggestBlocks } from '../../plugin/placement/switchback.ts'
import { createRng, type Rng } from '../../plugin/rng.ts'

const PLAN = { seed: 4, startUnixMs: 1_000_000, blockMs: 60_000, washoutMs: 10_000, shareRatio: 0.1 }

test('one block in ten is the challenger’s, drawn by lot, the same in every process', () => {
  const arms = Array.from({ length: 1000 }, (_, block) => armOf(PLAN, block))
  expect(arms.filter((arm) => arm === 'challenger')).toHaveLength(100)
  for (let group = 0; group < 100; group++)
    expect(arms.slice(group * 10, group * 10 + 10).filter((arm) => arm === 'challenger')).toHaveLength(1)
  expect(new Set(arms.flatMap((arm, i) => (arm === 'challenger' ? [i % 10] : []))).size).toBe(10)
  expect(Array.from({ length: 1000 }, (_, block) => armOf(PLAN, block))).toEqual(arms)
})

test('a moment falls in its block, and its beginning belongs to nobody', () => {
  expect(momentOf(PLAN, 999_999).arm).toBe('control')
  expect(momentOf(PLAN, 1_000_000 + 3 * 60_000 + 9_999)).toEqual({ block: 3, arm: armOf(PLAN, 3), isWashout: true })
  expect(momentOf(PLAN, 1_000_000 + 3 * 60_000 + 10_000).isWashout).toBe(false)
  const block = Array.from({ length: 50 }, (_, i) => i).find((i) => armOf(PLAN, i) === 'challenger' && armOf(PLAN, i + 1) === 'control')!
  const atMs = PLAN.startUnixMs + (block + 1) * PLAN.blockMs
  expect(guardedArmOf(PLAN, atMs)).toBe('washout')
  expect(guardedArmOf(PLAN, atMs + PLAN.washoutMs)).toBe('control')
  expect(guardedArmOf(PLAN, atMs - PLAN.blockMs)).toBe('challenger')
})

test('a plan that cannot be followed is refused with its value', () => {
  expect(() => assertPlan({ ...PLAN, shareRatio: 0.7 })).toThrow('0.7')
  expect(() => assertPlan({ ...PLAN, washoutMs: 60_000 })).toThrow('60000')
  assertPlan({ ...PLAN, ...suggestBlocks({ e2eMsP90: 21_000 }) })
})

/** Blocks whose mean E2E follows load and chance, and the arm by `gain`. */
function blocksOf(rng: Rng, given: { readonly count: number; readonly gain: number; readonly shareRatio: number }): SwitchbackBlock[] {
  return Array.from({ length: given.count }, (_, block) => {
    const arm = armOf({ seed: rng.seed, shareRatio: given.shareRatio }, block)
    const load = Math.exp(0.4 * rng.normal())
    const mean = 2000 * load ** 1.5 * Math.exp(0.15 * rng.normal()) * (arm === 'challenger' ? 1 - given.gain : 1)
    return { block, arm, calls: 200 + rng.int(200), mean, offeredPerS: 100 * load }
  })
}

test('the interval covers the true gain about 95 times of 100, and its middle is unbiased', () => {
  let covered = 0
  let sum = 0
  const runs = 400
  for (let seed = 1; seed <= runs; seed++) {
    const found = estimateSwitchback(blocksOf(createRng(seed), { count: 100, gain: 0.1, shareRatio: 0.2 }))
    if (found.low <= 0.1 && 0.1 <= found.high) covered++
    sum += found.gain
  }
  // 95 % ± 3 σ of a binomial of 400; the middle to a tenth of its own spread.
  expect(covered / runs).toBeGreaterThan(0.915)
  expect(covered / runs).toBeLessThan(0.985)
  expect(sum / runs).toBeGreaterThan(0.09)
  expect(sum / runs).toBeLessThan(0.11)
})

test('as many blocks as were said to be needed show the gain in about four of five experiments', () => {
  const pilot = blocksOf(createRng(99), { count: 200, gain: 0, shareRatio: 0.2 })
  const needed = blocksNeeded(pilot, { gain: 0.1, shareRatio: 0.2 })
  let shown = 0
  for (let seed = 1; seed <= 200; seed++) {
    const found = estimateSwitchback(blocksOf(createRng(seed), { count: needed.blocks, gain: 0.1, shareRatio: 0.2 }))
    if (found.low > 0) shown++
  }
  expect(shown / 200).toBeGreaterThan(0.65)
  expect(shown / 200).toBeLessThan(0.95)
  expect(blocksNeeded(pilot, { gain: 0, shareRatio: 0.2 }).blocks).toBe(Number.POSITIVE_INFINITY)
})

test('too few blocks are refused in words', () => {
  const blocks = blocksOf(createRng(1), { count: 10, gain: 0, shareRatio: 0.1 })
  expect(() => estimateSwitchback(blocks)).toThrow('1 challenger and 9 control blocks')
})

test('calls are summed by block, wash-outs and calls without an end only as load', () => {
  const at = (unixMs: number) => momentOf(PLAN, unixMs)
  const call = (intoMs: number, figure: number) => ({ arrivedUnixMs: PLAN.startUnixMs + intoMs, figure, workTokens: 50 })
  const blocks = gatherBlocks([call(-1, 9), call(5_000, 100), call(20_000, 200), call(30_000, 400), call(40_000, Number.NaN)], {
    at,
    judgedMs: 50_000,
  })
  expect(blocks).toEqual([{ block: 0, arm: armOf(PLAN, 0), calls: 2, mean: 300, offeredPerS: 4 }])
})
