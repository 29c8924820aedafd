import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EngineCore } from '../../plugin/simulation/engine/core.ts'
import { SequenceTable } from '../../plugin/simulation/engine/sequences.ts'
import { type Profile, profileNamed } from '../../plugin/simulation/profiles.ts'
import { createPlainEngine } from './plain/plain-engine.ts'

/** A call of a random workload. */
interface WorkloadCall {
  readonly atMs: number
  readonly promptTokens: number
  readonly outputTokens: number
  readonly blockHashes: readonly number[]
  readonly priority: number
  /** Ms after its arrival at which its caller leaves; Infinity: never. */
  readonly leavesAfterMs: number
}

interface Met {
  readonly firstMs: number[]
  readonly endMs: number[]
  preemptions: number
  hits: number
}

const nothing = (): Met => ({ firstMs: [], endMs: [], preemptions: 0, hits: 0 })

interface Settings {
  readonly profile: Profile
  readonly scheduling: 'fcfs' | 'priority'
}

/** When arrivals and departures happen, in order of time; an arrival goes before a departure of the same moment. */
function happenings(calls: readonly WorkloadCall[]): { readonly atMs: number; readonly call: number; readonly leaves: boolean }[] {
  const arrivals = calls.map((call, i) => ({ atMs: call.atMs, call: i, leaves: false }))
  const departures = calls.flatMap((call, i) =>
    Number.isFinite(call.leavesAfterMs) ? [{ atMs: call.atMs + call.leavesAfterMs, call: i, leaves: true }] : [],
  )
  return [...arrivals, ...departures].sort((a, b) => a.atMs - b.atMs)
}

function playPlain({ profile, scheduling }: Settings, calls: readonly WorkloadCall[]): Met {
  const engine = createPlainEngine({ profile, scheduling })
  const met = nothing()
  const events = happenings(calls)
  const left = new Set<number>()
  let nowMs = 0
  let next = 0
  const apply = (untilMs: number): void => {
    for (let event = events[next]; event && event.atMs <= untilMs; event = events[++next]) {
      if (event.leaves) {
        left.add(event.call)
        engine.abort(event.call)
      } else engine.submit({ id: event.call, ...calls[event.call]! })
    }
  }
  while (next < events.length || !engine.idle) {
    if (engine.idle) nowMs = events[next]!.atMs
    apply(nowMs)
    const step = engine.step()
    nowMs += step.durationMs
    // Whoever leaves while the step is under way does not hear of it.
    apply(nowMs - 1e-12)
    for (const { id, first, finished } of step.emitted) {
      if (left.has(id)) continue
      if (first) met.firstMs[id] = nowMs
      if (finished) met.endMs[id] = nowMs
    }
  }
  met.preemptions = engine.stats().preemptions
  met.hits = engine.stats().prefixHitTokens
  expect(engine.stats().kvBlocksUsed).toBe(0)
  return met
}

function playJumping({ profile, scheduling }: Settings, calls: readonly WorkloadCall[]): Met {
  const table = new SequenceTable()
  const core = new EngineCore({ table, profile, scheduling })
  const met = nothing()
  const slots = new Map<number, number>()
  const callOf: number[] = []
  let nowMs = 0
  const leave = (slot: number): void => {
    slots.delete(callOf[slot]!)
    table.release(slot)
  }
  const finishRun = (): void => {
    nowMs = core.endMs
    core.complete()
    for (const slot of core.events.first) met.firstMs[callOf[slot]!] = nowMs
    for (const slot of core.events.finished) {
      met.endMs[callOf[slot]!] = nowMs
      leave(slot)
    }
    for (const slot of core.events.aborted) leave(slot)
  }
  for (const event of happenings(calls)) {
    while (core.busy && core.endMs < event.atMs) {
      finishRun()
      core.begin(nowMs)
    }
    core.cut(event.atMs)
    if (core.busy && core.endMs === event.atMs) finishRun()
    if (!core.busy) nowMs = event.atMs
    if (event.leaves) {
      const slot = slots.get(event.call)
      if (slot !== undefined && core.abort(slot)) leave(slot)
    } else {
      const call = calls[event.call]!
      if (call.promptTokens < core.maxContextTokens) {
        const slot = table.claim()
        table.promptTokens[slot] = call.promptTokens
        table.outputTokens[slot] = call.outputTokens
        table.blockHashes[slot] = call.blockHashes
        table.priority[slot] = call.priority
        callOf[slot] = event.call
        slots.set(event.call, slot)
        core.submit(slot)
      }
    }
    if (!core.busy) core.begin(nowMs)
  }
  while (core.busy) {
    finishRun()
    core.begin(nowMs)
  }
  met.preemptions = core.state.counters.preemptions
  met.hits = core.state.counters.prefixHitTokens
  expect(core.idle).toBe(true)
  expect(core.state.kv.used).toBe(0)
  return met
}

