import { expect, test } from 'vitest'
import { HoldQueue } from '../../plugin/hold/hold-queue.ts'
import type { HeldCall, HoldRule } from '../../plugin/hold/rule.ts'
import type { BlockRow, TrialEnding } from '../../plugin/log/rows.ts'
import { AT, CANDIDATE_COLUMNS } from '../../plugin/placement/features.ts'
import { createLeastRequest } from '../../plugin/placement/least-request.ts'
import type { Policy } from '../../plugin/placement/policy.ts'
import type { LengthPredictor } from '../../plugin/prediction/length-predictor.ts'
import type { Ticket } from '../../plugin/router.ts'
import type { ArmModels } from '../../plugin/router-arms.ts'
import { sketchCall, sketchInstance } from '../fakes/instances.ts'
import { createRouterBench, type RouterBench } from '../fakes/router.ts'

const OPTIONS = { gateway: 'test' }

/** Always the instance at this place. */
function constant(name: string, place: number): Policy {
  return {
    name,
    version: name,
    reason: 'lowest cost',
    distribute({ count }, _call, { costs, probabilities }) {
      costs.fill(Number.NaN, 0, count)
      probabilities.fill(0, 0, count)
      probabilities[place % count] = 1
    },
  }
}

const broken: Policy = {
  name: 'broken',
  reason: 'lowest cost',
  distribute() {
    throw new Error('no weights')
  },
}

const models = (policy: Policy): ArmModels => ({ policyOf: () => ({ policy }) })

function fixedLength(tokens: number): LengthPredictor & { readonly learned: unknown[] } {
  const learned: unknown[] = []
  return {
    learned,
    predict: () => ({ outputTokens: tokens, version: `says-${tokens}` }),
    learn: (_pool, _call, { outputTokens }, prediction) => void learned.push([outputTokens, prediction?.outputTokens]),
  }
}

let callId = 0
const place = (bench: RouterBench): Promise<Ticket> => bench.router.place(sketchCall({ callId: ++callId }), OPTIONS)

function settle(ticket: Ticket, e2eMs = 10): void {
  ticket.settle({ kind: 'completed', e2eMs, ttftMs: e2eMs / 2, outputTokens: 7, censored: false })
}

test('a promoted policy places the next call, and calls under way end as they began', async () => {
  const bench = createRouterBench()
  const before = await place(bench)
  bench.router.arms.serve(models(constant('first', 1)))
  const during = await place(bench)
  bench.router.arms.serve(models(constant('second', 2)))
  const after = await place(bench)
  for (const ticket of [before, during, after]) settle(ticket)
  expect([during.instance.name, after.instance.name]).toEqual(['i1', 'i2'])
  expect(bench.calls().map(({ decision }) => decision.policyVersion)).toEqual(['none', 'first', 'second'])
  bench.router.arms.serve({})
  const back = await place(bench)
  expect(back.placement.policy).toBe('least-request')
})

test('under constant swapping no call is lost and each decision is of one whole model', async () => {
  const bench = createRouterBench()
  for (let i = 0; i < 300; i++) {
    const ticket = await place(bench)
    if (i % 3 === 0) bench.router.arms.serve(models(constant(`v${i % 3}`, i % 3)))
    settle(ticket)
  }
  expect(bench.calls()).toHaveLength(300)
  expect(bench.counted.filter((what) => what.includes('failed'))).toEqual([])
  expect(bench.router.inFlight()).toBe(0)
})

test('a policy that keeps state is told of the end of what it placed itself', async () => {
  const told: string[] = []
  const minds = (name: string): Policy => ({ ...constant(name, 0), onPlaced: () => undefined, onSettled: () => void told.push(name) })
  const bench = createRouterBench()
  bench.router.arms.serve(models(minds('old')))
  const ticket = await place(bench)
  bench.router.arms.serve(models(minds('new')))
  settle(ticket)
  expect(told).toEqual(['old'])
})

test('a shadow is asked and not obeyed; what it said stands beside what was done', async () => {
  const bench = createRouterBench()
  const lengths = fixedLength(70)
  bench.router.arms.begin({ trialId: 5, models: { ...models(constant('shadow', 2)), lengths } })
  const tickets = await Promise.all(Array.from({ length: 3 }, () => place(bench)))
  for (const ticket of tickets) settle(ticket)
  const rows = bench.calls()
  expect(rows.map(({ shadow }) => [shadow?.instance?.name, shadow?.outputTokens])).toEqual([
    ['i2', 70],
    ['i2', 70],
    ['i2', 70],
  ])
  expect(new Set(rows.map(({ instance }) => instance?.name)).size).toBe(3)
  expect(rows.every(({ trial }) => trial?.trialId === 5 && trial.arm === undefined)).toBe(true)
  expect(lengths.learned).toEqual([
    [7, 70],
    [7, 70],
    [7, 70],
  ])
  bench.router.arms.end(5)
  settle(await place(bench))
  expect(bench.calls().at(-1)?.shadow).toBeUndefined()
})

