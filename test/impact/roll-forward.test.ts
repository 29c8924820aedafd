import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { DispatchView } from '../../plugin/fleet/instance.ts'
import type { EngineShape } from '../../plugin/impact/engine-shape.ts'
import { peakPrefillTokensPerMs, shapeOfSpeed } from '../../plugin/impact/engine-shape.ts'
import { type NewCall, RollForward } from '../../plugin/impact/roll-forward.ts'
import { addChunk, addDecode, emptyWork, simpleLaw, stepMs } from '../../plugin/impact/step.ts'
import { createRng } from '../../plugin/rng.ts'
import { sketchInstance } from '../fakes/instances.ts'

const law = simpleLaw({ t0: 10, a: 0.1, a2: 1e-5, b: 0.2, c: 1e-3 })
const roomy = { law, kvBlocks: 1e6, seats: 256, budgetTokens: 512, admissionKvRatio: 1 }

function roll(shape: EngineShape, open: readonly Partial<DispatchView>[], own?: NewCall) {
  const forward = new RollForward()
  const awaitingFirstToken = open.filter((one) => !(one.firstTokenMs! >= 0)).length
  forward.load(sketchInstance({ inFlight: open.length, awaitingFirstToken, open }, 0), 0)
  const endsMs = forward.run(shape, own)
  return { endsMs, ttftMs: forward.ownTtftMs, e2eMs: forward.ownE2eMs }
}

test('a call alone: its prefill, then each decode step a little longer than the last', () => {
  const own = { promptTokens: 100, uncachedPromptTokens: 100, outputTokens: 4 }
  // Prefill 10 + 0.1·100 + 1e-5·100² = 20.1; three steps of 10 + 0.2 + 1e-3·(101, 102, 103).
  for (const order of ['v0', 'v1'] as const) {
    const { ttftMs, e2eMs } = roll({ ...roomy, order }, [], own)
    expect(ttftMs).toBeCloseTo(20.1, 9)
    expect(e2eMs).toBeCloseTo(20.1 + 30.6 + 0.306, 9)
  }
})

test('v0 stops the decoding call for the whole prefill; v1 lengthens one of its steps', () => {
  const decoding = { promptTokens: 50, firstTokenMs: 0, outputTokens: 10, predictedOutputTokens: 13 }
  const own = { promptTokens: 100, uncachedPromptTokens: 100, outputTokens: 1 }
  const alone = 3 * 10.2 + 1e-3 * (60 + 61 + 62)
  expect(roll({ ...roomy, order: 'v0' }, [decoding]).endsMs).toBeCloseTo(alone, 9)
  expect(roll({ ...roomy, order: 'v0' }, [decoding], own).endsMs).toBeCloseTo(alone + 20.1, 9)
  expect(roll({ ...roomy, order: 'v1' }, [decoding], own).endsMs).toBeCloseTo(alone + 10.1, 9)
})

test('a call for which there is no memory waits for an end', () => {
  const decoding = { promptTokens: 50, firstTokenMs: 0, outputTokens: 1, predictedOutputTokens: 3 }
  const own = { promptTokens: 100, uncachedPromptTokens: 100, outputTokens: 1 }
  const tight = { ...roomy, order: 'v0' as const, kvBlocks: 9 }
  expect(roll(tight, [decoding], own).ttftMs).toBeCloseTo(2 * 10.2 + 1e-3 * (51 + 52) + 20.1, 9)
  expect(roll({ ...tight, kvBlocks: 10 }, [decoding], own).ttftMs).toBeCloseTo(20.1, 9)
})

test('a call that outlived its prediction goes on for a fifth of what it has produced', () => {
  const outlived = { promptTokens: 0, firstTokenMs: 0, outputTokens: 50, predictedOutputTokens: 20 }
  const expected = Array.from({ length: 10 }, (_, k) => 10.2 + 1e-3 * (50 + k)).reduce((a, b) => a + b)
  expect(roll({ ...roomy, order: 'v1' }, [outlived]).endsMs).toBeCloseTo(expected, 9)
})

test('foreign calls slow every step and never end', () => {
  const forward = new RollForward()
  forward.load(sketchInstance({ foreignInFlight: 3, kvTokensUnseen: 600 }, 0), 0)
  const own = { promptTokens: 10, uncachedPromptTokens: 10, outputTokens: 2 }
  forward.run({ ...roomy, order: 'v1' }, own)
  expect(forward.ownE2eMs).toBeCloseTo(10 + 0.6 + 0.6 + 1 + 1e-3 + 10 + 0.8 + 1e-3 * 611, 9)
})

