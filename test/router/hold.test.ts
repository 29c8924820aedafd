import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { HOLD_RULE_DEFAULTS } from '../../plugin/hold/hold-rules.ts'
import type { Outcome } from '../../plugin/outcome/outcome.ts'
import { CALL_AT } from '../../plugin/placement/features.ts'
import type { PlacementError, PlaceOptions, Ticket } from '../../plugin/router.ts'
import type { HoldSetting } from '../../plugin/router-hold.ts'
import type { RouterPool } from '../../plugin/router-pools.ts'
import { sketchCall } from '../fakes/instances.ts'
import { createRouterBench, type RouterBench } from '../fakes/router.ts'

const OPTIONS = { gateway: 'test' }
const DONE: Outcome = { kind: 'completed', e2eMs: 10, censored: false }
const HOLD: HoldSetting = { when: 'capacity known', rule: { ...HOLD_RULE_DEFAULTS, waitingMax: 3 } }
const SCRAPE = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="1000"} 1\nvllm:num_requests_running 0\nvllm:num_requests_waiting 0\n'

/** Two instances that tell their KV capacity. */
function createBench(pool: Partial<RouterPool> = {}): RouterBench {
  const bench = createRouterBench({ instances: 2, pool: { hold: HOLD, ...pool } })
  scrape(bench)
  return bench
}

function scrape({ fleet, clock }: RouterBench): void {
  for (const one of fleet.instances('m')) fleet.applyScrape(one, fleet.beginScrape(one, clock.nowMs()), SCRAPE, clock.nowMs())
}

let ids = 0
const place = (bench: RouterBench, options: Partial<PlaceOptions> = {}): Promise<Ticket> =>
  bench.router.place(sketchCall({ callId: ++ids }), { ...OPTIONS, ...options })

/** Both instances with four calls waiting each: closed. */
async function saturate(bench: RouterBench): Promise<Ticket[]> {
  const tickets: Ticket[] = []
  for (let i = 0; i < 8; i++) tickets.push(await place(bench))
  return tickets
}

const held = ({ router }: RouterBench): number => router.holds()[0]?.held ?? Number.NaN

test('a call is held while every instance has its queue, starts when something is freed, and its row says how long it waited', async () => {
  const bench = createBench()
  const tickets = await saturate(bench)
  expect(held(bench)).toBe(0)
  const waiting = place(bench)
  expect(held(bench)).toBe(1)
  bench.clock.advance(1_500)
  tickets[3]!.firstToken(bench.clock.nowMs())
  const ticket = await waiting
  expect(held(bench)).toBe(0)
  ticket.settle(DONE)
  const row = bench.calls().at(-1)!
  expect([row.decision.heldMs, row.decision.placedMs]).toEqual([1_500, 1_500])
  expect(row.candidates?.total).toBe(2)
  expect(row.candidates?.features[CALL_AT.heldMs]).toBe(1_500)
})

test('a settled call makes room too, and those who are placed at once were not held', async () => {
  const bench = createBench()
  const tickets = await saturate(bench)
  const waiting = place(bench)
  tickets[0]!.settle(DONE)
  const ticket = await waiting
  expect(ticket.instance.name).toBe(tickets[0]!.instance.name)
  expect(bench.calls()[0]!.decision.heldMs).toBe(0)
})

test('a client that leaves while held frees its seat, and stands in the log', async () => {
  const bench = createBench()
  const tickets = await saturate(bench)
  const caller = new AbortController()
  const waiting = place(bench, { signal: caller.signal })
  const after = place(bench)
  bench.clock.advance(200)
  caller.abort()
  await expect(waiting).rejects.toMatchObject({ kind: 'client gone' })
  expect(held(bench)).toBe(1)
  expect(bench.calls()[0]).toMatchObject({ outcome: { kind: 'client gone' }, attempts: [], decision: { heldMs: 200 } })
  tickets[0]!.settle(DONE)
  expect((await after).placement.policy).toBe('least-request')
  await expect(place(bench, { signal: AbortSignal.abort() })).rejects.toMatchObject({ kind: 'client gone' })
})

test('at its deadline a held call goes to whoever the policy likes', async () => {
  const bench = createBench({ hold: { ...HOLD, queue: { heldMsMax: 3_000 } } })
  await saturate(bench)
  const waiting = place(bench)
  bench.clock.advance(2_999)
  bench.router.tick(bench.clock.nowMs())
  expect(held(bench)).toBe(1)
  bench.clock.advance(1)
  bench.router.tick(bench.clock.nowMs())
  await waiting
  expect(bench.counted).toContain('held to the deadline')
})

test('going away, the router refuses whom it holds, and holds nobody any more', async () => {
  const bench = createBench()
  await saturate(bench)
  const waiting = place(bench)
  bench.router.shed()
  const refusal = await waiting.then(
    () => undefined,
    (error: PlacementError) => error,
  )
  expect(refusal).toMatchObject({ kind: 'no instance', retryAfterMs: 1_000 })
  expect(bench.calls()[0]).toMatchObject({ outcome: { kind: 'instance error', status: 503, error: 'shutdown' } })
  expect((await place(bench)).placement.policy).toBe('least-request')
})