test('a shadow that breaks or dawdles costs no call: it is set aside and counted', async () => {
  const bench = createRouterBench()
  const slow: Policy = {
    ...constant('slow', 0),
    distribute(candidates, call, out) {
      bench.clock.advance(50)
      constant('slow', 0).distribute(candidates, call, out)
    },
  }
  for (const policy of [broken, slow]) {
    bench.router.arms.begin({ trialId: 6, models: models(policy) })
    for (let i = 0; i < 10; i++) settle(await place(bench))
    bench.router.arms.end(6)
    bench.clock.advance(60_000)
  }
  expect(bench.calls()).toHaveLength(20)
  const counts = Object.groupBy(bench.counted, (what) => what)
  expect([counts['shadow failed']?.length, counts['shadow late']?.length, counts['shadow set aside']?.length]).toEqual([5, 5, 2])
})

interface CanaryBench extends RouterBench {
  readonly endings: TrialEnding[]
  blocks(): readonly BlockRow[]
}

/** A fleet of three equal instances that serve one call after another, 40 ms each, under `callsPerS` Poisson-free arrivals. */
function canaryBench(policy: Policy, blocksPlanned = 0): CanaryBench {
  const endings: TrialEnding[] = []
  const bench = createRouterBench({
    parts: { events: { settled: () => undefined, count: (what) => void counted.push(what), trialEnded: (one) => void endings.push(one) } },
  })
  const { counted } = bench
  bench.router.arms.begin({
    trialId: 9,
    models: models(policy),
    canary: {
      seed: 3,
      startUnixMs: bench.clock.nowUnixMs(),
      blockMs: 10_000,
      washoutMs: 1_000,
      shareRatio: 0.5,
      blocksPlanned,
      timeFactor: 4,
    },
  })
  return { ...bench, endings, blocks: () => bench.rows.filter((row) => row.kind === 'block') }
}

/** Plays calls through the router: every 20 ms one comes, each instance serves one at a time. Returns after `ms`, or when the trial has ended. */
async function play(bench: CanaryBench, ms: number, jitter: (n: number) => number): Promise<number> {
  const freeAtMs = new Map<string, number>()
  const open: { readonly ticket: Ticket; readonly placedMs: number; readonly firstMs: number; readonly endMs: number; told: boolean }[] = []
  const untilMs = bench.clock.nowMs() + ms
  for (let n = 0; bench.clock.nowMs() < untilMs && bench.endings.length === 0; n++) {
    bench.clock.advance(20 + jitter(n))
    const nowMs = bench.clock.nowMs()
    for (const one of open)
      if (!one.told && one.firstMs <= nowMs) {
        one.told = true
        one.ticket.firstToken(one.firstMs)
      }
    for (const one of open.filter(({ endMs }) => endMs <= nowMs)) {
      open.splice(open.indexOf(one), 1)
      one.ticket.settle({
        kind: 'completed',
        e2eMs: one.endMs - one.placedMs,
        ttftMs: one.firstMs - one.placedMs,
        outputTokens: 20,
        censored: false,
      })
    }
    const ticket = await place(bench)
    const startMs = Math.max(nowMs, freeAtMs.get(ticket.instance.name) ?? 0)
    const endMs = startMs + 40 + 10 * jitter(n + 1)
    freeAtMs.set(ticket.instance.name, endMs)
    open.push({ ticket, placedMs: nowMs, firstMs: startMs + 10, endMs, told: false })
    bench.router.tick(nowMs)
  }
  const nowMs = bench.clock.nowMs()
  for (const { ticket } of open) settle(ticket)
  return nowMs
}

const jitter = (n: number): number => ((n * 7_919) % 101) / 101

