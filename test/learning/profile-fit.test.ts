import { expect, test } from 'vitest'
import { frameOf } from '../../plugin/learning/profile-law.ts'
import { costAt, spreadsAt } from '../../plugin/learning/profile-residuals.ts'
import { instanceLogs } from '../../plugin/learning/profile-rows.ts'
import { fitFromShipped } from '../../plugin/learning/profile-start.ts'
import { moved } from '../../plugin/learning/profile-step.ts'
import { createRng } from '../../plugin/rng.ts'
import { profileNamed } from '../../plugin/simulation/profiles.ts'
import { drawWide } from '../../plugin/simulation/scenario/mixes.ts'
import { hideProfile, logDay, NETWORK_MS, swingingCalls } from '../bench/trust/hidden.ts'

test('a coefficient that would fall below 0 stands at 0, and the others are solved for again', () => {
  // Free, both would step by a half, the second one from 0 to below it; with the second one held, the first has 2a = 1.5 left to solve.
  const normal = Float64Array.from([2, 1, 1, 1])
  const step = moved(Float64Array.from([5, 0]), { normal, gradient: Float64Array.from([1.5, 1]) }, 0)
  expect(step[1]).toBe(0)
  expect(step[0]).toBeCloseTo(5 - 0.75, 6)
})

test.each([
  ['h100-llama-2-7b', 1],
  ['v100-32g', 2],
])(
  'the search does not end long before the law that wrote the log: %s',
  (name, seed) => {
    const rng = createRng(seed).stream(name)
    const hidden = hideProfile(profileNamed(name), rng)
    const fleet = [{ name: 'a', profile: hidden }]
    const day = logDay(fleet, { calls: swingingCalls(fleet, { calls: 2_000, mix: drawWide, rng }), rng })
    const logs = [instanceLogs(day.rows).get('a')!]
    const limits = { kvBlocks: hidden.kvBlocks, kvFrom: 'told', seats: hidden.seats, seatsFrom: 'scrapes' } as const
    const fit = fitFromShipped(logs, limits)
    const usual = { decoding: 1, contextTokens: 1, promptTokens: 1, promptSquares: 1 }
    const { frame, start } = frameOf(hidden, { factor: 1, usual, dense: 'as it is' })
    start[8] = (2 * NETWORK_MS) / frame.scale[8]!
    expect(fit.frame.base.order).toBe(hidden.order)
    const spreads = spreadsAt(frame, start, logs)
    expect(costAt(fit.frame, fit.point, logs, spreads) / costAt(frame, start, logs, spreads)).toBeLessThan(5)
  },
  120_000,
)
