import { expect, test } from 'vitest'
import { CanaryGuard } from '../../plugin/outcome/guard.ts'
import type { GuardedCall } from '../../plugin/outcome/guard-calls.ts'
import { createLeastRequest } from '../../plugin/placement/least-request.ts'
import { sketchCall } from '../fakes/instances.ts'
import { createRouterBench } from '../fakes/router.ts'

const BLOCK_MS = 10_000
const WASHOUT_MS = 2_000

/** A guard that is ready from the start and remembers what it was told. */
function readyGuard(): { readonly guard: CanaryGuard; readonly told: GuardedCall[] } {
  const guard = new CanaryGuard()
  const told: GuardedCall[] = []
  const placed = guard.placed.bind(guard)
  Object.defineProperties(guard, {
    isReady: { get: () => true },
    placed: {
      value: (call: GuardedCall) => {
        told.push(call)
        placed(call)
      },
    },
  })
  return { guard, told }
}

test('the guard watches a challenger from its first call on, and learns nothing from control that waits behind it; the measurement leaves both out', async () => {
  const bench = createRouterBench()
  const { guard, told } = readyGuard()
  bench.router.arms.begin({
    trialId: 1,
    models: { policyOf: () => ({ policy: { ...createLeastRequest(), name: 'tried' } }) },
    canary: {
      seed: 5,
      startUnixMs: bench.clock.nowUnixMs(),
      blockMs: BLOCK_MS,
      washoutMs: WASHOUT_MS,
      shareRatio: 0.5,
      blocksPlanned: 0,
      guards: new Map([['m', guard]]),
    },
  })
  for (let callId = 1; callId <= 400; callId++) {
    bench.clock.advance(500)
    const ticket = await bench.router.place(sketchCall({ callId }), { gateway: 'test' })
    ticket.settle({ kind: 'completed', e2eMs: 10, ttftMs: 5, outputTokens: 7, censored: false })
  }
  const rows = new Map(bench.calls().map((row) => [row.call.callId, row.trial!]))
  const armOf = new Map([...rows.values()].map(({ block, arm }) => [block!, arm!]))
  expect(new Set(armOf.values())).toEqual(new Set(['control', 'challenger']))
  for (const { callId, arm, block } of told) {
    const mark = rows.get(callId)!
    const isBehind = armOf.get(block - 1) === 'challenger'
    expect(arm).toBe(mark.arm === 'challenger' ? 'challenger' : mark.washout && isBehind ? 'washout' : 'control')
  }
  // The first two seconds of every block count for neither mean, whoever came before.
  const early = [...rows.values()].filter(({ washout }) => washout)
  expect(early.length / rows.size).toBeCloseTo(WASHOUT_MS / BLOCK_MS, 1)
  expect(new Set(early.map(({ arm }) => arm))).toEqual(new Set(['control', 'challenger']))
})
