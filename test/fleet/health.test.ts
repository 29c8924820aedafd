import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FLEET_DEFAULTS } from '../../plugin/fleet/options.ts'
import { ANSWERED, failed, smallFleet } from './small-fleet.ts'

const { ejectionMs, slowStartMs } = FLEET_DEFAULTS.health

/** Lets the instance's time out pass and ends a trial call well. */
function comeBack(small: ReturnType<typeof smallFleet>, name: string): void {
  small.pass(ejectionMs + 100)
  small.call(name, ANSWERED)
}

test.each([
  ['connect', 1],
  ['stalled', 1],
  ['reset', 2],
  ['aborted', 2],
  ['status', 3],
  ['timed out', 6],
] as const)('%s ejects after %d in a row, not before', (kind, times) => {
  const small = smallFleet(4)
  for (let i = 1; i < times; i++) small.call('a', failed(kind))
  expect(small.at('a').state).not.toBe('ejected')
  small.call('a', failed(kind))
  expect(small.at('a').state).toBe('ejected')
  expect(small.at('a').stateReason).toContain(kind)
  expect(small.names()).toEqual(['b', 'c', 'd'])
})

test('nobody listening ejects at once, however patient the configuration is with errors', () => {
  const small = smallFleet(4, { ...FLEET_DEFAULTS, health: { ...FLEET_DEFAULTS.health, ejectAtPoints: 20 } })
  small.call('a', failed('connect'))
  for (let i = 0; i < 9; i++) small.call('b', failed('status', 500))
  expect([small.at('a').state, small.at('b').state]).toEqual(['ejected', 'degraded'])
})

test('an answer between failures starts the row over', () => {
  const small = smallFleet(4)
  for (let i = 0; i < 6; i++) {
    small.call('a', failed('status', 500))
    small.call('a', failed('status', 500))
    for (let j = 0; j < 6; j++) small.call('a', ANSWERED)
  }
  expect(small.at('a').state).not.toBe('ejected')
})

test('half of all calls failing ejects even with answers in between', () => {
  const small = smallFleet(4)
  for (let i = 0; i < 40 && small.at('a').state !== 'ejected'; i++) small.call('a', i % 3 === 0 ? ANSWERED : failed('status', 500))
  expect(small.at('a').state).toBe('ejected')
})

test('a full instance and the caller’s own mistakes never eject', () => {
  const small = smallFleet(4)
  for (let i = 0; i < 50; i++) {
    small.call('a', failed('full', 503))
    small.call('b', failed('status', 400))
  }
  expect([small.at('a').state, small.at('b').state]).toEqual(['healthy', 'healthy'])
})

test('a client that leaves tells nothing of the instance', () => {
  const small = smallFleet(4)
  small.call('a', failed('status', 500))
  for (let i = 0; i < 9; i++) small.call('a', { kind: 'left' })
  small.call('a', failed('status', 500))
  small.call('a', failed('status', 500))
  expect(small.at('a').state).toBe('ejected')
})

test('never more than half of a pool is out, whatever fails', () => {
  const events = fc.array(fc.tuple(fc.nat(6), fc.constantFrom('connect', 'reset', 'status', 'stalled', 'ok', 'pass', 'refuse')), {
    maxLength: 120,
  })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 7 }), events, (size, steps) => {
      const small = smallFleet(size)
      for (const [pick, what] of steps) {
        const name = String.fromCharCode(97 + (pick % size))
        if (what === 'pass') small.pass(700)
        else if (what === 'refuse') small.fleet.scrapeFailed(small.at(name), 'connect', small.nowMs)
        else small.call(name, what === 'ok' ? ANSWERED : failed(what as 'reset'))
        small.nowMs++
        const out = small.fleet.instances('p').filter((one) => one.health.isOut).length
        expect(out).toBeLessThanOrEqual(Math.floor(size / 2))
        expect(small.names().length).toBeGreaterThan(0)
        expect(small.fleet.ready()).toBe(true)
      }
    }),
    { numRuns: 200 },
  )
})

test('who failed while half of the pool was out is ejected as soon as there is room', () => {
  const small = smallFleet(2)
  small.call('a', failed('connect'))
  small.call('b', failed('connect'))
  expect([small.at('a').state, small.at('b').state]).toEqual(['ejected', 'degraded'])
  comeBack(small, 'a')
  small.pass(100)
  expect(small.at('b').state).toBe('ejected')
})

test('an ejected instance comes back by one trial call at a time, then slowly', () => {
  const small = smallFleet(2)
  small.call('a', failed('connect'))
  small.pass(ejectionMs - 100)
  expect(small.names()).toEqual(['b'])
  small.pass(100)
  expect([small.at('a').state, ...small.names()]).toEqual(['recovering', 'a', 'b'])
  const trial = small.send('a')
  expect(small.names()).toEqual(['b'])
  expect(small.fleet.mayTake(small.at('a'))).toBe(false)
  small.end('a', trial, { kind: 'left' })
  expect(small.names()).toEqual(['a', 'b'])
  const second = small.send('a')
  small.nowMs += 5
  small.fleet.firstToken(small.at('a'), second, small.nowMs)
  expect(small.names()).toEqual(['a', 'b'])
  expect(small.at('a').slowStartRatio).toBe(0.1)
  const ratios = []
  for (let i = 0; i < 10; i++) {
    small.pass(slowStartMs / 10)
    ratios.push(small.at('a').slowStartRatio)
  }
  expect(ratios).toEqual([...ratios].sort((x, y) => x - y))
  expect([ratios.at(-1), small.at('a').state]).toEqual([1, 'healthy'])
})

