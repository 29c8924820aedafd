import { expect, test } from 'vitest'
import { HOLD_RULE_DEFAULTS } from '../../plugin/hold/hold-rules.ts'
import type { HoldSetting } from '../../plugin/router-hold.ts'
import { sketchCall } from '../fakes/instances.ts'
import { createRouterBench } from '../fakes/router.ts'

const OPTIONS = { gateway: 'test' }
const POOL = { policy: 'least-request', fallbackPolicy: 'round-robin', explorationRatio: 0 } as const

const policiesOf = async (bench: ReturnType<typeof createRouterBench>, calls: number): Promise<Map<string, number>> => {
  const seen = new Map<string, number>()
  for (let i = 0; i < calls; i++) {
    const ticket = await bench.router.place(sketchCall({ callId: ++callId }), OPTIONS)
    seen.set(ticket.placement.policy, (seen.get(ticket.placement.policy) ?? 0) + 1)
    ticket.settle({ kind: 'completed', e2eMs: 10, outputTokens: 5, censored: false })
  }
  return seen
}
let callId = 0

test('a pool that is off is placed by its fallback policy, and explores nothing', async () => {
  const bench = createRouterBench({ pool: { ...POOL, mode: 'off', explorationRatio: 0.5 } })
  expect(await policiesOf(bench, 40)).toEqual(new Map([['round-robin', 40]]))
  expect(bench.calls().every(({ decision }) => !decision.explored)).toBe(true)
})

test('in mode observe the fallback policy is obeyed, and the policy is asked about every call', async () => {
  const bench = createRouterBench({ pool: { ...POOL, mode: 'observe' } })
  expect(await policiesOf(bench, 40)).toEqual(new Map([['round-robin', 40]]))
  expect(bench.counted.filter((what) => what === 'observed policy agreed' || what === 'observed policy differed')).toHaveLength(40)
})

test('in mode share the policy places its share of the calls, and the fallback policy the others (4.5 sigma over 4,000 calls)', async () => {
  const bench = createRouterBench({ pool: { ...POOL, mode: 'share', shareRatio: 0.3, explorationRatio: 0.2 } })
  const seen = await policiesOf(bench, 4_000)
  const share = (seen.get('least-request') ?? 0) / 4_000
  expect(Math.abs(share - 0.3), `${share}`).toBeLessThan(4.5 * Math.sqrt((0.3 * 0.7) / 4_000))
  expect([...seen.keys()].sort()).toEqual(['least-request', 'round-robin'])
  for (const { decision } of bench.calls()) if (decision.explored) expect(decision.policy).toBe('least-request')
})

test('changed settings count from the next call on, and a policy that stays keeps what it has learned', async () => {
  const bench = createRouterBench({ pool: { ...POOL, policy: 'round-robin', fallbackPolicy: 'least-request' } })
  const first = (await bench.router.place(sketchCall({ callId: ++callId }), OPTIONS)).instance.name
  bench.router.configure({ ...bench.pool, explorationRatio: 0.5 })
  const second = await bench.router.place(sketchCall({ callId: ++callId }), OPTIONS)
  if (!second.placement.explored) expect(second.instance.name).not.toBe(first)
  bench.router.configure({ ...bench.pool, policy: 'random' })
  expect(await policiesOf(bench, 5)).toEqual(new Map([['random', 5]]))
  bench.router.configure({ ...bench.pool, mode: 'off' })
  expect(await policiesOf(bench, 5)).toEqual(new Map([['least-request', 5]]))
  bench.router.configure({ ...bench.pool, mode: 'on' })
  expect(await policiesOf(bench, 5)).toEqual(new Map([['round-robin', 5]]))
})

test('an unknown policy changes nothing, and an unknown pool is left alone', async () => {
  const bench = createRouterBench({ pool: POOL })
  expect(() => bench.router.configure({ ...bench.pool, policy: 'none' })).toThrow('unknown policy "none"')
  bench.router.configure({ ...bench.pool, name: 'elsewhere', policy: 'random' })
  expect(await policiesOf(bench, 5)).toEqual(new Map([['least-request', 5]]))
})

