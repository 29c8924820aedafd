import { expect, test } from 'vitest'
import { ChangeWatch } from '../../plugin/outcome/change.ts'
import { createPolicy } from '../../plugin/placement/policies.ts'
import { createRng } from '../../plugin/rng.ts'
import { Simulation } from '../../plugin/simulation/fleet/simulation.ts'
import type { CallEnd } from '../../plugin/simulation/fleet/simulation-options.ts'
import { streamOf } from '../../plugin/simulation/fleet/twin-call.ts'
import { drawWide } from '../../plugin/simulation/scenario/mixes.ts'
import { generatedScenario, sameMachines } from '../../plugin/simulation/scenario/scenarios.ts'

const fleet = sameMachines('a100-7b', 4)

/** Calls of the changed instance from the change to its notice; undefined where nothing was noticed. Other instances' false notices are counted. */
function noticeOf(given: { readonly seed: number; readonly factor: number; readonly callsPerS: number; readonly whole?: true }) {
  const calls = generatedScenario({
    name: 'change',
    fleet,
    mix: drawWide,
    mixName: 'wide',
    callsPerS: given.callsPerS,
    calls: 12_000,
    arrivalCv: 2,
  }).calls({
    seed: given.seed,
  })
  const atMs = calls[6_000]!.atMs
  const watches = fleet.map(() => new ChangeWatch())
  const inFlight = new Map<number, number>()
  const policy = createPolicy('least-request')
  let after = 0
  let noticed: number | undefined
  let falseNotices = 0
  new Simulation({
    fleet,
    calls: streamOf(calls),
    policy: () => ({
      ...policy,
      distribute(candidates, call, out) {
        policy.distribute(candidates, call, out)
        inFlight.set(call.callId, Math.min(...candidates.instances.slice(0, candidates.count).map((one) => one.ledger.inFlight)))
      },
    }),
    policyName: 'least-request',
    rng: createRng(given.seed),
    script: given.factor === 1 ? [] : [{ atMs, instance: 'i2', what: 'slow', factor: given.factor }],
    onEnd: (end) => {
      if (end.ending !== 'completed') return
      const changed = end.instance === 2 && given.factor !== 1 && end.arrivedMs >= atMs
      if (changed) after++
      const change = watches[end.instance]!.add({
        tpotMs: given.whole ? (end.endedMs - end.placedMs) / Math.max(1, end.outputTokens) : ownPace(end),
        promptTokens: end.call.promptTokens,
        inFlight: inFlight.get(end.call.call.callId) ?? 0,
      })
      if (!change) return
      if (changed) noticed = after
      else falseNotices++
    },
  }).run()
  return { noticed, falseNotices }
}

const ownPace = ({ outputTokens, endedMs, firstTokenMs }: CallEnd): number =>
  outputTokens > 1 ? (endedMs - firstTokenMs) / (outputTokens - 1) : Number.NaN

test('a doubled time is noticed from whole answers too, and none where there is none', () => {
  expect(noticeOf({ seed: 1, factor: 2, callsPerS: 60, whole: true }).noticed).toBeLessThanOrEqual(500)
  for (const callsPerS of [30, 75]) expect(noticeOf({ seed: 2, factor: 1, callsPerS, whole: true }).falseNotices).toBe(0)
})

for (const factor of [2, 0.5, 1.5])
  test(`an instance whose steps take ${factor} times as long is noticed within 500 calls`, () => {
    for (const seed of [1, 2]) {
      const { noticed } = noticeOf({ seed, factor, callsPerS: 60 })
      expect(noticed).toBeDefined()
      expect(noticed).toBeLessThanOrEqual(500)
    }
  })

test('instances that stay as they are are not called changed, at light load and at heavy', () => {
  for (const seed of [1, 2, 3, 4])
    for (const callsPerS of [30, 60, 75]) expect(noticeOf({ seed, factor: 1, callsPerS }).falseNotices).toBe(0)
})