interface Plain {
  prompt: number
  computed: number
  produced: number
  output: number
  own: boolean
}

/** The same belief, step by step: every step a list of chunks and decodes. */
function stepByStep(shape: EngineShape, open: readonly DispatchView[], own: NewCall) {
  const running: Plain[] = []
  const waiting: Plain[] = []
  for (const one of open) {
    const answered = !Number.isNaN(one.firstTokenMs)
    const produced = answered ? one.outputTokens : 0
    const computed = answered ? one.promptTokens + produced - 1 : one.promptTokens - one.uncachedPromptTokens
    const call = { prompt: one.promptTokens, computed, produced, output: one.predictedOutputTokens, own: false }
    ;(answered ? running : waiting).push(call)
  }
  const computed = own.promptTokens - own.uncachedPromptTokens
  waiting.push({ prompt: own.promptTokens, computed, produced: 0, output: own.outputTokens, own: true })
  const result = { endsMs: 0, ttftMs: Number.NaN, e2eMs: Number.NaN }
  for (let nowMs = 0; running.length + waiting.length > 0; ) {
    const work = emptyWork()
    const taken = new Map<Plain, number>()
    let budget = shape.budgetTokens
    const decode = (): void => {
      for (const call of running) {
        const tokens = Math.min(call.prompt + call.produced - call.computed, budget)
        if (call.produced > 0) addDecode(work, call.computed + 1)
        else addChunk(work, { tokens, cachedTokens: call.computed })
        taken.set(call, tokens)
        budget -= tokens
      }
    }
    const start = (whole: boolean): void => {
      while (waiting.length > 0 && budget > 0 && running.length < shape.seats) {
        const call = waiting[0]!
        if (whole && taken.size > 0 && call.prompt > budget) break
        const tokens = whole ? call.prompt - call.computed : Math.min(call.prompt - call.computed, budget)
        addChunk(work, { tokens, cachedTokens: call.computed })
        taken.set(call, tokens)
        budget -= tokens
        running.push(waiting.shift()!)
      }
    }
    if (shape.order === 'v1') decode()
    start(shape.order === 'v0')
    if (taken.size === 0) decode()
    nowMs += stepMs(shape.law, work)
    for (const [call, tokens] of taken) {
      call.computed += tokens
      if (call.computed < call.prompt + call.produced) continue
      call.produced++
      if (call.produced === 1 && call.own) result.ttftMs = nowMs
      if (call.produced < call.output) continue
      running.splice(running.indexOf(call), 1)
      if (call.own) result.e2eMs = nowMs
      else result.endsMs += nowMs
    }
  }
  return result
}

const dispatches = fc.array(
  fc
    .record({
      promptTokens: fc.integer({ min: 1, max: 900 }),
      cached: fc.nat(500),
      produced: fc.nat(40),
      left: fc.integer({ min: 1, max: 60 }),
    })
    .map(({ promptTokens, cached, produced, left }) => ({
      stream: true,
      promptTokens,
      uncachedPromptTokens: Math.max(1, promptTokens - cached),
      predictedOutputTokens: produced + Math.max(left, Math.ceil(0.2 * produced)),
      dispatchedMs: 0,
      firstTokenMs: produced > 0 ? 1 : Number.NaN,
      outputTokens: produced,
    })),
  { maxLength: 24 },
)
test.each(['v0', 'v1'] as const)('%s: jumping from end to end is the same as stepping, to 1e-9', (order) => {
  fc.assert(
    fc.property(dispatches, fc.integer({ min: 1, max: 700 }), fc.integer({ min: 1, max: 80 }), (open, promptTokens, outputTokens) => {
      const own = { promptTokens, uncachedPromptTokens: Math.ceil(promptTokens / 2), outputTokens }
      const shape = { ...roomy, order, seats: 40 }
      const jumped = roll(shape, open, own)
      const stepped = stepByStep(shape, open, own)
      for (const key of ['endsMs', 'ttftMs', 'e2eMs'] as const) {
        expect(Math.abs(jumped[key] - stepped[key])).toBeLessThanOrEqual(1e-9 * Math.max(1, stepped[key]))
      }
    }),
    { numRuns: 200 },
  )
})

