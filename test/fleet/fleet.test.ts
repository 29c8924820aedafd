import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Dispatch } from '../../plugin/fleet/ledger.ts'
import { FLEET_DEFAULTS } from '../../plugin/fleet/options.ts'
import { RetryBudget } from '../../plugin/fleet/retry-budget.ts'
import { ANSWERED, failed, smallFleet } from './small-fleet.ts'

const config = (name: string, port: number, more: { weight?: number; speed?: number } = {}) => ({
  name,
  url: `http://127.0.0.1:${port}`,
  weight: 1,
  speed: 1,
  ...more,
})

test('who left the list takes no new call, ends those it has, and leaves', () => {
  const small = smallFleet(2)
  const leaver = small.at('a')
  const dispatch = small.send('a')
  expect(small.fleet.reconcile('p', [config('b', 9_001)])).toEqual({ added: 0, removed: 1, changed: 0, ignored: 0 })
  expect([leaver.state, ...small.names()]).toEqual(['removed', 'b'])
  expect(small.fleet.mayTake(leaver)).toBe(false)
  small.fleet.progress(leaver, dispatch, 5, small.nowMs)
  small.fleet.settle(leaver, dispatch, ANSWERED, small.nowMs)
  expect(small.fleet.instances('p').map((one) => one.name)).toEqual(['b'])
  expect(leaver.ledger.inFlight).toBe(0)
})

test('who comes back while its last calls run is the same instance; at another url it is another one', () => {
  const small = smallFleet(2)
  const first = small.at('a')
  small.send('a')
  small.fleet.reconcile('p', [config('b', 9_001)])
  small.fleet.reconcile('p', [config('a', 9_000), config('b', 9_001)])
  expect([small.at('a') === first, first.state]).toEqual([true, 'healthy'])
  small.fleet.reconcile('p', [config('a', 9_777), config('b', 9_001)])
  expect(small.at('a')).not.toBe(first)
  expect(small.at('a').endpoint).toBe('127.0.0.1:9777')
  expect(small.names()).toEqual(['a', 'b'])
  expect(small.fleet.instances('p')).toHaveLength(3)
})

test('weights and speeds change in place', () => {
  const small = smallFleet(2)
  const dispatch = small.send('a')
  expect(small.fleet.reconcile('p', [config('a', 9_000, { weight: 3, speed: 2 }), config('b', 9_001)]).changed).toBe(1)
  expect([small.at('a').weight, small.at('a').speed, small.at('a').ledger.inFlight]).toEqual([3, 2, 1])
  small.end('a', dispatch, ANSWERED)
  expect(small.fleet.rows(small.nowMs).map((row) => row.expectedShareRatio)).toEqual([6 / 7, 1 / 7])
})

test('a name that stands twice counts once, and the loss is told', () => {
  const small = smallFleet(0)
  expect(small.fleet.reconcile('p', [config('a', 1), config('a', 2)])).toMatchObject({ added: 1, ignored: 1 })
})

test('slots are stable, unique, and used again', () => {
  const lists = fc.array(fc.uniqueArray(fc.nat(5), { maxLength: 6 }), { minLength: 1, maxLength: 20 })
  fc.assert(
    fc.property(lists, fc.array(fc.nat(5), { maxLength: 20 }), (desired, picks) => {
      const small = smallFleet(0)
      const known = new Map<string, number>()
      const open: { name: string; dispatch: Dispatch }[] = []
      for (const [i, ports] of desired.entries()) {
        small.fleet.reconcile(
          'p',
          ports.map((port) => config(`n${port}`, port + 1)),
        )
        const members = small.fleet.instances('p')
        const slots = members.map((one) => one.slot)
        expect(new Set(slots).size).toBe(slots.length)
        expect(Math.max(-1, ...slots)).toBeLessThan(small.fleet.slotBound('p'))
        for (const one of members) {
          if (known.has(one.name)) expect(one.slot).toBe(known.get(one.name))
        }
        known.clear()
        for (const one of members) known.set(one.name, one.slot)
        const name = small.names()[(picks[i] ?? 0) % Math.max(1, small.names().length)]
        if (name) open.push({ name, dispatch: small.send(name) })
        expect(small.fleet.slotBound('p')).toBeLessThanOrEqual(6)
      }
      small.fleet.reconcile('p', [])
      for (const { name, dispatch } of open) {
        const one = small.fleet.instances('p').find((each) => each.name === name && [...each.ledger.open()].includes(dispatch))
        if (one) small.fleet.settle(one, dispatch, ANSWERED, small.nowMs)
      }
      expect(small.fleet.instances('p')).toEqual([])
    }),
  )
})

test('a drained instance ends its calls and takes no new one until undrained; a name not there yet is remembered', () => {
  const small = smallFleet(2)
  small.send('a')
  expect([small.fleet.drain('p', 'a'), small.fleet.drain('p', 'a')]).toEqual([true, false])
  expect([small.at('a').state, small.at('a').ledger.inFlight, ...small.names()]).toEqual(['draining', 1, 'b'])
  small.fleet.drain('p', 'z')
  small.fleet.reconcile('p', [config('a', 9_000), config('b', 9_001), config('z', 9_026)])
  expect([small.at('z').state, ...small.names()]).toEqual(['draining', 'b'])
  small.fleet.undrain('p', 'a')
  small.fleet.undrain('p', 'z')
  expect(small.names()).toEqual(['a', 'b', 'z'])
})

