import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Outcome, OutcomeKind } from '../../plugin/outcome/outcome.ts'
import { AT, CALL_COLUMNS, CANDIDATE_COLUMNS, FEATURE_HASH } from '../../plugin/placement/features.ts'
import { createPolicy } from '../../plugin/placement/policies.ts'
import type { Policy } from '../../plugin/placement/policy.ts'
import { createRng } from '../../plugin/rng.ts'
import type { Ticket } from '../../plugin/router.ts'
import { createDecide } from '../../plugin/router-decide.ts'
import { sketchCall } from '../fakes/instances.ts'
import { createRouterBench } from '../fakes/router.ts'

const OPTIONS = { gateway: 'test' }

function outcome(kind: OutcomeKind, more: Partial<Outcome> = {}): Outcome {
  return { kind, e2eMs: 10, censored: kind !== 'completed', ...more }
}

test('placed = settled + in flight after any interleaving, each call settles once and leaves one row (I1, I2, I12)', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.integer({ min: 0, max: 4 }), fc.nat()), { maxLength: 120 }), async (steps) => {
      const { router, fleet, calls } = createRouterBench()
      const open: Ticket[] = []
      let placed = 0
      let settled = 0
      for (const [step, dice] of steps) {
        const ticket = open[dice % Math.max(1, open.length)]
        if (step <= 1 || !ticket) {
          open.push(await router.place(sketchCall({ callId: ++placed }), OPTIONS))
        } else if (step === 2) ticket.firstToken(dice)
        else if (step === 3) {
          const next = ticket.retry({ kind: 'full', error: 'full' })
          if (next) expect(next).toBe(ticket.instance)
        } else {
          ticket.settle(outcome((['completed', 'instance error', 'client gone', 'timed out'] as const)[dice % 4]!))
          expect(() => ticket.settle(outcome('completed'))).toThrow('I2')
          open.splice(open.indexOf(ticket), 1)
          settled++
        }
        expect(calls().length).toBe(settled)
      }
      for (const ticket of open) ticket.settle(outcome('completed'))
      expect(router.inFlight()).toBe(0)
      for (const one of fleet.instances('m')) {
        expect([one.ledger.inFlight, one.ledger.promptTokens, one.ledger.prefillTokensPending, one.ledger.outputTokensLeft]).toEqual([
          0, 0, 0, 0,
        ])
      }
      expect(calls().length).toBe(placed)
    }),
    { numRuns: 60 },
  )
})

test('the row the policy saw is the row that is logged (I7): the chosen first, as it was before the call joined', async () => {
  const { router, calls } = createRouterBench()
  const first = await router.place(sketchCall({ callId: 1 }), OPTIONS)
  const second = await router.place(sketchCall({ callId: 2, promptBytes: 4_000 }), OPTIONS)
  first.settle(outcome('completed'))
  second.settle(outcome('completed', { outputTokens: 7 }))
  const row = calls()[1]!
  expect(row.candidates?.featureHash).toBe(FEATURE_HASH)
  expect(row.candidates?.instances[0]?.name).toBe(second.placement.instance.name)
  expect(row.candidates?.features.length).toBe(CALL_COLUMNS.length + 3 * CANDIDATE_COLUMNS.length)
  expect(row.candidates?.features[0]).toBe(1_000)
  expect(row.candidates?.features[CALL_COLUMNS.length + AT.inFlight]).toBe(0)
  const inFlight = row.candidates!.instances.map(
    (_, k) => row.candidates!.features[CALL_COLUMNS.length + k * CANDIDATE_COLUMNS.length + AT.inFlight],
  )
  expect(inFlight.toSorted()).toEqual([0, 0, 1])
})

test('a policy that throws or gives no distribution is replaced by the fallback policy, a broken fallback by an even draw (I5)', () => {
  const { fleet } = createRouterBench()
  const throwing: Policy = {
    name: 'throwing',
    reason: 'lowest cost',
    distribute() {
      throw new Error('broken')
    },
  }
  const hollow: Policy = {
    name: 'hollow',
    reason: 'lowest cost',
    distribute: (_candidates, _call, out) => void out.probabilities.fill(Number.NaN),
  }
  const counted: string[] = []
  const decide = createDecide({ fleet, rng: createRng(1), fallbacksMax: 2, count: (what) => void counted.push(what) })
  const input = { pool: 'm', call: sketchCall(), facts: { promptTokens: 1, predictedOutputTokens: 1 }, lengthVersion: 'none', nowMs: 0 }
  const choose = (policy: Policy, fallbackPolicy: Policy) =>
    decide({ ...input, policies: { policy, fallbackPolicy, explorationRatio: 0.5 } })?.placement
  expect(choose(throwing, createPolicy('least-request'))).toMatchObject({
    policy: 'least-request',
    reason: 'fallback policy',
    explored: false,
  })
  expect(choose(hollow, throwing)).toMatchObject({ policy: 'random', reason: 'any reachable instance', propensity: 1 / 3 })
  expect(counted).toEqual(['policy failed', 'policy failed', 'fallback policy failed'])
})

test('where the fleet itself is broken, place rejects with what broke, so that the gateway can go round it; nothing is booked', async () => {
  const { router, calls, fleet } = createRouterBench()
  Object.defineProperty(fleet.candidates('m').instances[0]!.scrape, 'waiting', {
    get() {
      throw new Error('broken')
    },
  })
  await expect(router.place(sketchCall(), OPTIONS)).rejects.toThrow('broken')
  expect(calls()).toHaveLength(0)
  expect(router.inFlight()).toBe(0)
})