const call = fc.record({
  gapMs: fc.oneof(fc.double({ min: 0, max: 20, noNaN: true }), fc.double({ min: 0, max: 600, noNaN: true })),
  promptTokens: fc.integer({ min: 1, max: 260 }),
  outputTokens: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 150 })),
  family: fc.integer({ min: 0, max: 3 }),
  answerKnown: fc.boolean(),
  priority: fc.integer({ min: 0, max: 3 }),
  leavesAfterMs: fc.oneof({ weight: 5, arbitrary: fc.constant(Number.POSITIVE_INFINITY) }, fc.double({ min: 0.1, max: 3000, noNaN: true })),
})

const workload = fc.array(call, { minLength: 1, maxLength: 80, size: 'max' }).map((drawn): WorkloadCall[] => {
  let atMs = 0
  return drawn.map(({ gapMs, family, answerKnown, ...rest }, i) => {
    // An irrational grain keeps arrivals off the step boundaries, where rounding alone would decide who is first.
    atMs += gapMs + Math.SQRT2 * 1e-4
    const known = rest.promptTokens + (answerKnown ? rest.outputTokens : 0)
    const blockHashes = Array.from({ length: known >> 4 }, (_, block) => (block < 4 ? family * 1000 + block : (i + 1) * 1e6 + block))
    return { atMs, blockHashes, ...rest }
  })
})

describe('the jumping engine equals the engine that goes step by step', () => {
  test.each([
    { order: 'v1', prefixCache: false },
    { order: 'v1', prefixCache: true },
    { order: 'v0', prefixCache: false },
    { order: 'v0', prefixCache: true },
  ] as const)('first tokens and ends to 1e-9, in $order order, prefix cache $prefixCache', ({ order, prefixCache }) => {
    const memory = fc.record({
      kvBlocks: fc.oneof(
        { weight: 3, arbitrary: fc.integer({ min: 18, max: 45 }) },
        { weight: 1, arbitrary: fc.integer({ min: 100, max: 1000 }) },
      ),
      seats: fc.integer({ min: 2, max: 40 }),
      budgetTokens: fc.oneof(fc.integer({ min: 3, max: 40 }), fc.integer({ min: 64, max: 512 })),
      base: fc.constantFrom('a100-llama-2-7b', 'rtx4090-llama-3.1-8b', 'v100-32g'),
      scheduling: fc.constantFrom('fcfs' as const, 'priority' as const),
    })
    let preemptions = 0
    fc.assert(
      fc.property(workload, memory, (calls, { base, scheduling, ...sizes }) => {
        const profile = { ...profileNamed(base), order, prefixCache, ...sizes }
        const plain = playPlain({ profile, scheduling }, calls)
        const jumping = playJumping({ profile, scheduling }, calls)
        preemptions += plain.preemptions
        expect(jumping.preemptions).toBe(plain.preemptions)
        expect(jumping.hits).toBe(plain.hits)
        calls.forEach((_, i) => {
          for (const [ours, theirs] of [
            [jumping.firstMs[i], plain.firstMs[i]],
            [jumping.endMs[i], plain.endMs[i]],
          ]) {
            expect(ours === undefined).toBe(theirs === undefined)
            if (ours !== undefined && theirs !== undefined) expect(Math.abs(ours - theirs)).toBeLessThanOrEqual(1e-9 * theirs)
          }
        })
      }),
      { numRuns: 300 },
    )
    expect(preemptions).toBeGreaterThan(100)
  })
})
