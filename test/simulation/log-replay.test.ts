import { expect, test } from 'vitest'
import { createPolicy } from '../../plugin/placement/policies.ts'
import { createRng } from '../../plugin/rng.ts'
import { Simulation } from '../../plugin/simulation/fleet/simulation.ts'
import { streamOf } from '../../plugin/simulation/fleet/twin-call.ts'
import { calibrateFleet } from '../../plugin/simulation/log-replay/calibrate.ts'
import { AS_LOGGED, keepsState, replayUnder } from '../../plugin/simulation/log-replay/log-replay.ts'
import { asTwinCalls, type ServedCall } from '../../plugin/simulation/log-replay/traffic.ts'
import { profileNamed } from '../../plugin/simulation/profiles.ts'
import { generatedScenarios } from '../../plugin/simulation/scenario/scenarios.ts'

const START_UNIX_MS = 1_767_225_600_000
const FLEET = [
  { name: 'slow', profile: profileNamed('v100-llama-2-7b') },
  { name: 'fast', profile: profileNamed('a100-llama-2-7b') },
]

/** What a log would hold of calls served by a known fleet. */
function servedBy(): ServedCall[] {
  const scenario = generatedScenarios().find((one) => one.name === 'v100x4@12')!
  const calls = scenario.calls({ seed: 3 }).slice(0, 700)
  const served: ServedCall[] = []
  new Simulation({
    fleet: FLEET,
    calls: streamOf(calls),
    policy: () => createPolicy('least-request'),
    policyName: 'least-request',
    rng: createRng(1),
    onEnd: (end) => {
      served[end.index] = {
        arrivedUnixMs: START_UNIX_MS + Math.floor(end.arrivedMs),
        application: end.call.call.caller.application,
        tenant: 'tenant',
        task: null,
        promptTokens: end.call.promptTokens,
        maxTokens: null,
        instance: FLEET[end.instance]!.name,
        predictedOutputTokens: end.call.predictedTokens,
        outcome: end.ending === 'completed' ? 'completed' : 'instance error',
        ttftMs: end.firstTokenMs - end.arrivedMs,
        tpotMs: end.outputTokens > 1 ? (end.endedMs - end.firstTokenMs) / (end.outputTokens - 1) : null,
        e2eMs: end.endedMs - end.arrivedMs,
        outputTokens: end.outputTokens,
        prefixBlocks: [],
      }
    },
  }).run()
  return served
}

const served = servedBy()
const instances = FLEET.map(({ name, profile }) => ({ name, speed: 1, kvTokens: profile.kvBlocks * 16 }))
const mean = (calls: readonly ServedCall[]): number => calls.reduce((sum, call) => sum + call.e2eMs, 0) / calls.length

test('the engines behind a log are found from what they did, and the logged placements then cost what they did cost', () => {
  const fleet = calibrateFleet(instances, served)
  expect(fleet.map((one) => one.spec.profile.name)).toEqual(['v100-llama-2-7b', 'a100-llama-2-7b'])
  for (const one of fleet) expect(Math.abs(one.e2eError)).toBeLessThan(0.02)
  const again = replayUnder(AS_LOGGED, { calls: served, fleet: fleet.map((one) => one.spec), countedFromUnixMs: 0 })
  expect(Math.abs(again.meanE2eMs / mean(served) - 1)).toBeLessThan(0.02)
})

test('another policy costs what it would have cost, the same each time', () => {
  const input = { calls: served, fleet: FLEET, countedFromUnixMs: 0 }
  const [turn, speed] = ['round-robin', 'impact'].map((policy) => replayUnder(policy, input))
  expect(turn!.meanE2eMs).toBeGreaterThan(mean(served))
  expect(speed!.meanE2eMs).toBeLessThan(mean(served))
  expect(replayUnder('impact', input)).toEqual(speed)
})

test('only the calls in the range count, those before warm up', () => {
  const half = served[350]!.arrivedUnixMs
  const counted = served.filter((call) => call.arrivedUnixMs >= half).length
  const late = replayUnder('least-request', { calls: served, fleet: FLEET, countedFromUnixMs: half })
  expect(late.shares.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 9)
  expect(late.calls).toBe(700)
  expect(counted).toBeLessThan(700)
  expect(['least-request', 'round-robin', 'quadratic', AS_LOGGED].map(keepsState)).toEqual([false, true, true, false])
})

test('a caller who left leaves again, and shared beginnings stay shared', () => {
  const call = {
    ...served[0]!,
    outcome: 'client gone',
    e2eMs: 700,
    outputTokens: 3,
    predictedOutputTokens: 40,
    promptTokens: 130,
    prefixBlocks: [7, 8],
  }
  const [left, kept] = asTwinCalls([call, { ...call, prefixBlocks: [7, 9] }], call.arrivedUnixMs)
  expect(left?.leavesAfterMs).toBe(700)
  expect(left?.blockHashes).toHaveLength(8)
  expect(Array.from(left!.blockHashes).slice(0, 4)).toEqual(Array.from(kept!.blockHashes).slice(0, 4))
  expect(left!.blockHashes[4]).not.toBe(kept!.blockHashes[4])
  expect(left?.call.prefixBlocks[0]).toBe(kept?.call.prefixBlocks[0])
})