test('the policy that heard of a placement hears of its end, though another one decides by then', async () => {
  const bench = createRouterBench({ pool: { ...POOL, policy: 'litellm-least-busy' } })
  const ticket = await bench.router.place(sketchCall({ callId: ++callId }), OPTIONS)
  bench.router.configure({ ...bench.pool, policy: 'peak-ewma' })
  ticket.settle({ kind: 'completed', e2eMs: 10, outputTokens: 5, censored: false })
  expect(bench.counted).not.toContain('policy failed to take an outcome in')
  expect(bench.router.inFlight()).toBe(0)
})

const HOLD: HoldSetting = { when: 'always', rule: { ...HOLD_RULE_DEFAULTS, order: 'fcfs', waitingMax: 0 } }
const place = (bench: ReturnType<typeof createRouterBench>, tenant = 'a') =>
  bench.router.place(sketchCall({ callId: ++callId, caller: { application: tenant, tenant, priority: 0 } }), OPTIONS)

test('holding can be switched on between two calls, and off: who waits then starts at once', async () => {
  const bench = createRouterBench({ instances: 1, pool: POOL })
  await Promise.all([place(bench), place(bench)])
  expect(bench.router.holds()).toEqual([])
  bench.router.configure({ ...bench.pool, hold: HOLD })
  const waiting = place(bench)
  expect(bench.router.holds()).toEqual([{ pool: 'm', order: 'fcfs', held: 1 }])
  bench.router.configure({ ...bench.pool, hold: undefined })
  await waiting
  expect([bench.router.holds(), bench.router.inFlight()]).toEqual([[], 3])
  await place(bench)
})

test('another order, bound or seat counts for those who wait too; their deadlines stay', async () => {
  const bench = createRouterBench({ instances: 1, pool: { ...POOL, hold: { ...HOLD, queue: { heldMsMax: 2_000 } } } })
  const first = await place(bench)
  const waiting = [place(bench), place(bench)]
  bench.router.configure({
    ...bench.pool,
    hold: { ...HOLD, rule: { ...HOLD.rule, order: 'shortest' }, queue: { heldMsMax: 9_000, seatsMax: 2 } },
  })
  expect(bench.router.holds()).toEqual([{ pool: 'm', order: 'shortest', held: 2 }])
  // No seat is left.
  await place(bench)
  expect(bench.counted).toContain('hold queue full')
  bench.clock.advance(2_000)
  bench.router.tick(bench.clock.nowMs())
  await Promise.all(waiting)
  const late = place(bench)
  bench.clock.advance(2_000)
  bench.router.tick(bench.clock.nowMs())
  expect(bench.router.holds()[0]?.held).toBe(1)
  bench.router.configure({ ...bench.pool, hold: { ...HOLD, rule: { ...HOLD.rule, waitingMax: 99 } } })
  await late
  first.settle({ kind: 'completed', e2eMs: 10, outputTokens: 5, censored: false })
})

test('holding that is switched on while Phasewise is off holds nobody until it is on again', async () => {
  const bench = createRouterBench({ instances: 1, pool: POOL })
  bench.router.switchOff(true)
  bench.router.configure({ ...bench.pool, hold: HOLD })
  await Promise.all([place(bench), place(bench), place(bench)])
  expect(bench.router.holds()[0]).toMatchObject({ held: 0, offReason: 'Phasewise is switched off' })
  bench.router.switchOff(false)
  void place(bench)
  expect(bench.router.holds()[0]?.held).toBe(1)
})

test('a floor set while calls wait keeps their groups in the account', async () => {
  const bench = createRouterBench({ instances: 1, pool: { ...POOL, hold: { ...HOLD, queue: { fairFloorRatio: 0 } } } })
  const first = await place(bench)
  const waiting = [...Array.from({ length: 4 }, () => place(bench, 'a')), place(bench, 'b')]
  bench.router.configure({ ...bench.pool, hold: { ...HOLD, queue: { fairFloorRatio: 1 } } })
  let under = first
  for (const next of waiting) {
    under.settle({ kind: 'completed', e2eMs: 10, outputTokens: 5, censored: false })
    under = await next
  }
  expect(bench.router.holds()[0]?.held).toBe(0)
  expect(bench.calls()).toHaveLength(waiting.length)
})
