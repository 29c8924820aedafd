import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { HoldQueue } from '../../plugin/hold/hold-queue.ts'
import { createHoldRule } from '../../plugin/hold/hold-rules.ts'
import { createTwinPolicy } from '../../plugin/placement/policies.ts'
import { createRng } from '../../plugin/rng.ts'
import type { HeldSlot } from '../../plugin/simulation/fleet/call-table.ts'
import type { FleetEvent } from '../../plugin/simulation/fleet/machine.ts'
import { Simulation } from '../../plugin/simulation/fleet/simulation.ts'
import type { CallEnd, SimulationOptions } from '../../plugin/simulation/fleet/simulation-options.ts'
import { isOracle, type OracleName, revealOutput, sealOutput } from '../../plugin/simulation/fleet/truth.ts'
import { callerOf, describeCall, streamOf, type TwinCall } from '../../plugin/simulation/fleet/twin-call.ts'
import { type Profile, profileNamed } from '../../plugin/simulation/profiles.ts'

const A100 = profileNamed('a100-7b')

interface Sketch {
  readonly atMs: number
  readonly prompt: number
  readonly output: number
  readonly predicted?: number
  readonly leavesAfterMs?: number
  readonly priority?: number
}

function callOf(sketch: Sketch, i: number): TwinCall {
  return {
    atMs: sketch.atMs,
    promptTokens: sketch.prompt,
    outputTokens: sealOutput(sketch.output),
    predictedTokens: sketch.predicted ?? sketch.output,
    call: describeCall({
      id: i + 1,
      atMs: sketch.atMs,
      promptTokens: sketch.prompt,
      caller: { ...callerOf('app'), priority: sketch.priority ?? 0 },
    }),
    blockHashes: [],
    ...(sketch.leavesAfterMs === undefined ? {} : { leavesAfterMs: sketch.leavesAfterMs }),
  }
}

function play(
  sketches: readonly Sketch[],
  change: Partial<SimulationOptions> & { readonly policyName?: string; readonly profile?: Profile } = {},
) {
  const { policyName = 'least-request', profile = A100, ...options } = change
  const ends: CallEnd[] = []
  const simulation = new Simulation({
    fleet: [0, 1, 2].map((i) => ({ name: `i${i}`, profile })),
    calls: streamOf(sketches.map(callOf)),
    policy: () => createTwinPolicy(policyName),
    policyName,
    rng: createRng(3),
    onEnd: (end) => void ends.push(end),
    ...options,
  })
  return { ends, totals: simulation.run(), simulation }
}

const steady = (count: number, everyMs: number, shape: Omit<Sketch, 'atMs'> = { prompt: 100, output: 40 }): Sketch[] =>
  Array.from({ length: count }, (_, i) => ({ atMs: i * everyMs, ...shape }))

const meanE2e = (ends: readonly CallEnd[]): number => ends.reduce((sum, end) => sum + end.endedMs - end.arrivedMs, 0) / ends.length

const sketches = fc.array(
  fc.record({
    gapMs: fc.double({ min: 0, max: 80, noNaN: true }),
    prompt: fc.integer({ min: 1, max: 900 }),
    output: fc.integer({ min: 1, max: 120 }),
    predicted: fc.oneof(fc.constant(Number.NaN), fc.integer({ min: 1, max: 300 })),
    leavesAfterMs: fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, fc.double({ min: 0, max: 4000, noNaN: true })),
  }),
  { minLength: 1, maxLength: 80, size: 'max' },
)

const script = fc.array(
  fc.record({
    atMs: fc.double({ min: 0, max: 4000, noNaN: true }),
    instance: fc.constantFrom('i0', 'i1', 'i2'),
    what: fc.constantFrom('join', 'drain', 'die', 'recover', 'slow'),
  }),
  { maxLength: 8 },
)

/** Whatever happened, everybody is there again in the end. */
const healed: FleetEvent[] = ['i0', 'i1', 'i2'].flatMap((instance) => [
  { atMs: 5000, instance, what: 'recover' as const },
  { atMs: 5000, instance, what: 'join' as const },
])

