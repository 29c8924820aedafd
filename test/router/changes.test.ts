import { expect, test } from 'vitest'
import type { InstanceView } from '../../plugin/fleet/instance.ts'
import type { EngineShape } from '../../plugin/impact/engine-shape.ts'
import { emptyWork, stepMs } from '../../plugin/impact/step.ts'
import type { Finding } from '../../plugin/log/rows.ts'
import { createRng } from '../../plugin/rng.ts'
import { InstanceChanges } from '../../plugin/router-changes.ts'
import type { LiveTicket } from '../../plugin/router-ticket.ts'
import { profileNamed } from '../../plugin/simulation/profiles.ts'
import { sketchCall } from '../fakes/instances.ts'
import { createRouterBench } from '../fakes/router.ts'

const PROFILE = profileNamed('v100-llama-2-7b')

/** A router whose instances answer with a pace that the test sets; what was found of them is kept. */
function watchedRouter(stream = true) {
  const found: Finding[] = []
  const counted: string[] = []
  let nowUnixMs = 1e12
  const changes = new InstanceChanges({
    known: [],
    report: (finding) => void found.push(finding),
    count: (what) => void counted.push(what),
    clock: { nowUnixMs: () => nowUnixMs },
  })
  const bench = createRouterBench({
    instances: 2,
    parts: { events: { settled: (ticket, outcome) => changes.settled(ticket, outcome), count: () => undefined } },
  })
  const rng = createRng(3)
  const factors = new Map<string, number>()
  let callId = 0
  const serve = async (calls: number): Promise<number> => {
    const before = found.length
    for (let i = 1; i <= calls; i++) {
      nowUnixMs += 100
      const ticket = (await bench.router.place(sketchCall({ callId: ++callId, stream }), { gateway: 'test' })) as LiveTicket
      const tpotMs = 20 * (factors.get(ticket.instance.name) ?? 1) * Math.exp(0.2 * (rng.next() + rng.next() - 1))
      ticket.settle({
        kind: 'completed',
        e2eMs: 50 * tpotMs,
        ttftMs: 5 * tpotMs,
        tpotMs,
        outputTokens: 46,
        promptTokens: 100,
        censored: false,
      })
      if (found.length > before) return i
    }
    return Number.NaN
  }
  const instance = (name: string): InstanceView => bench.fleet.instance('m', name) as InstanceView
  return {
    changes,
    found,
    counted,
    serve,
    instance,
    slow: (name: string, factor: number) => void factors.set(name, factor),
    nowUnixMs: () => nowUnixMs,
  }
}

const stepOf = ({ law }: EngineShape): number => stepMs(law, { ...emptyWork(), tokens: 8, decoding: 8, contextTokens: 4_000 })

test('an instance that became twice as slow is noticed within 500 calls, told once, and its profile is taken twice as slow until it is as before', async () => {
  const { changes, found, counted, serve, instance, slow, nowUnixMs } = watchedRouter()
  expect(await serve(4_000)).toBeNaN()
  expect(changes.shapeOf(instance('i1'), PROFILE)).toBe(PROFILE)
  slow('i1', 2)
  // Both instances answer every second call.
  const changedUnixMs = nowUnixMs()
  expect(await serve(1_000)).toBeLessThanOrEqual(1_000)
  expect(found).toMatchObject([{ kind: 'instance changed', pool: 'm', instance: 'i1' }])
  const [change] = found as Extract<Finding, { kind: 'instance changed' }>[]
  expect(change!.factor).toBeGreaterThan(1.7)
  expect(change!.factor).toBeLessThan(2.3)
  expect(Math.abs(change!.sinceUnixMs - changedUnixMs)).toBeLessThan(30_000)
  expect(counted).toEqual(['instance changed'])
  const scaled = changes.shapeOf(instance('i1'), PROFILE) as EngineShape
  expect(stepOf(scaled) / stepOf(PROFILE)).toBeCloseTo(change!.factor)
  // The same object each time: policies remember what they worked out of a shape.
  expect(changes.shapeOf(instance('i1'), PROFILE)).toBe(scaled)
  expect(changes.shapeOf(instance('i0'), PROFILE)).toBe(PROFILE)
  expect(await serve(1_000)).toBeNaN()
  slow('i1', 1)
  expect(await serve(1_000)).toBeLessThanOrEqual(1_000)
  expect(found[1]).toMatchObject({ kind: 'change over', instance: 'i1' })
  expect(changes.shapeOf(instance('i1'), PROFILE)).toBe(PROFILE)
})

test('answers that come whole tell it as well', async () => {
  const { found, serve, slow } = watchedRouter(false)
  expect(await serve(4_000)).toBeNaN()
  slow('i1', 2)
  expect(await serve(1_000)).toBeLessThanOrEqual(1_000)
  expect(found).toMatchObject([{ kind: 'instance changed', instance: 'i1' }])
})

test('without a profile the shape of the configured speed is taken as slow as was observed', async () => {
  const { changes, serve, instance, slow } = watchedRouter()
  await serve(3_000)
  slow('i0', 3)
  await serve(1_000)
  const now = changes.shapeOf(instance('i0'), undefined) as EngineShape
  expect(now).toBeDefined()
  expect(changes.shapeOf(instance('i1'), undefined)).toBeUndefined()
})

test('a profile that was learned since ends a change, an older one does not; and so does a person', async () => {
  const { changes, found, serve, slow, nowUnixMs } = watchedRouter()
  await serve(3_000)
  slow('i0', 2)
  slow('i1', 2)
  await serve(1_000)
  await serve(1_000)
  expect(found.map(({ kind }) => kind)).toEqual(['instance changed', 'instance changed'])
  changes.learned('m', ['i0', 'i1'], { version: 'profile-old', registeredUnixMs: 1 })
  expect(found).toHaveLength(2)
  changes.learned('m', ['i0'], { version: 'profile-new', registeredUnixMs: nowUnixMs() })
  expect(found[2]).toMatchObject({ kind: 'change over', instance: 'i0', words: expect.stringContaining('profile-new') })
  expect(changes.accept('m', 'i1')).toMatch(/taken for what it is now/)
  expect(() => changes.accept('m', 'i1')).toThrow('no change of i1 in pool m holds')
})
