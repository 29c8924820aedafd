import { expect, test } from 'vitest'
import { createPolicy } from '../../plugin/placement/policies.ts'
import { drawWide } from '../../plugin/simulation/scenario/mixes.ts'
import { generatedScenario, sameMachines } from '../../plugin/simulation/scenario/scenarios.ts'
import { badModel, playCanary, watch } from '../bench/trust/canary.ts'

const fleet = sameMachines('v100-32g', 4)
const control = () => createPolicy('least-request-speed')

/** 25 minutes at two thirds of what the fleet can do; the challenger's first block comes after the guard has learned. */
function runOf(seed: number) {
  const callsPerS = 18
  const calls = generatedScenario({ name: 'guard', fleet, mix: drawWide, mixName: 'wide', callsPerS, calls: callsPerS * 60 * 25 }).calls({
    seed,
  })
  const plan = { seed, startUnixMs: 780_000, blockMs: 60_000, washoutMs: 10_000, shareRatio: 0.1 }
  return { fleet, calls, control, challenger: control, plan, seed }
}

for (const kind of ['constant', 'inverted', 'NaN', 'slow'] as const) {
  test(`a canary that is ${kind} is withdrawn within 60 s or 200 calls`, () => {
    const { withdrawal, afterMs, afterCalls } = watch(playCanary({ ...runOf(1), ...badModel(kind, control) }))
    expect(withdrawal?.words).toBeTruthy()
    expect(afterMs <= 60_000 || afterCalls <= 200).toBe(true)
  })
}

test('a canary that does the same as control stays', () => {
  for (const seed of [1, 2, 3]) {
    const { withdrawal, challengerCalls } = watch(playCanary(runOf(seed)))
    expect(withdrawal).toBeUndefined()
    expect(challengerCalls).toBeGreaterThan(500)
  }
})

test('a canary that sends all calls to an idle fast instance stays while they end sooner for it, though they do not begin so', () => {
  const mixed = [...sameMachines('a100-7b', 1, 'fast'), ...sameMachines('v100-32g', 2, 'slow')]
  for (const seed of [1, 2]) {
    const row = { name: 'mixed', fleet: mixed, mix: drawWide, mixName: 'wide', callsPerS: 3, calls: 3 * 60 * 40 }
    const run = {
      ...runOf(seed),
      fleet: mixed,
      calls: generatedScenario(row).calls({ seed }),
      control: () => createPolicy('least-request'),
    }
    const played = playCanary({ ...run, ...badModel('constant', run.control) })
    const begun = played.map((call) => ({ ...call, firstTokenMs: call.nowMs + (call.arm === 'challenger' ? 90 : 60) }))
    const { withdrawal, challengerCalls } = watch(begun)
    expect(withdrawal).toBeUndefined()
    expect(challengerCalls).toBeGreaterThan(300)
  }
})
