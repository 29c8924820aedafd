import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../plugin/clock.ts'
import { runVirtualInstance, startVirtualFleet } from '../../plugin/simulation/virtual-fleet.ts'
import type { VirtualInstance } from '../../plugin/simulation/virtual-instance.ts'

let instance: VirtualInstance

beforeEach(async () => {
  instance = await runVirtualInstance({ name: 'v', profile: 'h100-llama-2-7b', timeFactor: 20, clock: systemClock })
})
afterEach(() => instance.close())

const BODY = {
  model: 'llama-2-7b',
  messages: [{ role: 'user', content: 'Question: why?' }],
  stream: true,
  max_tokens: 400,
  ignore_eos: true,
}

function call(headers: Record<string, string> = {}, body: object = BODY): Promise<Response> {
  return fetch(`${instance.url}/v1/chat/completions`, { method: 'POST', headers, body: JSON.stringify(body) })
}

async function firstBytes(response: Response): Promise<ReadableStreamDefaultReader<Uint8Array>> {
  const reader = response.body!.getReader()
  await reader.read()
  return reader
}

async function rest(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
  let text = ''
  for (let part = await reader.read(); !part.done; part = await reader.read()) text += Buffer.from(part.value).toString()
  return text
}

const health = () => fetch(`${instance.url}/health`).then((r) => r.status)
const generated = async () => /generation_tokens_total\{.*\} (\d+)/.exec(await (await fetch(`${instance.url}/metrics`)).text())![1]

describe('what a vLLM server does when things go wrong', () => {
  test('hung: health and metrics answer, counters stand still, calls hang; afterwards they go on', async () => {
    const reader = await firstBytes(await call())
    await instance.setBehaviour({ mode: 'hung' })
    const before = await generated()
    const hanging = await call({}, { ...BODY, max_tokens: 5 })
    expect(await health()).toBe(200)
    expect(await generated()).toBe(before)
    expect(instance.stats()).toMatchObject({ running: 1, waiting: 1 })
    await instance.setBehaviour({ mode: 'ok' })
    expect(await rest(reader)).toMatch(/"finish_reason":"length".*\n\ndata: \[DONE\]\n\n$/)
    expect(await hanging.text()).toContain('[DONE]')
  })

  test('engine killed: open streams get an error event and [DONE] under 200, health 503, then the port closes', async () => {
    const response = await call()
    const reader = await firstBytes(response)
    await instance.setBehaviour({ mode: 'engine-killed' })
    const text = await rest(reader)
    expect(response.status).toBe(200)
    expect(text).toMatch(/data: \{"error":\{.*"code":500\}\}\n\ndata: \[DONE\]\n\n$/)
    expect(await health()).toBe(503)
    await expect.poll(() => health().catch(() => 'closed'), { timeout: 5000 }).toBe('closed')
  })

  test('SIGTERM by default: the port closes at once, open streams fall silent', async () => {
    const reader = await firstBytes(await call())
    await instance.setBehaviour({ mode: 'sigterm-silent' })
    await expect(health()).rejects.toThrow('fetch failed')
    const before = instance.stats().generationTokens
    await instance.setBehaviour({ mode: 'ok' })
    await expect.poll(() => instance.stats().generationTokens).toBeGreaterThan(before)
    const silent = Symbol('silent')
    let read: unknown = reader.read()
    // What was on its way may still come; the end never does.
    for (let i = 0; i < 1000; i++) {
      const part = await Promise.race([
        read,
        call({}, { ...BODY, max_tokens: 1 })
          .then((r) => r.text())
          .then(() => silent),
      ])
      if (part === silent) return
      expect((part as { done: boolean }).done).toBe(false)
      read = reader.read()
    }
    throw new Error('the stream never fell silent')
  })

  test('SIGTERM with a timeout: streams drain, health is 200, new calls get an empty abort under 200', async () => {
    const reader = await firstBytes(await call())
    await instance.setBehaviour({ mode: 'draining-abort' })
    const refused = await call({}, { ...BODY, stream: false })
    expect(refused.status).toBe(200)
    expect(((await refused.json()) as { choices: unknown[] }).choices[0]).toMatchObject({
      message: { content: '' },
      finish_reason: 'abort',
    })
    expect(await (await call()).text()).toContain('"finish_reason":"abort"')
    expect(await health()).toBe(200)
    expect(await rest(reader)).toContain('[DONE]')
  })

  test('queue full: 503 without Retry-After, by switch and by the real limit', async () => {
    const full = await call({ 'x-virtual-behaviour': 'queue-full' })
    expect([full.status, full.headers.get('retry-after')]).toEqual([503, null])
    const small = await runVirtualInstance({ name: 's', profile: 'h100-llama-2-7b', seats: 1, maxQueued: 1, clock: systemClock })
    const send = () => fetch(`${small.url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(BODY) })
    await firstBytes(await send())
    await send()
    expect((await send()).status).toBe(503)
    await small.close()
  })

  test('one call alone: 500, reset, cut in the middle, killed in the middle', async () => {
    expect((await call({ 'x-virtual-behaviour': 'status-500' })).status).toBe(500)
    await expect(call({ 'x-virtual-behaviour': 'reset' })).rejects.toThrow('fetch failed')
    await expect((await call({ 'x-virtual-behaviour': 'cut' })).text()).rejects.toThrow('terminated')
    const killed = await (await call({ 'x-virtual-behaviour': 'engine-killed', 'x-virtual-after-tokens': '2' })).text()
    expect(killed.match(/"content":"[^"]+"/g)).toHaveLength(2)
    expect(killed).toContain('"code":500')
    expect((await call({ 'x-virtual-behaviour': 'nonsense' })).status).toBe(400)
    await expect.poll(() => instance.stats().running).toBe(0)
  })

  test('refuse for a while: connections are refused, calls under way end well, and the port opens again', async () => {
    const reader = await firstBytes(await call())
    const admin = await fetch(`${instance.url}/virtual/behaviour`, { method: 'POST', body: JSON.stringify({ mode: 'refuse', forMs: 100 }) })
    expect(admin.status).toBe(200)
    await expect.poll(() => health().catch(() => 'refused')).toBe('refused')
    expect(await rest(reader)).toContain('[DONE]')
    await expect.poll(() => health().catch(() => 'refused')).toBe(200)
  })

  test('the switch says what is allowed', async () => {
    const bad = await fetch(`${instance.url}/virtual/behaviour`, { method: 'POST', body: '{"mode":"sleepy"}' })
    expect(bad.status).toBe(400)
    expect(await bad.text()).toContain('engine-killed')
  })
})

test('a fleet that cannot start closes what it had started and names the culprit', async () => {
  const specs = [
    { name: 'good', profile: 'h100-llama-2-7b' },
    { name: 'taken', profile: 'h100-llama-2-7b', port: instance.port },
  ]
  await expect(startVirtualFleet({ specs, clock: systemClock })).rejects.toThrow('virtual instance taken did not start')
  await expect(startVirtualFleet({ specs: [{ name: 'odd', profile: 'odd' }], clock: systemClock })).rejects.toMatchObject({
    cause: { message: expect.stringContaining('a100-llama-2-7b') },
  })
})