describe('a simulated fleet', () => {
  test('ends every call exactly once, in order of time, and no sooner than it started (I1, I2, I9)', () => {
    const circumstances = fc.record({
      routers: fc.constantFrom(1, 2, 4),
      scrapeMs: fc.constantFrom(0, 50, 1000, { queueMs: 100, kvMs: 1000 }),
      networkMs: fc.constantFrom(0, 3),
      decisionMs: fc.constantFrom(0, 1),
      policyName: fc.constantFrom('least-request', 'round-robin', 'weighted', 'size-interval', 'cache-aware', 'selective-push'),
      hold: fc.boolean(),
      retries: fc.boolean(),
      kvBlocks: fc.constantFrom(90, 6000),
    })
    fc.assert(
      fc.property(sketches, script, circumstances, (drawn, events, { hold, retries, kvBlocks, ...rest }) => {
        let atMs = 0
        const calls = drawn.map(({ gapMs, leavesAfterMs, ...call }) => {
          atMs += gapMs
          return { atMs, ...call, ...(leavesAfterMs === undefined ? {} : { leavesAfterMs }) }
        })
        const played = (): CallEnd[] =>
          play(calls, {
            ...rest,
            profile: { ...A100, kvBlocks },
            script: [
              ...events.map((event) => (event.what === 'slow' ? { ...event, what: 'slow' as const, factor: 3 } : (event as FleetEvent))),
              ...healed,
            ],
            ...(hold ? { hold: () => new HoldQueue<HeldSlot>({ rule: createHoldRule({ order: 'kv-time' }) }) } : {}),
            ...(retries ? { clientRetries: { times: 2, afterMs: 300 } } : {}),
          }).ends
        const ends = played()
        expect(ends.map((end) => end.index).sort((a, b) => a - b)).toEqual(calls.map((_, i) => i))
        for (const end of ends) {
          expect(end.arrivedMs).toBe(calls[end.index]!.atMs)
          expect(end.endedMs).toBeGreaterThanOrEqual(end.arrivedMs)
          if (end.ending !== 'completed') continue
          expect(end.placedMs).toBeGreaterThanOrEqual(end.arrivedMs)
          expect(end.firstTokenMs).toBeGreaterThan(end.placedMs)
          expect(end.endedMs).toBeGreaterThanOrEqual(end.firstTokenMs)
          expect(end.outputTokens).toBe(calls[end.index]!.output)
        }
        // The same once more gives the same to the last digit (I6).
        expect(played()).toEqual(ends)
      }),
      { numRuns: 120 },
    )
  })

  test('a call alone on the fleet takes what its engine takes', () => {
    const { ends } = play([{ atMs: 10, prompt: 200, output: 3 }])
    const t = (tokens: number, context: number): number => 8.5 + 0.05 + 3.4e-4 * context + 0 * tokens
    const prefillMs = 8.5 + 0.075 * 200 + 1.5e-6 * 200 * 200
    expect(ends[0]!.firstTokenMs - 10).toBeCloseTo(prefillMs, 6)
    expect(ends[0]!.endedMs - 10).toBeCloseTo(prefillMs + t(1, 201) + t(1, 202), 6)
  })

  test('network and decision time are paid once each way', () => {
    const call = [{ atMs: 0, prompt: 200, output: 3 }]
    const direct = play(call).ends[0]!
    const far = play(call, { networkMs: 5, decisionMs: 2 }).ends[0]!
    expect(far.endedMs - direct.endedMs).toBeCloseTo(12, 9)
  })

  test('a drained instance ends its calls and gets no more; one that joins gets some', () => {
    const instances = (ends: readonly CallEnd[], from: number): Set<number> =>
      new Set(ends.filter((end) => end.arrivedMs > from).map((end) => end.instance))
    const drained = play(steady(300, 10), { script: [{ atMs: 1000, instance: 'i1', what: 'drain' }] })
    expect(drained.ends.every((end) => end.ending === 'completed')).toBe(true)
    expect(instances(drained.ends, 1000)).toEqual(new Set([0, 2]))
    const fleet = [0, 1, 2].map((i) => ({ name: `i${i}`, profile: A100, absent: i === 2 }))
    const joined = play(steady(300, 10), { fleet, script: [{ atMs: 1500, instance: 'i2', what: 'join' }] })
    expect(
      instances(
        joined.ends.filter((end) => end.arrivedMs < 1500),
        0,
      ),
    ).toEqual(new Set([0, 1]))
    expect(instances(joined.ends, 1500)).toEqual(new Set([0, 1, 2]))
  })

  test('when an instance dies its calls without a token are placed elsewhere, the others are lost or asked again', () => {
    const script: FleetEvent[] = [{ atMs: 1000, instance: 'i1', what: 'die' }]
    const lost = play(steady(300, 10), { script }).ends.filter((end) => end.ending === 'failed')
    expect(lost.length).toBeGreaterThan(0)
    expect(lost.every((end) => end.firstTokenMs < 1000)).toBe(true)
    const asked = play(steady(300, 10), { script, clientRetries: { times: 3, afterMs: 500 } }).ends
    expect(asked.every((end) => end.ending === 'completed')).toBe(true)
  })

  test('a slow instance gets less work from least-request', () => {
    const { ends } = play(steady(600, 10, { prompt: 100, output: 60 }), { script: [{ atMs: 0, instance: 'i0', what: 'slow', factor: 4 }] })
    const share = ends.filter((end) => end.instance === 0).length / ends.length
    expect(share).toBeLessThan(0.2)
  })

  test('a caller who leaves while held or while decoding frees what it holds', () => {
    const small = { ...A100, kvBlocks: 40 }
    const crowd = steady(40, 1, { prompt: 300, output: 200, leavesAfterMs: 400 })
    const { ends, totals } = play([...crowd, { atMs: 2000, prompt: 300, output: 10 }], {
      profile: small,
      hold: () => new HoldQueue<HeldSlot>({ rule: createHoldRule({ order: 'kv-time' }) }),
    })
    expect(ends.filter((end) => end.ending === 'left').length).toBe(40)
    const last = ends.find((end) => end.index === 40)!
    expect(last.ending).toBe('completed')
    expect(last.firstTokenMs - last.arrivedMs).toBeLessThan(60)
    expect(totals.arrived).toBe(41)
  })

  test('four routers learn of each other by scraping: stale signals cost them', () => {
    const bursts = Array.from({ length: 900 }, (_, i) => ({ atMs: Math.floor(i / 12) * 900 + (i % 12), prompt: 1500, output: 20 }))
    const [fresh, stale] = [0, 5000].map((scrapeMs) => meanE2e(play(bursts, { policyName: 'vllm-dp', scrapeMs, routers: 4 }).ends))
    expect(stale!).toBeGreaterThan(1.05 * fresh!)
  })

  test('several routers that see only their own calls place worse than one', () => {
    const calls = steady(1200, 25, { prompt: 900, output: 60 }).map((call, i) => ({ ...call, output: 5 + ((i * 37) % 160) }))
    const [one, four] = [1, 4].map((routers) => meanE2e(play(calls, { routers, scrapeMs: Number.POSITIVE_INFINITY }).ends))
    expect(four!).toBeGreaterThan(one!)
  })

  test('an engine that schedules by priority starts the urgent ones first', () => {
    const fleet = [{ name: 'i0', profile: { ...A100, kvBlocks: 60 }, scheduling: 'priority' as const }]
    const crowd = steady(30, 1, { prompt: 300, output: 100 })
    const urgent = { atMs: 40, prompt: 300, output: 10, priority: 5 }
    const at = (scheduling: 'fcfs' | 'priority'): number => {
      const { ends } = play([...crowd, urgent], { fleet: fleet.map((one) => ({ ...one, scheduling })) })
      const end = ends.find((one) => one.index === 30)!
      return end.endedMs - end.arrivedMs
    }
    expect(at('priority')).toBeLessThan(at('fcfs') / 3)
  })

  test('the policy sees the prediction, an oracle the truth, and nobody else can open it', () => {
    const sealed = sealOutput(7)
    const oracle: OracleName = 'oracle-impact'
    expect(revealOutput(sealed, oracle)).toBe(7)
    expect(revealOutput(sealed, 'engine')).toBe(7)
    // @ts-expect-error a policy's own name does not open it
    revealOutput(sealed, 'impact')
    // @ts-expect-error nor can it be used as a number
    const leaked: number = sealed
    expect(leaked).toBe(7)
    expect(['oracle-impact', 'impact'].map(isOracle)).toEqual([true, false])
    const seen: number[] = []
    for (const policyName of ['least-request', 'oracle-impact']) {
      const inner = createTwinPolicy('least-request')
      const policy = {
        ...inner,
        onPlaced: (_: unknown, __: unknown, placed: { predictedOutputTokens: number }) => void seen.push(placed.predictedOutputTokens),
      }
      play([{ atMs: 0, prompt: 10, output: 50, predicted: 20 }], { policyName, policy: () => policy })
    }
    expect(seen).toEqual([20, 50])
  })
})
