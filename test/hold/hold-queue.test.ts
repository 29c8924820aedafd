import fc from 'fast-check'
import { expect, test } from 'vitest'
import { HoldQueue } from '../../plugin/hold/hold-queue.ts'
import type { HoldQueueOptions } from '../../plugin/hold/hold-queue-options.ts'
import { createHoldRule, HOLD_ORDERS, type HoldRuleOptions, kvTokenSteps } from '../../plugin/hold/hold-rules.ts'
import type { HeldCall } from '../../plugin/hold/rule.ts'
import { type Sketch, sketchCall, sketchInstance } from '../fakes/instances.ts'

let ids = 0
function heldCall(change: Partial<HeldCall> & { tenant?: string; priority?: number; sloTtftMs?: number } = {}): HeldCall {
  const { tenant = 'app', priority = 0, sloTtftMs, ...held } = change
  const caller = { application: 'app', tenant, priority, ...(sloTtftMs === undefined ? {} : { sloTtftMs }) }
  return { call: sketchCall({ callId: ++ids, caller }), promptTokens: 100, predictedOutputTokens: 50, arrivedMs: 0, ...held }
}

function createQueue(rule: Partial<HoldRuleOptions> = {}, options: Partial<HoldQueueOptions> = {}): HoldQueue<HeldCall> {
  return new HoldQueue({ rule: createHoldRule({ waitingMax: 3, ...rule }), options })
}

const open = [sketchInstance({ inFlight: 1, kvBlocks: 1_000 }, 0)]
const closed = [sketchInstance({ inFlight: 4, awaitingFirstToken: 4, kvBlocks: 1_000 }, 0)]

/** Joins all at their arrival and takes out everybody at `nowMs`. */
function order(queue: HoldQueue<HeldCall>, calls: readonly HeldCall[], nowMs: number): number[] {
  for (const held of calls) queue.join(held, held.arrivedMs)
  return calls.map(() => calls.indexOf(queue.release(open, 1, nowMs)!.held))
}

test('fcfs starts calls as they came', () => {
  const calls = [heldCall({ arrivedMs: 30 }), heldCall({ arrivedMs: 10 }), heldCall({ arrivedMs: 20 })]
  expect(order(createQueue({ order: 'fcfs' }), calls, 40)).toEqual([1, 2, 0])
})

test('shortest starts the shortest predicted answer, and a long one that has waited long enough before it', () => {
  const calls = [heldCall({ predictedOutputTokens: 300 }), heldCall({ predictedOutputTokens: 100, arrivedMs: 5_000 })]
  expect(order(createQueue({ order: 'shortest' }), calls, 5_000)).toEqual([1, 0])
  // At 16 s: 300 ÷ (1 + 0.2·16) = 71, 100 ÷ (1 + 0.2·1) = 83.
  const late = [heldCall({ predictedOutputTokens: 300 }), heldCall({ predictedOutputTokens: 100, arrivedMs: 15_000 })]
  expect(order(createQueue({ order: 'shortest' }), late, 16_000)).toEqual([0, 1])
})

test('priority starts the more important first, and five seconds are worth one level', () => {
  const calls = [heldCall(), heldCall({ priority: 1, arrivedMs: 4_000 })]
  expect(order(createQueue({ order: 'priority' }), calls, 4_000)).toEqual([1, 0])
  const late = [heldCall(), heldCall({ priority: 1, arrivedMs: 6_000 })]
  expect(order(createQueue({ order: 'priority' }), late, 6_000)).toEqual([0, 1])
})

test('kv-time starts the smallest d·(p + d/2), aged by the square of the wait', () => {
  expect(kvTokenSteps({ promptTokens: 100, predictedOutputTokens: 40 })).toBe(40 * 120)
  const calls = [
    heldCall({ promptTokens: 20, predictedOutputTokens: 200 }), // 24,000
    heldCall({ promptTokens: 900, predictedOutputTokens: 20 }), // 18,200
  ]
  expect(order(createQueue(), calls, 0)).toEqual([1, 0])
  // 24,000 ÷ 1.2² = 16,667 after one second.
  const aged = [calls[0]!, heldCall({ promptTokens: 900, predictedOutputTokens: 20, arrivedMs: 1_000 })]
  expect(order(createQueue(), aged, 1_000)).toEqual([0, 1])
  const never = createQueue({ agePerSecond: 0 })
  expect(order(never, aged, 1_000)).toEqual([1, 0])
})

