import { expect, test } from 'vitest'
import { FLEET_DEFAULTS } from '../../plugin/fleet/options.ts'
import { ANSWERED, failed, type SmallFleet, smallFleet } from './small-fleet.ts'

const { firstTokenFloorMs, chunkFloorMs, blindFactor } = FLEET_DEFAULTS.stall

/** Lets time pass with a scrape each 250 ms whose counter stands at `tokens(nowMs)`; gives when a stall was first found. */
function watch(
  small: SmallFleet,
  ms: number,
  tokens: ((nowMs: number) => number) | undefined,
): { readonly atMs: number; readonly calls: number } | undefined {
  for (const endMs = small.nowMs + ms; small.nowMs < endMs; ) {
    if (tokens) small.scrape('a', `vllm:generation_tokens_total ${tokens(small.nowMs)}`, 'vllm:num_requests_running 1')
    const [stall] = small.fleet.stalled(small.nowMs)
    if (stall) return { atMs: small.nowMs, calls: stall.dispatches.length }
    small.pass(250)
  }
  return undefined
}

test('no first token while the counters stand still: hung', () => {
  const small = smallFleet(2)
  small.send('a')
  const found = watch(small, 60_000, () => 77)
  expect(found?.calls).toBe(1)
  expect(found?.atMs).toBeGreaterThanOrEqual(firstTokenFloorMs)
  expect(found?.atMs).toBeLessThan(firstTokenFloorMs + 500)
})

test('no first token while the counters move: slow, not hung', () => {
  const small = smallFleet(2)
  small.send('a')
  expect(watch(small, 300_000, (nowMs) => nowMs)).toBeUndefined()
})

test('a stream that falls silent while the counters stand still: hung, each call told once', () => {
  const small = smallFleet(2)
  const one = small.send('a')
  const two = small.send('a')
  small.fleet.progress(small.at('a'), one, 3, small.nowMs)
  small.fleet.firstToken(small.at('a'), two, small.nowMs)
  const found = watch(small, 60_000, () => 77)
  expect(found).toMatchObject({ calls: 2 })
  expect(found?.atMs).toBeLessThan(chunkFloorMs + 500)
  expect(watch(small, 60_000, () => 77)).toBeUndefined()
})

test('one silent call beside one that gets tokens: not hung', () => {
  const small = smallFleet(2)
  small.send('a')
  const lively = small.send('a')
  for (let i = 1; i < 100; i++) {
    small.fleet.progress(small.at('a'), lively, i, small.nowMs)
    expect(watch(small, 1_000, () => 77)).toBeUndefined()
  }
})

test('a long prompt is given the time its prefill takes', () => {
  const small = smallFleet(2)
  small.send('a', { promptTokens: 40_000 })
  const found = watch(small, 120_000, () => 77)
  expect(found?.atMs).toBeGreaterThanOrEqual(40_000 * FLEET_DEFAULTS.stall.prefillMsPerToken)
})

test('an engine that has shown itself slow at prefill is given more', () => {
  const small = smallFleet(2)
  const seen = small.send('a', { promptTokens: 1_000 })
  watch(small, 9_000, (nowMs) => nowMs)
  small.fleet.firstToken(small.at('a'), seen, small.nowMs)
  small.end('a', seen, ANSWERED)
  const startMs = small.nowMs
  small.send('a', { promptTokens: 1_000 })
  const found = watch(small, 120_000, () => 77)
  expect((found?.atMs ?? 0) - startMs).toBeGreaterThanOrEqual(9_000 * FLEET_DEFAULTS.stall.patienceFactor)
})

test('without counters the limit is longer, and a call that is not streamed is not judged', () => {
  const small = smallFleet(2)
  small.send('a', { stream: false })
  expect(watch(small, 600_000, undefined)).toBeUndefined()
  const startMs = small.nowMs
  small.send('a')
  const found = watch(small, 120_000, undefined)
  expect((found?.atMs ?? 0) - startMs).toBeGreaterThanOrEqual(blindFactor * firstTokenFloorMs)
  expect(found?.calls).toBe(1)
})

test('with counters that stand still even a call that is not streamed is found', () => {
  const small = smallFleet(2)
  small.send('a', { stream: false })
  expect(watch(small, 60_000, () => 77)?.calls).toBe(1)
})

test('an engine that counts only ends is not judged by them', () => {
  const small = smallFleet(2)
  small.send('a', { stream: false })
  for (let i = 0; i < 400; i++) {
    small.scrape('a', 'sglang:generation_tokens_total 5', 'sglang:num_running_reqs 1')
    expect(small.fleet.stalled(small.nowMs)).toEqual([])
    small.pass(250)
  }
})

test('an idle instance whose counters stand still is not hung, nor is a call that just came to it', () => {
  const small = smallFleet(2)
  expect(watch(small, 60_000, () => 77)).toBeUndefined()
  small.send('a')
  expect(watch(small, firstTokenFloorMs - 250, () => 77)).toBeUndefined()
})

test('a hung instance is out as soon as its calls are failed, although /health says 200', () => {
  const small = smallFleet(2)
  const dispatch = small.send('a')
  watch(small, 60_000, () => 77)
  small.end('a', dispatch, failed('stalled'))
  expect(small.names()).toEqual(['b'])
})
