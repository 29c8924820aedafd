import { expect, test } from 'vitest'
import { HOLD_RULE_DEFAULTS } from '../../plugin/hold/hold-rules.ts'
import { AT, CALL_COLUMNS, CANDIDATE_COLUMNS } from '../../plugin/placement/features.ts'
import { createPolicy, POLICY_NAMES } from '../../plugin/placement/policies.ts'
import { askPolicies, expectTimes } from '../../plugin/router-what-if.ts'
import { sketchCall } from '../fakes/instances.ts'
import { createRouterBench } from '../fakes/router.ts'

const OPTIONS = { gateway: 'test' }

test('switched off, every call is placed by the fallback policy and nothing is explored; on again, by its own', async () => {
  const bench = createRouterBench({ pool: { policy: 'least-request', fallbackPolicy: 'round-robin', explorationRatio: 0.5 } })
  bench.router.switchOff(true)
  for (let i = 1; i <= 40; i++) {
    const { placement } = await bench.router.place(sketchCall({ callId: i }), OPTIONS)
    expect([placement.policy, placement.reason, placement.explored]).toEqual(['round-robin', 'switched off', false])
    expect(bench.router.preview(sketchCall(), OPTIONS).placement.policy).toBe('round-robin')
  }
  bench.router.switchOff(false)
  const { placement } = await bench.router.place(sketchCall({ callId: 99 }), OPTIONS)
  expect(placement.policy).toBe('least-request')
})

test('switching off lets every held call go at once, and none waits until it is on again', async () => {
  const hold = { when: 'always', rule: { ...HOLD_RULE_DEFAULTS, order: 'fcfs', waitingMax: 0 } } as const
  const bench = createRouterBench({ instances: 1, pool: { hold } })
  for (let i = 1; i <= 3; i++) void bench.router.place(sketchCall({ callId: i }), OPTIONS)
  const held = () => bench.router.holds()[0]
  expect(held()?.held).toBeGreaterThan(0)
  const before = bench.router.inFlight()
  bench.router.switchOff(true)
  await Promise.resolve()
  expect([held()?.held, held()?.offReason]).toEqual([0, 'Phasewise is switched off'])
  expect(bench.router.inFlight()).toBeGreaterThan(before)
  await bench.router.place(sketchCall({ callId: 9 }), OPTIONS)
  bench.router.switchOff(false)
  expect(held()?.offReason).toBeUndefined()
})

const STATELESS = POLICY_NAMES.filter((name) => {
  const policy = createPolicy(name)
  return !policy.onPlaced && !policy.onSettled
})

test.each(STATELESS)('what %s would have done, told from the logged row, is what it does, or is said to be unknown', async (policy) => {
  const bench = createRouterBench({ instances: 4, pool: { policy } })
  for (let i = 1; i <= 30; i++) {
    const ticket = await bench.router.place(sketchCall({ callId: i, promptBytes: 100 + ((i * 7919) % 5_000) }), OPTIONS)
    ticket.firstToken(i)
    if (i % 4 === 0) ticket.settle({ kind: 'completed', e2eMs: 10, outputTokens: 5, censored: false })
  }
  let told = 0
  let about = 0
  let agreed = 0
  for (const { candidates, decision } of bench.calls()) {
    const width = CANDIDATE_COLUMNS.length
    const rows = (candidates?.instances ?? []).map(({ name }, i) => ({
      instance: name,
      features: candidates!.features.subarray(CALL_COLUMNS.length + i * width, CALL_COLUMNS.length + (i + 1) * width),
    }))
    const all = askPolicies({ pool: 'm', call: candidates!.features.subarray(0, CALL_COLUMNS.length), candidates: rows }, undefined)
    expect(all.map((one) => one.policy)).toEqual(STATELESS)
    const own = all.find((one) => one.policy === policy)!
    if (own.unknown !== undefined) continue
    if (own.about) {
      about++
      if (own.instances.includes(candidates!.instances[0]!.name)) agreed++
      continue
    }
    told++
    expect(own.probability).toBeGreaterThan(0)
    if (own.probability === decision.propensity) expect(own.instances).toContain(candidates!.instances[0]!.name)
    else expect(decision.propensity).toBeLessThan(own.probability)
  }
  const READS_MORE = ['impact', 'predicted-latency', 'prefix-hash', 'litellm-latency']
  const READS_CALLS = ['impact', 'predicted-latency']
  expect([policy, told > 0, about > 0]).toEqual([policy, !READS_MORE.includes(policy), READS_CALLS.includes(policy)])
  if (about > 0) expect(agreed / about, `${policy} agrees with itself`).toBeGreaterThan(0.7)
})

test('what an instance would have made of a call: an idle one its own times, a busy one more, and later ends for those there', async () => {
  const bench = createRouterBench({ instances: 2, pool: { policy: 'round-robin' } })
  for (let i = 1; i <= 2; i++) await bench.router.place(sketchCall({ callId: i, promptBytes: 4_000 }), OPTIONS)
  const ticket = await bench.router.place(sketchCall({ callId: 3, promptBytes: 4_000 }), OPTIONS)
  ticket.settle({ kind: 'completed', e2eMs: 10, outputTokens: 5, censored: false })
  const { candidates } = bench.calls()[0]!
  const width = CANDIDATE_COLUMNS.length
  const rows = candidates!.instances.map(({ name }, i) => ({
    instance: name,
    features: Float32Array.from(candidates!.features.subarray(CALL_COLUMNS.length + i * width, CALL_COLUMNS.length + (i + 1) * width)),
  }))
  // The first one as it would be with nobody on it.
  for (const column of ['inFlight', 'prefillTokensPending', 'promptTokensInFlight', 'outputTokensLeft', 'awaitingFirstToken'] as const)
    rows[0]!.features[AT[column]] = 0
  const call = candidates!.features.subarray(0, CALL_COLUMNS.length)
  const times = new Map(expectTimes({ pool: 'm', call, candidates: rows }, undefined).map((one) => [one.instance, one]))
  const [idle, busy] = [times.get(rows[0]!.instance)!, times.get(rows[1]!.instance)!]
  expect(idle.othersMs).toBe(0)
  expect(idle.ttftMs).toBeGreaterThan(0)
  expect(busy.ttftMs).toBeGreaterThan(idle.ttftMs)
  expect(busy.e2eMs).toBeGreaterThan(idle.e2eMs)
  expect(busy.othersMs).toBeGreaterThan(0)
})