test('where an instance does not tell its KV capacity nothing is held, and the reason is told', async () => {
  const bench = createRouterBench({ instances: 2, pool: { hold: HOLD } })
  await saturate(bench)
  expect((await place(bench)).placement.policy).toBe('least-request')
  expect(bench.router.holds()).toEqual([{ pool: 'm', order: 'kv-time', held: 0, offReason: 'i0 does not tell its KV capacity' }])
  scrape(bench)
  expect(bench.router.holds()).toEqual([{ pool: 'm', order: 'kv-time', held: 0 }])
})

test('calls held when the capacity becomes unknown are not stuck', async () => {
  const bench = createBench()
  const tickets = await saturate(bench)
  const waiting = place(bench)
  bench.clock.advance(6_000)
  bench.fleet.tick(bench.clock.nowMs())
  tickets[0]!.settle(DONE)
  await waiting
})

test('selective-push holds by itself: one call at a time waits at an instance', async () => {
  const bench = createRouterBench({ instances: 2, pool: { policy: 'selective-push' } })
  const first = await place(bench)
  const second = await place(bench)
  expect(first.instance.name).not.toBe(second.instance.name)
  const third = place(bench)
  expect(bench.router.holds()).toEqual([{ pool: 'm', order: 'fcfs', held: 1 }])
  second.firstToken(1)
  expect((await third).instance.name).toBe(second.instance.name)
})

test('a subset asked for is kept to: its calls wait for their own instances, others pass them', async () => {
  const bench = createBench()
  const tickets = await saturate(bench)
  const [a, b] = [tickets[0]!.instance, tickets[1]!.instance]
  const subset = [new URL(a.url).host]
  const bound = place(bench, { subset })
  const free = place(bench)
  const atB = tickets.filter((one) => one.instance === b)
  atB[0]!.settle(DONE)
  expect((await free).instance).toBe(b)
  expect(held(bench)).toBe(1)
  tickets.find((one) => one.instance === a)!.settle(DONE)
  expect((await bound).instance).toBe(a)
})

test('an engine that orders by priority gets the order with the call, and nothing is held', async () => {
  const bench = createBench({ enginePriority: true })
  await saturate(bench)
  const ticket = await place(bench)
  expect(bench.router.holds()).toEqual([])
  expect(Number.isSafeInteger(ticket.enginePriority)).toBe(true)
  expect((await place(createBench())).enginePriority).toBeUndefined()
})

test('a full queue places at once', async () => {
  const bench = createBench({ hold: { ...HOLD, queue: { seatsMax: 1 } } })
  await saturate(bench)
  const waiting = place(bench)
  await place(bench)
  expect([held(bench), bench.counted]).toEqual([1, ['hold queue full']])
  bench.router.shed()
  await expect(waiting).rejects.toMatchObject({ kind: 'no instance' })
})

test('arrived = settled + in flight + held + refused after any interleaving (I1)', async () => {
  const step = fc.record({ kind: fc.constantFrom('place', 'place', 'first', 'settle', 'leave', 'tick', 'retry'), dice: fc.nat() })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 100 }), async (steps) => {
      const bench = createBench({ hold: { ...HOLD, queue: { heldMsMax: 5_000, seatsMax: 12 } } })
      const open: Ticket[] = []
      const callers: AbortController[] = []
      let arrived = 0
      let settled = 0
      let refused = 0
      const settle = (ticket: Ticket): void => {
        ticket.settle(DONE)
        open.splice(open.indexOf(ticket), 1)
        settled++
      }
      for (const { kind, dice } of steps) {
        const ticket = open[dice % Math.max(1, open.length)]
        bench.clock.advance(dice % 700)
        if (kind === 'place') {
          const caller = new AbortController()
          callers.push(caller)
          arrived++
          place(bench, { signal: caller.signal }).then(
            (one) => open.push(one),
            () => refused++,
          )
        } else if (kind === 'first') ticket?.firstToken(bench.clock.nowMs())
        else if (kind === 'settle' && ticket) settle(ticket)
        else if (kind === 'retry') ticket?.retry({ kind: 'full', error: 'full' })
        else if (kind === 'leave') callers[dice % Math.max(1, callers.length)]?.abort()
        else bench.router.tick(bench.clock.nowMs())
        await setImmediate()
        expect(settled + open.length + held(bench) + refused).toBe(arrived)
      }
      bench.router.shed()
      await setImmediate()
      for (const ticket of [...open]) settle(ticket)
      expect([bench.router.inFlight(), held(bench), bench.calls().length]).toEqual([0, 0, arrived])
    }),
    { numRuns: 60 },
  )
})
