import { describe, expect, test } from 'vitest'
import { LateTail } from '../../plugin/outcome/guard-tail.ts'
import { createPolicy } from '../../plugin/placement/policies.ts'
import { drawPaper, drawWide } from '../../plugin/simulation/scenario/mixes.ts'
import { generatedScenario, sameMachines } from '../../plugin/simulation/scenario/scenarios.ts'
import { badModel, type CanaryCall, playCanary, watch } from '../bench/trust/canary.ts'

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

for (const [kind, signal] of [
  ['constant', 'TTFT'],
  ['inverted', 'TTFT'],
  ['NaN', 'fallbacks'],
  ['slow', 'decision time'],
  ['late tail', 'TTFT p99'],
] as const) {
  test(`a canary that is ${kind} is withdrawn within 60 s or 200 calls: ${signal}`, () => {
    const { withdrawal, afterMs, afterCalls } = watch(playCanary({ ...runOf(1), ...badModel(kind, control) }))
    expect(withdrawal?.words).toBeTruthy()
    expect(withdrawal?.signal).toBe(signal)
    expect(afterMs <= 60_000 || afterCalls <= 200).toBe(true)
  })
}

const worse: Readonly<Record<'errors' | 'TTFT' | 'E2E' | 'holds' | 'share', (call: CanaryCall) => Partial<CanaryCall>>> = {
  errors: ({ callId }) => ({ completed: callId % 5 > 0 }),
  TTFT: ({ nowMs, firstTokenMs, endedMs }) => ({
    firstTokenMs: firstTokenMs + 4 * (firstTokenMs - nowMs),
    endedMs: endedMs + 4 * (firstTokenMs - nowMs),
  }),
  E2E: ({ nowMs, endedMs }) => ({ endedMs: endedMs + 2 * (endedMs - nowMs) }),
  holds: ({ callId }) => ({ heldMs: callId % 2 ? 20 : 0 }),
  share: ({ nowMs, firstTokenMs, endedMs }) => ({
    instance: 'i0',
    firstTokenMs: firstTokenMs + 0.4 * (firstTokenMs - nowMs),
    endedMs: endedMs + 0.2 * (endedMs - nowMs),
  }),
}

test('each harm is told by its own signal', () => {
  const played = playCanary(runOf(2))
  for (const [signal, change] of Object.entries(worse)) {
    const { withdrawal, afterMs, afterCalls } = watch(
      played.map((call) => (call.arm === 'challenger' ? { ...call, ...change(call) } : call)),
    )
    expect(withdrawal?.signal).toBe(signal)
    expect(afterMs <= 60_000 || afterCalls <= 200).toBe(true)
  }
})

test('a canary stays though a queue of a fleet whose memory is full falls into its block', () => {
  const paper = sameMachines('v100-paper', 4)
  const callsPerS = 11
  for (const seed of [1_005, 1_028]) {
    const row = { name: 'full', fleet: paper, mix: drawPaper, mixName: 'paper', callsPerS, calls: callsPerS * 60 * 30 }
    const played = playCanary({
      ...runOf(seed),
      fleet: paper,
      calls: generatedScenario(row).calls({ seed }),
      plan: { ...runOf(seed).plan, shareRatio: 0.3 },
    })
    const served = played.filter((call) => call.arm === 'challenger')
    expect(served.filter((call) => call.firstTokenMs - call.nowMs > 2_000).length).toBeGreaterThan(20)
    expect(watch(played).withdrawal).toBeUndefined()
  }
})

describe('calls of one queue', () => {
  const late = (instance: string) => ({ instance, over: 5 })
  const prompt = (instance: string) => ({ instance, over: -0.1 })

  test('are one accident, however many they are, until the instance is as soon as expected', () => {
    const tail = new LateTail()
    expect(tail.count([...Array(30).fill(late('a')), prompt('a'), late('a')])).toBe(2)
  })

  test('of two instances are two, and calls elsewhere end neither', () => {
    const tail = new LateTail()
    expect(tail.count([late('a'), late('b'), prompt('c'), late('a'), late('b')])).toBe(2)
  })
})

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
