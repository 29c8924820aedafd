import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { HeldCall } from '../../plugin/hold/rule.ts'
import { DEFER, type TickAgent, TickQueue } from '../../plugin/hold/tick-queue.ts'
import { sketchCall, sketchInstance } from '../fakes/instances.ts'

const TICK_MS = 20
const instances = [sketchInstance({ inFlight: 0 }, 0), sketchInstance({ inFlight: 0 }, 1)]
const held = (callId: number, arrivedMs: number): HeldCall => ({
  call: sketchCall({ callId }),
  promptTokens: 10,
  predictedOutputTokens: 10,
  arrivedMs,
})

function createQueue(decide: TickAgent<HeldCall>['decide']): TickQueue<HeldCall> {
  return new TickQueue({ agent: { decide }, tickMs: TICK_MS })
}

test('a call waits for the next tick, and goes where the agent says', () => {
  const queue = createQueue(() => 1)
  const call = held(1, 25)
  queue.join(call, 25)
  expect(queue.wakeAtMs).toBe(40)
  expect(queue.release(instances, 2, 39)).toBeUndefined()
  expect(queue.release(instances, 2, 40)).toMatchObject({ held: call, instances: [instances[1]], count: 1 })
  expect(queue.wakeAtMs).toBe(Number.POSITIVE_INFINITY)
})

test('a deferred head keeps everybody waiting until the next tick, whatever else asks in between', () => {
  let asked = 0
  const queue = createQueue(() => (asked++ === 0 ? DEFER : 0))
  const calls = [held(1, 0), held(2, 5)]
  for (const call of calls) queue.join(call, 10)
  expect(queue.release(instances, 2, 20)).toBeUndefined()
  expect(queue.release(instances, 2, 25)).toBeUndefined()
  expect(asked).toBe(1)
  expect(queue.wakeAtMs).toBe(40)
  expect([queue.release(instances, 2, 40)?.held, queue.release(instances, 2, 40)?.held]).toEqual(calls)
})

test('a caller that leaves while held is decided no more', () => {
  const queue = createQueue(() => 0)
  const [first, second] = [held(1, 0), held(2, 0)]
  queue.join(first, 0)
  queue.join(second, 0)
  expect(queue.leave(first, 10)).toBe(true)
  expect(queue.leave(first, 10)).toBe(false)
  expect(queue.release(instances, 2, 20)?.held).toBe(second)
  expect(queue.length).toBe(0)
})

test('every call is released once, in order of arrival, at ticks alone', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(90), { maxLength: 40 }), fc.array(fc.integer({ min: -1, max: 1 }), { minLength: 1 }), (gaps, answers) => {
      let at = 0
      const queue = createQueue(() => answers[at++ % answers.length] as number)
      const wanted: number[] = []
      const released: number[] = []
      const take = (nowMs: number): void => {
        for (let next = queue.release(instances, 2, nowMs); next; next = queue.release(instances, 2, nowMs)) {
          released.push(next.held.call.callId)
          expect(nowMs % TICK_MS).toBe(0)
          expect(next.held.arrivedMs).toBeLessThanOrEqual(nowMs)
        }
      }
      let nowMs = 0
      for (const [i, gap] of gaps.entries()) {
        const arrivalMs = nowMs + gap
        while (queue.wakeAtMs < arrivalMs) take(queue.wakeAtMs)
        nowMs = arrivalMs
        queue.join(held(i, nowMs), nowMs)
        wanted.push(i)
        if (gap % 2 === 0 && queue.wakeAtMs > nowMs) expect(queue.release(instances, 2, nowMs)).toBeUndefined()
      }
      for (let tick = 0; tick < 1000 && queue.length > 0 && answers.some((one) => one >= 0); tick++) take(queue.wakeAtMs)
      if (answers.every((one) => one < 0)) expect(released).toEqual([])
      else expect(released).toEqual(wanted)
    }),
  )
})
