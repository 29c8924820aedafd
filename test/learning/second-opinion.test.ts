import { expect, test } from 'vitest'
import type { LoggedChoice } from '../../plugin/learning/off-policy.ts'
import { secondOpinion } from '../../plugin/learning/second-opinion.ts'
import { basePolicy } from '../../plugin/learning/serving-models.ts'
import { AT, CALL_COLUMNS, CANDIDATE_COLUMNS } from '../../plugin/placement/features.ts'
import { createRng } from '../../plugin/rng.ts'

/** Decisions between two equal instances, by chance; each call in flight beside it costs a quarter more. */
function choices(count: number, propensity: number, everyMs = 1_000): LoggedChoice[] {
  const rng = createRng(9)
  return Array.from({ length: count }, (_, i) => {
    const inFlight = [rng.int(8), rng.int(8)]
    const rows = new Float32Array(2 * CANDIDATE_COLUMNS.length)
    for (const [k, calls] of inFlight.entries()) {
      const at = k * CANDIDATE_COLUMNS.length
      rows[at + AT.inFlight] = calls
      rows[at + AT.speed] = 1
      rows[at + AT.kvTokensCapacity] = 40_000
    }
    return {
      arrivedUnixMs: 1e12 + everyMs * i,
      callRow: new Float32Array(CALL_COLUMNS.length),
      rows,
      names: ['a', 'b'],
      propensity,
      e2eMs: 500 * (1 + 0.25 * (inFlight[0] as number)) * Math.exp(0.1 * rng.normal()),
    }
  })
}

const given = { model: basePolicy(), fleet: [], rng: createRng(1) }

test('decisions by chance tell what a learned policy would have cost, with interval and weight', () => {
  const found = secondOpinion(choices(2_000, 0.5), given)
  expect(found.words).toMatch(/^second opinion: by 2000 logged decisions .* lower E2E per call \(95 % interval .* to .*\); it agrees with/)
  const [gain, low, high] = found.gain ?? [Number.NaN, Number.NaN, Number.NaN]
  expect([low < gain, gain < high, (found.effective ?? 0) > 500]).toEqual([true, true, true])
  expect(found).toMatchObject({ decisions: 2_000 })
})

test('decisions that all fell into one minute have an interval too', () => {
  const [gain, low, high] = secondOpinion(choices(2_000, 0.5, 20), given).gain ?? [Number.NaN, Number.NaN, Number.NaN]
  expect([low < gain, gain < high, high - low > 0.005]).toEqual([true, true, true])
})

test('where nothing was explored, or too little was logged, there is no opinion and that is said', () => {
  expect(secondOpinion(choices(2_000, 1), given)).toEqual({ words: expect.stringContaining('nothing was explored'), decisions: 2_000 })
  expect(secondOpinion(choices(100, 0.5), given).words).toBe('no second opinion: 100 logged decisions, at least 500 are needed')
})