test('nothing eligible: the ejected ones are offered, flagged; the drained ones never', () => {
  const small = smallFleet(2)
  small.call('a', failed('connect'))
  small.fleet.drain('p', 'b')
  const list = small.fleet.candidates('p')
  expect([list.count, list.instances[0]?.name, list.failOpen, small.fleet.ready()]).toEqual([1, 'a', true, false])
  small.fleet.drain('p', 'a')
  expect([small.fleet.candidates('p').count, small.fleet.candidates('p').failOpen]).toEqual([0, false])
  expect(small.fleet.candidates('unknown').count).toBe(0)
})

test('a call that fails open and is answered brings its instance back at once', () => {
  const small = smallFleet(2)
  small.call('a', failed('connect'))
  small.fleet.drain('p', 'b')
  small.nowMs += 10
  small.call('a', ANSWERED)
  expect(small.at('a').state).toBe('recovering')
  expect(small.fleet.candidates('p').failOpen).toBe(false)
})

test('what was sent somewhere is cached there, until the instance is ejected', () => {
  const small = smallFleet(2)
  const prefixBlocks = BigUint64Array.of(1n, 2n, 3n)
  const out = new Uint16Array(2)
  const dispatch = small.fleet.dispatch(small.at('b'), { callId: 1, promptTokens: 9, stream: true, prefixBlocks }, 1)
  small.fleet.matchPrefix('p', { prefixBlocks }, out)
  expect([...out]).toEqual([0, 3])
  small.nowMs = 2
  small.end('b', dispatch, failed('connect'))
  small.fleet.matchPrefix('p', { prefixBlocks }, out)
  expect([...out]).toEqual([0, 0])
})

test('the prefix index of an instance follows the size of its KV cache', () => {
  const small = smallFleet(1)
  small.scrape('a', 'vllm:cache_config_info{block_size="16",num_gpu_blocks="8"} 1')
  const prefixBlocks = BigUint64Array.from({ length: 20 }, (_, i) => BigInt(i + 1))
  small.fleet.dispatch(small.at('a'), { callId: 1, promptTokens: 9, stream: true, prefixBlocks }, 1)
  const out = new Uint16Array(1)
  small.fleet.matchPrefix('p', { prefixBlocks }, out)
  expect(out[0]).toBe((8 * 16) / FLEET_DEFAULTS.prefixBlockTokens)
})

test('retries are at most the burst and 20 % of calls', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 500 }), (steps) => {
      const budget = new RetryBudget(FLEET_DEFAULTS.retry)
      let calls = 0
      let retries = 0
      for (const isCall of steps) {
        if (isCall) calls++
        if (isCall) budget.pay()
        else if (budget.take()) retries++
        expect(retries).toBeLessThanOrEqual(FLEET_DEFAULTS.retry.budgetBurst + 0.2 * calls + 1e-6)
      }
    }),
  )
  const small = smallFleet(1)
  for (let i = 0; i < 10; i++) expect(small.fleet.takeRetry('p')).toBe(true)
  expect(small.fleet.takeRetry('p')).toBe(false)
  for (let i = 0; i < 5; i++) small.call('a', ANSWERED)
  expect([small.fleet.takeRetry('p'), small.fleet.takeRetry('p')]).toEqual([true, false])
})

test('recent paces are those of answered calls, unknown before', () => {
  const small = smallFleet(1)
  const one = small.at('a')
  expect([one.recentTtftMs, one.recentTpotMs, one.errorRatio]).toEqual([Number.NaN, Number.NaN, Number.NaN])
  const dispatch = small.send('a')
  small.nowMs += 40
  small.fleet.firstToken(one, dispatch, small.nowMs)
  small.end('a', dispatch, { kind: 'answered', ttftMs: 40, tpotMs: 12 })
  expect([one.recentTtftMs, one.recentTpotMs, one.errorRatio]).toEqual([40, 12, 0])
})

test('the pace of answers that come whole is their time over their tokens, long ones counting more; streams do not change it', () => {
  const small = smallFleet(1)
  const one = small.at('a')
  const answer = (stream: boolean, ms: number, outputTokens: number) => {
    const dispatch = small.send('a', { stream })
    small.nowMs += ms
    small.end('a', dispatch, { kind: 'answered', outputTokens })
  }
  answer(true, 500, 10)
  expect(one.wholePaceMs).toBeNaN()
  answer(false, 1_000, 100)
  expect(one.wholePaceMs).toBe(10)
  answer(false, 100, 2)
  expect(one.wholePaceMs).toBeGreaterThan(10)
  expect(one.wholePaceMs).toBeLessThan(11)
  answer(false, 100, 0)
  expect(one.wholePaceMs).toBeLessThan(11)
})

test('rows are plain: they cross threads', () => {
  const small = smallFleet(2)
  expect(structuredClone(small.fleet.rows(small.nowMs))).toEqual(small.fleet.rows(small.nowMs))
})