test('a failed trial doubles the time out, up to the longest; long health forgives', () => {
  const small = smallFleet(2)
  small.call('a', failed('connect'))
  const outs = []
  for (let i = 0; i < 8; i++) {
    let outMs = 0
    while (small.at('a').state === 'ejected') {
      small.pass(100)
      outMs += 100
    }
    outs.push(outMs)
    small.call('a', failed('reset'))
  }
  expect(outs).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000])
  small.pass(60_000)
  small.call('a', ANSWERED)
  small.pass(slowStartMs + FLEET_DEFAULTS.health.forgiveAfterMs + 100)
  small.call('a', failed('connect'))
  small.pass(ejectionMs)
  expect(small.at('a').state).toBe('recovering')
})

test('calls from before the ejection neither end it nor prolong it', () => {
  const small = smallFleet(2)
  const old = [small.send('a'), small.send('a'), small.send('a')]
  small.nowMs += 10
  small.call('a', failed('connect'))
  small.nowMs += 10
  small.end('a', old[0]!, ANSWERED)
  small.end('a', old[1]!, failed('reset'))
  expect(small.at('a').state).toBe('ejected')
  small.pass(ejectionMs)
  expect(small.at('a').state).toBe('recovering')
  expect(small.names()).toContain('a')
  small.end('a', old[2]!, failed('reset'))
  expect(small.at('a').state).toBe('recovering')
})

test('an error that follows one call to a second instance counts against neither', () => {
  const small = smallFleet(4)
  for (let callId = 100; callId < 120; callId++) {
    for (const name of ['a', 'b', 'c']) small.call(name, failed('reset'), callId)
  }
  expect(small.fleet.instances('p').map((one) => one.state)).toEqual(Array(4).fill('healthy'))
  expect(small.at('a').errorRatio).toBeCloseTo(0, 9)
  expect(small.at('b').errorRatio).toBeNaN()
})

test('taking a failure back ends the ejection it caused', () => {
  const small = smallFleet(4)
  small.call('a', failed('reset'), 1_000)
  small.call('b', failed('reset'), 1_000)
  small.call('a', failed('reset'), 1_001)
  small.call('a', failed('reset'), 1_002)
  expect(small.at('a').state).toBe('ejected')
  small.call('b', failed('reset'), 1_002)
  expect(small.at('a').state).toBe('degraded')
  expect(small.at('a').slowStartRatio).toBe(1)
  small.call('c', failed('reset'), 1_001)
  expect(small.at('a').state).toBe('healthy')
})

test('two dead instances are both found by one call: nobody listening is never the call’s doing', () => {
  const small = smallFleet(4)
  small.call('a', failed('connect'), 5_000)
  small.call('b', failed('connect'), 5_000)
  expect([small.at('a').state, small.at('b').state]).toEqual(['ejected', 'ejected'])
})

test('scrapes that cannot connect degrade, then eject; with a failed call, one is enough', () => {
  const small = smallFleet(4)
  const refuse = (name: string, times: number): void => {
    for (let i = 0; i < times; i++) small.fleet.scrapeFailed(small.at(name), 'connect', small.nowMs)
  }
  refuse('a', 4)
  expect(small.at('a').state).toBe('degraded')
  refuse('a', 4)
  expect(small.at('a').state).toBe('ejected')
  small.call('b', failed('reset'))
  refuse('b', 1)
  expect(small.at('b').state).toBe('ejected')
  for (let i = 0; i < 20; i++) small.fleet.scrapeFailed(small.at('c'), 'other', small.nowMs)
  expect(small.at('c').state).toBe('healthy')
})

test('no caller’s call is spent on a trial while scrapes find nobody; a listener that is back is tried at once', () => {
  const small = smallFleet(4)
  for (let i = 0; i < 8; i++) small.fleet.scrapeFailed(small.at('a'), 'connect', small.nowMs)
  small.pass(30_000)
  expect(small.at('a').state).toBe('ejected')
  small.scrape('a', 'vllm:num_requests_running 0')
  small.pass(100)
  expect(small.at('a').state).toBe('recovering')
})

test('calls that are answered outweigh scrapes that find nobody', () => {
  const small = smallFleet(4)
  for (let i = 0; i < 40; i++) {
    small.fleet.scrapeFailed(small.at('a'), 'connect', small.nowMs)
    if (i % 3 === 0) small.call('a', ANSWERED)
  }
  expect(small.at('a').state).toBe('healthy')
})

test('every change of state is told once, in order', () => {
  const small = smallFleet(2)
  small.call('a', failed('connect'))
  comeBack(small, 'a')
  small.pass(slowStartMs)
  expect(small.changes.map(({ instance, from, to }) => `${instance.name} ${from} > ${to}`)).toEqual([
    'a healthy > ejected',
    'a ejected > recovering',
    'a recovering > healthy',
  ])
})
