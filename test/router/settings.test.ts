import { expect, test } from 'vitest'
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

test('in shadow the fallback policy is obeyed, and the policy is asked about every call', async () => {
  const bench = createRouterBench({ pool: { ...POOL, mode: 'shadow' } })
  expect(await policiesOf(bench, 40)).toEqual(new Map([['round-robin', 40]]))
  expect(bench.counted.filter((what) => what === 'shadow agreed' || what === 'shadow differed')).toHaveLength(40)
})

test('a canary places its share of the calls, and the fallback policy the others (4.5 sigma over 4,000 calls)', async () => {
  const bench = createRouterBench({ pool: { ...POOL, mode: 'canary', canaryRatio: 0.3, explorationRatio: 0.2 } })
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