test('one more call never ends the others earlier', () => {
  fc.assert(
    fc.property(dispatches, fc.constantFrom('v0' as const, 'v1' as const), (open, order) => {
      const own = { promptTokens: 200, uncachedPromptTokens: 200, outputTokens: 20 }
      expect(roll({ ...roomy, order }, open, own).endsMs).toBeGreaterThanOrEqual(roll({ ...roomy, order }, open).endsMs - 1e-6)
    }),
  )
})

test('an instance without a profile is the reference at its speed', () => {
  expect(peakPrefillTokensPerMs(shapeOfSpeed(2))).toBeCloseTo(2 * peakPrefillTokensPerMs(shapeOfSpeed(1)), 9)
  // 4.116 + 0.06811·2048 = 143.6 ms for 2,048 tokens.
  expect(peakPrefillTokensPerMs(shapeOfSpeed(1))).toBeCloseTo(2_048 / 143.605, 3)
})

test('a deep queue of equal calls, taken together, comes out nearly as one by one, and more calls wait longer', () => {
  const waiting = (count: number) => Array.from({ length: count }, () => ({ promptTokens: 120, predictedOutputTokens: 30 }))
  const own = { promptTokens: 120, uncachedPromptTokens: 120, outputTokens: 30 }
  for (const order of ['v0', 'v1'] as const) {
    const shape = { ...roomy, order, seats: 24 }
    const deep = roll(shape, waiting(640), own)
    const plain = stepByStep(shape, waiting(640).map(dispatchOf), own)
    for (const key of ['endsMs', 'ttftMs', 'e2eMs'] as const) expect(Math.abs(deep[key] / plain[key] - 1), key).toBeLessThan(0.2)
    expect(roll(shape, waiting(700), own).e2eMs).toBeGreaterThan(deep.e2eMs)
  }
})

test('a crowd of running calls, neighbours taken together, comes out nearly as one by one', () => {
  const rng = createRng(17)
  const open = Array.from({ length: 240 }, () => {
    const produced = 1 + rng.int(60)
    return { promptTokens: 20 + rng.int(300), predictedOutputTokens: produced + 15 + rng.int(200), firstTokenMs: 1, outputTokens: produced }
  })
  const own = { promptTokens: 100, uncachedPromptTokens: 100, outputTokens: 50 }
  const shape = { ...roomy, order: 'v1' as const }
  const plain = stepByStep(shape, open.map(dispatchOf), own)
  const rolled = roll(shape, open, own)
  for (const key of ['endsMs', 'ttftMs', 'e2eMs'] as const) expect(Math.abs(rolled[key] / plain[key] - 1), key).toBeLessThan(0.01)
})

test('an answer that comes whole is believed to grow at the usual pace of such answers, all but those that wait', () => {
  const sketch = (more: object) => {
    const open = [100, 900].map((dispatchedMs) => ({ stream: false, promptTokens: 50, predictedOutputTokens: 100, dispatchedMs }))
    return sketchInstance({ inFlight: 2, awaitingFirstToken: 2, awaitingWhole: 2, open, ...more }, 0)
  }
  const endsAt = (more: object) => {
    const forward = new RollForward()
    forward.load(sketch(more), 1_000)
    return forward.run({ ...roomy, order: 'v1' })
  }
  const streams = (...produced: number[]) => {
    const open = produced.map((outputTokens) => ({
      promptTokens: 50,
      predictedOutputTokens: 100,
      outputTokens,
      firstTokenMs: outputTokens > 0 ? 1 : Number.NaN,
    }))
    return roll({ ...roomy, order: 'v1' }, open).endsMs
  }
  // 900 and 100 ms at 12 ms per token.
  expect(endsAt({ wholePaceMs: 12 })).toBeCloseTo(streams(75, 8), 9)
  expect(endsAt({ wholePaceMs: 12, waiting: 1 })).toBeCloseTo(streams(75, 0), 9)
  expect(endsAt({ wholePaceMs: 12, waiting: 2 })).toBeCloseTo(streams(0, 0), 9)
  expect(endsAt({})).toBeCloseTo(streams(0, 0), 9)
})

function dispatchOf(given: { promptTokens: number; predictedOutputTokens: number } & Partial<DispatchView>): DispatchView {
  return { stream: true, uncachedPromptTokens: given.promptTokens, dispatchedMs: 0, firstTokenMs: Number.NaN, outputTokens: 0, ...given }
}