test('an estimator that throws costs accuracy, never the call', async () => {
  const broken = {
    predict: () => {
      throw new Error('no model')
    },
    learn: () => {
      throw new Error('no model')
    },
  }
  const { router, counted, calls } = createRouterBench({ parts: { lengths: broken } })
  const ticket = await router.place(sketchCall(), OPTIONS)
  ticket.settle(outcome('completed', { outputTokens: 3 }))
  expect(counted).toEqual(['length prediction failed', 'learning from an outcome failed'])
  expect(calls()[0]?.decision.lengthVersion).toBe('none')
})

test('a failed attempt goes to the next best instance, which the log shows as a second attempt', async () => {
  const { router, calls } = createRouterBench()
  const ticket = await router.place(sketchCall(), OPTIONS)
  const first = ticket.instance.name
  expect(ticket.retry({ kind: 'connect', error: 'connect refused' })?.name).not.toBe(first)
  ticket.settle(outcome('completed', { outputTokens: 5, tokensFrom: 'usage' }))
  const row = calls()[0]!
  expect(row.attempts.map((one) => [one.outcome, one.error])).toEqual([
    ['instance error', 'connect refused'],
    ['completed', undefined],
  ])
  expect(row.instance?.name).toBe(ticket.instance.name)
  expect(row.candidates?.instances[0]?.name).toBe(first)
})

test('a call is tried on at most 1 + 2 instances', async () => {
  const { router } = createRouterBench({ instances: 6 })
  const ticket = await router.place(sketchCall(), OPTIONS)
  expect(ticket.retry({ kind: 'connect', error: 'connect' })).toBeDefined()
  expect(ticket.retry({ kind: 'connect', error: 'connect' })).toBeDefined()
  expect(ticket.retry({ kind: 'connect', error: 'connect' })).toBeUndefined()
  ticket.settle(outcome('instance error', { error: 'connect' }))
})

test('an unknown model is refused by name; an alias and an adapter are served', async () => {
  const { router } = createRouterBench()
  await expect(router.place(sketchCall({ model: 'gpt-9' }), OPTIONS)).rejects.toMatchObject({ kind: 'unknown model' })
  expect(router.poolFor('nick')).toMatchObject({ name: 'm', upstreamModel: 'm' })
  expect(router.models().map((one) => one.id)).toEqual(['m', 'lora', 'nick'])
})

test('a subset holds: only its instances take the call, and an empty one is told apart', async () => {
  const { router } = createRouterBench()
  const ticket = await router.place(sketchCall(), { ...OPTIONS, subset: ['10.0.0.2:8000'] })
  expect(ticket.instance.name).toBe('i1')
  await expect(router.place(sketchCall(), { ...OPTIONS, subset: ['10.9.9.9:1'] })).rejects.toMatchObject({ kind: 'subset empty' })
  ticket.settle(outcome('completed'))
})

test('without any instance the call is refused with a time to come back, and stands in the log', async () => {
  const { router, calls, counted } = createRouterBench({ instances: 0 })
  await expect(router.place(sketchCall(), OPTIONS)).rejects.toMatchObject({ kind: 'no instance', retryAfterMs: 1_000 })
  expect(calls()[0]?.outcome).toMatchObject({ kind: 'instance error', error: 'no instance' })
  expect(calls()[0]?.instance).toBeUndefined()
  expect(counted).toEqual(['no instance'])
})

test('the running mean predicts an application after five answers, cut ones left out', async () => {
  const { router, calls } = createRouterBench()
  for (let i = 0; i < 6; i++) {
    const ticket = await router.place(sketchCall({ callId: i }), OPTIONS)
    ticket.settle(outcome('completed', { outputTokens: i === 0 ? 9_999 : 40, censored: i === 0 }))
  }
  const ticket = await router.place(sketchCall({ callId: 9 }), OPTIONS)
  expect(ticket.placement.lengthVersion).toBe('running-mean')
  ticket.settle(outcome('completed'))
  expect(calls().at(-1)?.decision.predictedOutputTokens).toBe(40)
  expect(calls()[0]?.decision.predictedOutputTokens).toBeUndefined()
})

test('a whole answer says nothing about the first token: expected TTFT comes from streams alone', async () => {
  const { router, calls, clock } = createRouterBench({ instances: 1 })
  for (const stream of [true, false, false]) {
    const ticket = await router.place(sketchCall({ stream }), OPTIONS)
    clock.advance(stream ? 20 : 5_000)
    ticket.firstToken(clock.nowMs())
    ticket.settle(outcome('completed', { outputTokens: 9 }))
  }
  expect(calls().at(-1)?.decision.predictedTtftMs).toBe(20)
})

test('same calls, seed and policy give the same placements (I6)', async () => {
  const names = async (): Promise<string[]> => {
    const { router } = createRouterBench({ pool: { policy: 'p2c', explorationRatio: 0.2 }, instances: 8 })
    const placed = []
    for (let i = 0; i < 50; i++) placed.push((await router.place(sketchCall({ callId: i }), OPTIONS)).instance.name)
    return placed
  }
  expect(await names()).toEqual(await names())
})