test('in a canary the arm belongs to the block, control comes first until the guard can judge, and calls say which', async () => {
  const bench = canaryBench(createLeastRequest(), 8)
  await play(bench, 600_000, jitter)
  const blocks = bench.blocks()
  expect(bench.endings).toEqual([{ trialId: 9, state: 'ended', why: 'all 8 blocks are done' }])
  expect(blocks[0]).toMatchObject({
    block: 0,
    arm: 'control',
    toUnixMs: blocks[1]!.fromUnixMs,
    washoutUntilUnixMs: blocks[0]!.fromUnixMs + 1_000,
  })
  expect(new Set(blocks.map(({ arm }) => arm))).toEqual(new Set(['control', 'challenger']))
  const byBlock = Map.groupBy(
    bench.calls().filter((row) => row.trial?.block !== undefined),
    (row) => row.trial!.block!,
  )
  for (const { block, arm } of blocks) {
    const own = byBlock.get(block) ?? []
    expect(new Set(own.map((row) => row.trial!.arm))).toEqual(new Set([arm]))
    expect(own.filter((row) => row.trial!.washout).length).toBeLessThan(60)
  }
  const after = await place(bench)
  expect(bench.router.arms.trial).toBeUndefined()
  settle(after)
  expect(bench.calls().at(-1)?.trial).toBeUndefined()
}, 60_000)

/** The busiest first: a good model with its scores upside down. */
const inverted: Policy = {
  ...constant('inverted', 0),
  distribute({ count, rows }, _call, { costs, probabilities }) {
    costs.fill(Number.NaN, 0, count)
    probabilities.fill(0, 0, count)
    const inFlight = (i: number): number => rows[i * CANDIDATE_COLUMNS.length + AT.inFlight] as number
    let busiest = 0
    for (let i = 0; i < count; i++) if (inFlight(i) > inFlight(busiest)) busiest = i
    probabilities[busiest] = 1
  },
}

const nan: Policy = {
  ...constant('nan', 0),
  distribute: ({ count }, _call, { probabilities }) => void probabilities.fill(Number.NaN, 0, count),
}

/** Places as control does, 50 ms late. */
function dawdling(bench: CanaryBench): Policy {
  const base = createLeastRequest()
  return {
    ...base,
    distribute(candidates, call, out) {
      bench.clock.advance(50)
      base.distribute(candidates, call, out)
    },
  }
}

test.each([
  ['always the same instance', () => constant('constant', 0), /TTFT|E2E|share|went to/],
  ['scores upside down', () => inverted, /TTFT|E2E|share|went to/],
  ['a policy that throws', () => broken, /policy failed/],
  ['scores that are no numbers', () => nan, /policy failed/],
  ['50 ms for each decision', dawdling, /decides in 5\d\.\d ms/],
] as const)(
  'a canary with %s is withdrawn, and control decides from the next call on',
  async (_name, policyOf, why) => {
    let bad: Policy = createLeastRequest()
    const bench = canaryBench({ ...createLeastRequest(), name: 'bad', distribute: (...given) => bad.distribute(...given) })
    bad = policyOf(bench)
    await play(bench, 900_000, jitter)
    expect(bench.endings).toMatchObject([{ trialId: 9, state: 'withdrawn', why: expect.stringMatching(why) }])
    // Within 200 calls or 60 s of its first, whichever is later; a second here is four of the guard's.
    const hurt = bench.calls().filter((row) => row.trial?.arm === 'challenger')
    const arrivals = hurt.map((row) => row.trial?.block ?? 0)
    const guardMs = 4 * 10_000 * (1 + Math.max(...arrivals) - Math.min(...arrivals))
    expect(hurt.length <= 200 || guardMs <= 60_000, `${hurt.length} calls, at most ${guardMs} ms`).toBe(true)
    const ticket = await place(bench)
    expect(ticket.placement.policy).toBe('least-request')
    settle(ticket)
  },
  60_000,
)

test('calls that wait keep their seats and are put into the order of the rule that takes over', () => {
  let open = false
  const by = (name: string, fixedKey: (held: HeldCall) => number): HoldRule => ({
    name,
    isReady: () => open,
    roomTokens: () => Number.POSITIVE_INFINITY,
    readyOnly: true,
    demandTokens: () => 0,
    fixedKey,
    key: (_held, _nowMs, fixed) => fixed,
  })
  const queue = new HoldQueue({ rule: by('shortest', (held) => held.promptTokens) })
  const held = [30, 10, 20].map((promptTokens, i) => ({
    call: sketchCall({ callId: i }),
    promptTokens,
    predictedOutputTokens: 1,
    arrivedMs: 0,
  }))
  for (const one of held) queue.join(one, 0)
  const instances = [sketchInstance({}, 0)]
  open = true
  expect(queue.release(instances, 1, 1)?.held.promptTokens).toBe(10)
  queue.takeRule(by('longest', (one) => -one.promptTokens))
  expect([queue.rule.name, queue.length]).toEqual(['longest', 2])
  expect([1, 2].map((ms) => queue.release(instances, 1, ms)?.held.promptTokens)).toEqual([30, 20])
})