test('an instance is ready while no more wait than allowed, and has room up to the reserve', () => {
  const rule = createHoldRule({ waitingMax: 3, reserveRatio: 0.15 })
  const busy = (sketch: Sketch) => sketchInstance({ inFlight: 5, kvBlocks: 100, ...sketch }, 0)
  expect(rule.roomTokens(busy({ promptTokens: 300, outputTokensDone: 60 }))).toBeCloseTo(0.85 * 1_600 - 360)
  expect(rule.roomTokens(busy({ promptTokens: 300, kvTokensUnseen: 1_200 }))).toBeLessThan(0)
  expect(rule.roomTokens(sketchInstance({ inFlight: 5 }, 0))).toBe(Number.POSITIVE_INFINITY)
  expect(rule.roomTokens(busy({ inFlight: 0, kvTokensUnseen: 1_600 }))).toBe(Number.POSITIVE_INFINITY)
  expect(rule.isReady(busy({ awaitingFirstToken: 3 }))).toBe(true)
  expect(rule.isReady(busy({ awaitingFirstToken: 4 }))).toBe(false)
  expect(rule.isReady(busy({ awaitingFirstToken: 4, waiting: 0, waitingMost: 2 }))).toBe(true)
})

test('while one instance is ready a call may join a longer queue where memory has room, unless the rule says no', () => {
  const two = [sketchInstance({ inFlight: 9, awaitingFirstToken: 9 }, 0), sketchInstance({ inFlight: 1 }, 1)]
  const offered = (readyOnly: boolean): number[] => {
    const queue = createQueue({ readyOnly })
    queue.join(heldCall(), 0)
    const released = queue.release(two, 2, 0)
    return released ? released.instances.slice(0, released.count).map((one) => one.slot) : []
  }
  expect(offered(false)).toEqual([0, 1])
  expect(offered(true)).toEqual([1])
})

test('only instances with room are offered, and the next in order waits for its room though a later one would fit', () => {
  const queue = createQueue()
  const large = heldCall({ promptTokens: 500, predictedOutputTokens: 1 })
  const small = heldCall({ promptTokens: 10, predictedOutputTokens: 100 })
  queue.join(large, 0)
  queue.join(small, 0)
  const tight = [sketchInstance({ inFlight: 2, kvBlocks: 100, promptTokens: 1_100 }, 0)]
  expect(queue.release(tight, 1, 0)).toBeUndefined()
  const two = [...tight, sketchInstance({ inFlight: 2, kvBlocks: 100, promptTokens: 800 }, 1)]
  const first = queue.release(two, 2, 0)
  expect([first?.held, first?.instances[0], first?.count]).toEqual([large, two[1], 1])
  expect(queue.release(two, 2, 0)?.count).toBe(2)
  expect(queue.length).toBe(0)
})

test('while nobody waits a call passes without a seat; behind others, or where nothing is open, it has to join', () => {
  const queue = createQueue()
  expect(queue.pass(heldCall(), open, 1, 0)).toMatchObject({ count: 1, why: 'room' })
  expect([queue.length, queue.wakeAtMs]).toEqual([0, Number.POSITIVE_INFINITY])
  expect(queue.pass(heldCall(), closed, 1, 0)).toBeUndefined()
  expect(queue.pass(heldCall({ accepts: () => false }), open, 1, 0)).toBeUndefined()
  queue.join(heldCall(), 0)
  expect(queue.pass(heldCall(), open, 1, 0)).toBeUndefined()
})

test('a call whose own instances are closed is passed over by the others', () => {
  const queue = createQueue({ order: 'fcfs' })
  const bound = heldCall({ accepts: (instance) => instance.slot === 1 })
  const free = heldCall({ arrivedMs: 1 })
  queue.join(bound, 0)
  queue.join(free, 1)
  const two = [sketchInstance({ inFlight: 1 }, 0), sketchInstance({ inFlight: 9, awaitingFirstToken: 9 }, 1)]
  expect(queue.release(two, 2, 2)?.held).toBe(free)
  expect(queue.release(two, 2, 2)).toBeUndefined()
  const released = queue.release([two[0]!, sketchInstance({ inFlight: 1 }, 1)], 2, 2)
  expect([released?.held, released?.count, released?.instances[0]?.slot]).toEqual([bound, 1, 1])
})

test('a caller who leaves while held frees its seat; beyond the last seat nobody is held', () => {
  const queue = createQueue({}, { seatsMax: 2 })
  const [a, b, c] = [heldCall(), heldCall(), heldCall()]
  expect([queue.join(a!, 0), queue.join(b!, 0), queue.join(c!, 0)]).toEqual([true, true, false])
  expect(queue.leave(a!, 1)).toBe(true)
  expect(queue.leave(a!, 1)).toBe(false)
  expect(queue.join(c!, 2)).toBe(true)
  expect(() => queue.join(c!, 2)).toThrow('held already')
  expect(queue.drain(3)).toEqual([b, c])
  expect([queue.length, queue.wakeAtMs]).toEqual([0, Number.POSITIVE_INFINITY])
})

