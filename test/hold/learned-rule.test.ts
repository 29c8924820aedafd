import fc from 'fast-check'
import { expect, test } from 'vitest'
import { HoldQueue } from '../../plugin/hold/hold-queue.ts'
import { createHoldRule } from '../../plugin/hold/hold-rules.ts'
import { createLearnedRule } from '../../plugin/hold/learned-rule.ts'
import type { HeldCall } from '../../plugin/hold/rule.ts'
import { blockOf, LEARNED_FEATURE_HASH, startParameters } from '../../plugin/placement/learned-model.ts'
import { profileNamed } from '../../plugin/simulation/profiles.ts'
import { type Sketch, sketchCall, sketchInstance } from '../fakes/instances.ts'

const model = { version: 'start', featureHash: LEARNED_FEATURE_HASH, parameters: startParameters(() => 0) }
const learned = (parameters = model.parameters) =>
  createLearnedRule({ model: { ...model, parameters }, shapeOf: () => profileNamed('v100-paper') })

let ids = 0
function heldCall(change: Partial<HeldCall> = {}): HeldCall {
  const caller = { application: 'app', tenant: 'app', priority: 0 }
  return { call: sketchCall({ callId: ++ids, caller }), promptTokens: 100, predictedOutputTokens: 50, arrivedMs: 0, ...change }
}

const instances = fc.array(
  fc.record({
    inFlight: fc.integer({ min: 1, max: 60 }),
    awaitingFirstToken: fc.nat(20),
    promptTokens: fc.nat(9_000),
    outputTokensDone: fc.nat(2_000),
    kvBlocks: fc.integer({ min: 100, max: 700 }),
  }),
  { minLength: 1, maxLength: 8 },
)

test('the start model opens where the kv-time rule with four waiting at most finds room and readiness', () => {
  fc.assert(
    fc.property(instances, fc.integer({ min: 1, max: 3_000 }), (sketches: Sketch[], promptTokens) => {
      const views = sketches.map((sketch, i) => sketchInstance(sketch, i))
      const held = heldCall({ promptTokens })
      const rule = learned()
      const plain = createHoldRule({ waitingMax: 4 })
      rule.look?.({ instances: views, count: views.length, held: 1, inTurnMs: 0, nowMs: 0 })
      for (const [i, view] of views.entries()) {
        // Exactly on the border rounding decides.
        const roomLeft = plain.roomTokens(view) - promptTokens
        if (Math.abs(roomLeft) < 1) continue
        const calm =
          view.ledger.awaitingFirstToken === 0 && view.ledger.promptTokens + view.ledger.outputTokensDone < 8 * view.scrape.kvBlocks
        if (calm) expect(rule.opens?.(held, i)).toBe(true)
        else if (view.ledger.awaitingFirstToken !== 4) expect(rule.opens?.(held, i)).toBe(plain.isReady(view) && roomLeft > 0)
      }
    }),
  )
})

test('of two calls that came together the smaller in every way goes first, and the longer a call waits the sooner its turn comes', () => {
  const size = fc.record({ promptTokens: fc.integer({ min: 1, max: 4_000 }), predictedOutputTokens: fc.integer({ min: 1, max: 2_000 }) })
  fc.assert(
    fc.property(size, fc.integer({ min: 10, max: 500 }), fc.integer({ min: 1_000, max: 90_000 }), (small, more, earlierMs) => {
      const rule = learned()
      rule.look?.({ instances: [sketchInstance({ inFlight: 1 }, 0)], count: 1, held: 2, inTurnMs: 10_000, nowMs: 100_000 })
      const key = (held: HeldCall) => rule.key(held, 100_000, rule.fixedKey?.(held) ?? 0)
      const large = { promptTokens: small.promptTokens + more, predictedOutputTokens: small.predictedOutputTokens + more }
      const at = { arrivedMs: 100_000 }
      expect(key(heldCall({ ...small, ...at }))).toBeLessThan(key(heldCall({ ...large, ...at })))
      expect(key(heldCall({ ...small, arrivedMs: 100_000 - earlierMs }))).toBeLessThan(key(heldCall({ ...small, ...at })))
    }),
  )
})

test('a calm fleet takes any call, whatever a model says', () => {
  const parameters = model.parameters.slice()
  blockOf(parameters, 'hold.conditions').fill(-9)
  const rule = learned(parameters)
  const views = [
    sketchInstance({ inFlight: 3, kvBlocks: 100, promptTokens: 700 }, 0),
    sketchInstance({ inFlight: 3, kvBlocks: 100, promptTokens: 900 }, 1),
  ]
  rule.look?.({ instances: views, count: 2, held: 1, inTurnMs: 0, nowMs: 0 })
  expect([0, 1].map((i) => rule.opens?.(heldCall(), i))).toEqual([true, false])
})

