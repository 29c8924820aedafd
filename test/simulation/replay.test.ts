import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../plugin/clock.ts'
import { createRng } from '../../plugin/rng.ts'
import { runDemoLoad } from '../../plugin/simulation/demo-load.ts'
import { distributionOf, replay } from '../../plugin/simulation/replay.ts'
import { formatReplay } from '../../plugin/simulation/replay-report.ts'
import { SseMeter } from '../../plugin/simulation/sse-meter.ts'
import { startVirtualFleet, VIRTUAL_MODEL, type VirtualFleet } from '../../plugin/simulation/virtual-fleet.ts'

let fleet: VirtualFleet
beforeAll(async () => {
  fleet = await startVirtualFleet({ specs: [{ name: 'h', profile: 'h100-llama-2-7b', timeFactor: 10 }], clock: systemClock })
})
afterAll(() => fleet.close())

const instance = () => fleet.instances[0]!
const calls = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ atMs: i * 2, promptTokens: 100 + i, outputTokens: 1 + (i % 40) }))

describe('replay', () => {
  test('sends every call with its own lengths and meters all of them', async () => {
    const before = instance().stats()
    const trace = calls(150)
    const result = await replay({ trace, url: `${instance().url}/v1`, speed: 2, clock: systemClock })
    const after = instance().stats()
    const sum = (of: (call: (typeof trace)[number]) => number) => trace.reduce((total, call) => total + of(call), 0)
    expect(result).toMatchObject({
      sent: 150,
      succeeded: 150,
      failed: 0,
      failures: {},
      model: VIRTUAL_MODEL,
      outputTokens: sum((c) => c.outputTokens),
    })
    expect(after.promptTokens - before.promptTokens).toBe(sum((c) => c.promptTokens))
    expect(after.generationTokens - before.generationTokens).toBe(sum((c) => c.outputTokens))
    expect(result.ttft!.count).toBe(150)
    expect(result.tpot!.count).toBe(trace.filter((c) => c.outputTokens > 1).length)
    expect(result.e2e!.p50Ms).toBeGreaterThanOrEqual(result.ttft!.p50Ms)
    expect(formatReplay(result)).toMatch(/sent 150 {3}succeeded 150 \(100.0 %\)/)
  })

  test('stops after so many calls, or so many seconds of the trace', async () => {
    expect((await replay({ trace: calls(50), url: instance().url, calls: 7, clock: systemClock })).sent).toBe(7)
    expect((await replay({ trace: calls(50), url: instance().url, seconds: 0.02, clock: systemClock })).sent).toBe(10)
  })

  test('counts failures by reason, and a server that is away is one', async () => {
    await instance().setBehaviour({ mode: 'draining-abort' })
    expect((await replay({ trace: calls(3), url: instance().url, clock: systemClock })).failures).toEqual({ 'finish abort': 3 })
    await instance().setBehaviour({ mode: 'queue-full' })
    expect((await replay({ trace: calls(3), url: instance().url, clock: systemClock })).failures).toEqual({ 'status 503': 3 })
    await instance().setBehaviour({ mode: 'cut' })
    const cut = await replay({ trace: calls(30).slice(10), url: instance().url, clock: systemClock })
    expect(cut.failures).toEqual({ 'broke off': 20 })
    await instance().setBehaviour({ mode: 'ok' })
    const away = await replay({ trace: calls(2), url: 'http://127.0.0.1:1', model: 'm', clock: systemClock })
    expect(away.failures).toEqual({ ECONNREFUSED: 2 })
    await expect(replay({ trace: calls(1), url: `${instance().url}`, model: 'x', clock: systemClock })).resolves.toMatchObject({
      failures: { 'status 404': 1 },
    })
  })

  test('an abort leaves the calls under way', async () => {
    const stop = new AbortController()
    const long = calls(400).map((call) => ({ ...call, outputTokens: 5000 }))
    const result = await replay({
      trace: long,
      url: instance().url,
      clock: systemClock,
      signal: stop.signal,
      onProgress: ({ sent }) => sent > 10 && stop.abort(),
    })
    expect(result.sent).toBeLessThan(400)
    expect(result.failures).toEqual({ aborted: result.sent })
    await expect.poll(() => instance().stats()).toMatchObject({ running: 0, waiting: 0 })
  })

  test('five hundred streams at once', async () => {
    const trace = Array.from({ length: 500 }, (_, i) => ({ atMs: i / 10, promptTokens: 20, outputTokens: 60 }))
    const result = await replay({ trace, url: instance().url, clock: systemClock })
    expect(result).toMatchObject({ sent: 500, succeeded: 500, outputTokens: 30_000 })
  })

  test('percentiles are nearest ranks', () => {
    expect(distributionOf(Array.from({ length: 100 }, (_, i) => 100 - i))).toEqual({
      count: 100,
      meanMs: 50.5,
      p50Ms: 50,
      p95Ms: 95,
      p99Ms: 99,
      maxMs: 100,
    })
    expect(distributionOf([])).toBeUndefined()
  })

  test('the meter reads events split anywhere, CRLF, and errors in the stream', () => {
    const text =
      'data: {"choices":[{"delta":{"content":"ä"}}]}\r\n\r\n: note\n\ndata: {"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    const meter = new SseMeter({ keepText: true })
    for (const [i, byte] of [...Buffer.from(text)].entries()) meter.push(Buffer.from([byte]), i)
    expect([meter.text, meter.outputTokens, meter.failure()]).toEqual(['äb', 2, undefined])
    const broken = new SseMeter({ keepText: false })
    broken.push(Buffer.from('data: {"error":{"code":500}}\n\ndata: [DONE]\n\n'), 1)
    expect(broken.failure()).toBe('engine error')
  })
})

describe('the demo load', () => {
  test('waits for a proxy that is not there, survives its restart, ends when told', async () => {
    const stop = new AbortController()
    let settled = 0
    let next = Promise.withResolvers<void>()
    await instance().setBehaviour({ mode: 'refuse' })
    const load = runDemoLoad({
      url: instance().url,
      model: VIRTUAL_MODEL,
      capacityCallsPerS: 200,
      clock: systemClock,
      rng: createRng(1),
      signal: stop.signal,
      onSettled: ({ ok }) => {
        if (ok && ++settled % 30 === 0) next.resolve()
      },
    })
    await instance().setBehaviour({ mode: 'ok' })
    await next.promise
    next = Promise.withResolvers<void>()
    await instance().setBehaviour({ mode: 'engine-killed', forMs: 50 })
    await next.promise
    stop.abort()
    const totals = await load
    expect(totals.sent).toBe(totals.succeeded + totals.failed)
    expect(totals.succeeded).toBeGreaterThanOrEqual(60)
    await expect.poll(() => instance().stats()).toMatchObject({ running: 0, waiting: 0, kvBlocksUsed: 0 })
  })

  test('conversations grow, so that their prefixes are found in the cache', async () => {
    const stop = new AbortController()
    const before = instance().stats().prefixHitTokens
    let settled = 0
    const load = runDemoLoad({
      url: instance().url,
      model: VIRTUAL_MODEL,
      capacityCallsPerS: 600,
      clock: systemClock,
      rng: createRng(2),
      signal: stop.signal,
      onSettled: () => ++settled === 600 && stop.abort(),
    })
    await load
    expect(instance().stats().prefixHitTokens).toBeGreaterThan(before)
  })
})