test('a caller who told how long it waits for a first token is held for half of that at most', () => {
  const queue = createQueue()
  queue.join(heldCall(), 0)
  queue.join(heldCall({ sloTtftMs: 3_000 }), 0)
  expect(queue.wakeAtMs).toBe(1_500)
  expect(queue.release(closed, 1, 1_499)).toBeUndefined()
  expect(queue.release(closed, 1, 1_500)?.why).toBe('deadline')
  expect(queue.wakeAtMs).toBe(60_000)
})

test('a group of long answers is slowed, not shut out: its share of starts stays above half its share of arrivals', () => {
  const startsOfLong = (fairFloorRatio: number): number => {
    const queue = createQueue({ agePerSecond: 0 }, { fairFloorRatio, heldMsMax: 1e9, seatsMax: 1e6 })
    let long = 0
    for (let second = 0; second < 60; second++) {
      for (let k = 0; k < 10; k++) {
        const nowMs = second * 1_000 + k * 100
        const isLong = k % 2 === 0
        queue.join(heldCall({ tenant: isLong ? 'long' : 'short', predictedOutputTokens: isLong ? 2_000 : 10, arrivedMs: nowMs }), nowMs)
        if (k % 2 === 0 && queue.release(open, 1, nowMs)?.held.call.caller.tenant === 'long') long++
      }
    }
    return long / 300
  }
  expect(startsOfLong(0)).toBeLessThan(0.01)
  const share = startsOfLong(0.5)
  expect(share).toBeGreaterThan(0.24)
  expect(share).toBeLessThan(0.27)
})

const events = fc.array(
  fc.record({
    afterMs: fc.nat(5_000),
    kind: fc.constantFrom('join', 'join', 'leave', 'pump'),
    promptTokens: fc.integer({ min: 1, max: 5_000 }),
    predictedOutputTokens: fc.oneof(fc.integer({ min: 1, max: 3_000 }), fc.constant(Number.NaN)),
    priority: fc.integer({ min: -3, max: 3 }),
    tenant: fc.constantFrom('a', 'b', 'c'),
    bound: fc.boolean(),
    awaitingFirstToken: fc.nat(8),
    kvUsed: fc.nat(16_000),
  }),
  { maxLength: 80 },
)
test.each(HOLD_ORDERS)(
  '%s: every held call is released by its deadline, gives up, or sits here; none is lost, none comes twice (I1)',
  (name) => {
    fc.assert(
      fc.property(events, (list) => {
        const queue = createQueue({ order: name }, { heldMsMax: 7_000, seatsMax: 20 })
        const sitting = new Set<HeldCall>()
        let nowMs = 0
        const pump = (instances: ReturnType<typeof sketchInstance>[]): void => {
          for (let out = queue.release(instances, 2, nowMs); out; out = queue.release(instances, 2, nowMs)) {
            expect(sitting.delete(out.held)).toBe(true)
            expect(nowMs - out.held.arrivedMs).toBeLessThanOrEqual(7_000)
            for (let i = 0; i < out.count; i++) expect(out.held.accepts?.(out.instances[i]!) ?? true).toBe(true)
            if (out.why === 'room') expect(out.count).toBeGreaterThan(0)
          }
        }
        for (const { afterMs, kind, kvUsed, awaitingFirstToken, bound, ...rest } of list) {
          const untilMs = nowMs + afterMs
          const busy = { inFlight: 9, kvBlocks: 1_000, promptTokens: kvUsed, awaitingFirstToken }
          const instances = [sketchInstance(busy, 0), sketchInstance({ ...busy, awaitingFirstToken: 8 }, 1)]
          while (queue.wakeAtMs <= untilMs) {
            nowMs = queue.wakeAtMs
            pump(instances)
          }
          nowMs = untilMs
          if (kind === 'join') {
            const held = heldCall({ ...rest, arrivedMs: nowMs, ...(bound ? { accepts: (one) => one.slot === 1 } : {}) })
            if (queue.join(held, nowMs)) sitting.add(held)
          } else if (kind === 'leave') {
            for (const held of [...sitting].slice(0, 1)) expect(sitting.delete(held) && queue.leave(held, nowMs)).toBe(true)
          } else pump(instances)
          expect(queue.length).toBe(sitting.size)
        }
        expect(new Set(queue.drain(nowMs))).toEqual(sitting)
      }),
      { numRuns: 200 },
    )
  },
)