test('an idle instance is open to any call, and a model that computes no number holds nobody', () => {
  const view = [sketchInstance({ kvBlocks: 100 }, 0)]
  const rule = learned()
  rule.look?.({ instances: view, count: 1, held: 1, inTurnMs: 0, nowMs: 0 })
  expect(rule.opens?.(heldCall({ promptTokens: 1e6 }), 0)).toBe(true)
  const full = [sketchInstance({ inFlight: 9, kvBlocks: 100, promptTokens: 1_600 }, 0)]
  rule.look?.({ instances: full, count: 1, held: 1, inTurnMs: 0, nowMs: 0 })
  expect(rule.opens?.(heldCall(), 0)).toBe(false)
  rule.look?.({
    instances: [sketchInstance({ inFlight: 9, kvBlocks: 100, promptTokens: Number.NaN }, 0)],
    count: 1,
    held: 1,
    inTurnMs: Number.NaN,
    nowMs: 0,
  })
  expect(rule.opens?.(heldCall(), 0)).toBe(true)
})

test('every held call is released by its deadline, gives up or sits here, in the order of the keys as of the last look at all (I1)', () => {
  const steps = fc.array(
    fc.record({
      promptTokens: fc.integer({ min: 1, max: 900 }),
      predictedOutputTokens: fc.integer({ min: 1, max: 900 }),
      gapMs: fc.nat(400),
      leaves: fc.boolean(),
    }),
    { minLength: 1, maxLength: 60 },
  )
  fc.assert(
    fc.property(steps, (given) => {
      const queue = new HoldQueue<HeldCall>({ rule: learned(), options: { heldMsMax: 5_000 } })
      const full = [sketchInstance({ inFlight: 30, awaitingFirstToken: 30, kvBlocks: 100, promptTokens: 1_600 }, 0)]
      const open = [sketchInstance({ inFlight: 1, kvBlocks: 10_000, promptTokens: 100 }, 0)]
      const waiting = new Set<HeldCall>()
      let nowMs = 0
      for (const [i, { gapMs, leaves, ...size }] of given.entries()) {
        nowMs += gapMs
        const held = heldCall({ ...size, arrivedMs: nowMs })
        expect(queue.join(held, nowMs)).toBe(true)
        waiting.add(held)
        if (leaves) {
          expect(queue.leave(held, nowMs)).toBe(true)
          waiting.delete(held)
        }
        const instances = i % 5 === 4 ? open : full
        for (let next = queue.release(instances, 1, nowMs); next; next = queue.release(instances, 1, nowMs)) {
          expect(waiting.delete(next.held)).toBe(true)
          if (next.why === 'room') expect(instances).toBe(open)
          else expect(nowMs - next.held.arrivedMs).toBeGreaterThanOrEqual(5_000)
        }
        for (const one of waiting) expect(nowMs - one.arrivedMs).toBeLessThan(5_000)
        expect(queue.length).toBe(waiting.size)
      }
    }),
  )
})

test('in overload our own deadline follows the wait in turn; one that somebody set stands', () => {
  const full = [sketchInstance({ inFlight: 30, awaitingFirstToken: 30, kvBlocks: 100, promptTokens: 1_600 }, 0)]
  const open = [sketchInstance({ inFlight: 1, kvBlocks: 10_000, promptTokens: 100 }, 0)]
  const firstDeadline = (options?: { heldMsMax: number }): number => {
    const queue = new HoldQueue<HeldCall>({ rule: learned(), ...(options ? { options } : {}) })
    // One call of 150 tokens started per second, then a thousand come at once: a thousand seconds in turn.
    for (let s = 0; s < 60; s++) queue.pass(heldCall({ arrivedMs: 1_000 * s }), open, 1, 1_000 * s)
    for (let i = 0; i < 1_000; i++) queue.join(heldCall({ arrivedMs: 60_000 }), 60_000)
    const last = heldCall({ arrivedMs: 60_000 })
    queue.join(last, 60_000)
    let deadlineMs = Number.POSITIVE_INFINITY
    for (let nowMs = 60_000; deadlineMs === Number.POSITIVE_INFINITY && nowMs < 4_000_000; nowMs += 10_000)
      for (let next = queue.release(full, 1, nowMs); next; next = queue.release(full, 1, nowMs)) if (next.held === last) deadlineMs = nowMs
    return deadlineMs
  }
  expect(firstDeadline({ heldMsMax: 60_000 })).toBe(120_000)
  expect(firstDeadline()).toBeGreaterThan(1_000_000)
  expect(firstDeadline()).toBeLessThan(2_000_000)
})
