import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { ask, storedCalls } from './database.ts'
import { endAll, eventually, type InstanceProcess, makeFolder, startInstance, startSite } from './processes.ts'

/** What a real vLLM does when things go wrong, played by virtual instances, and what the caller and the log make of it. */
afterEach(endAll)

const model = 'llama-2-7b'

/** Two instances; the first is the faster one by configuration, so that an idle fleet starts there. */
async function startPair() {
  const first = await startInstance()
  const second = await startInstance()
  const pool = {
    name: model,
    engine: 'virtual',
    exploration: 0,
    instances: [
      { name: 'first', url: first.url, speed: 9 },
      { name: 'second', url: second.url },
    ],
  }
  return { first, site: await startSite([], { pools: [pool] }) }
}

async function behave(instance: InstanceProcess, behaviour: Record<string, unknown>): Promise<void> {
  const reply = await fetch(`${instance.url}/virtual/behaviour`, { method: 'POST', body: JSON.stringify(behaviour) })
  expect(reply.status, await reply.text()).toBeLessThan(300)
}

function ask4(proxy: string, options: { readonly stream?: boolean; readonly tokens?: number } = {}): Promise<Response> {
  const { stream = false, tokens = 8 } = options
  return fetch(`${proxy}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-virtual-output-tokens': String(tokens) },
    body: JSON.stringify({ model, stream, messages: [{ role: 'user', content: 'hello' }], ignore_eos: true, max_tokens: tokens }),
  })
}

const stateOf = (site: Parameters<typeof ask>[0], name: string): string | undefined =>
  ask<{ state: string }>(site, `SELECT state FROM fleet_now WHERE name = '${name}'`)[0]?.state

const logged = (site: Parameters<typeof ask>[0], count: number) =>
  eventually(`${count} calls are logged`, () => (storedCalls(site).length >= count ? storedCalls(site) : undefined))

test('hung: health and metrics say 200 and nothing comes; the call goes elsewhere, the instance is let go', async () => {
  const { first, site } = await startPair()
  await behave(first, { mode: 'hung' })
  const reply = await ask4(site.proxy, { stream: true })
  expect((await reply.text()).trimEnd().endsWith('[DONE]')).toBe(true)
  expect((await fetch(`${first.url}/health`)).status).toBe(200)
  const [call] = await logged(site, 1)
  expect(call).toMatchObject({ outcome: 'completed', instance: 'second', attempts: 2 })
  await eventually('the hung instance is ejected', () => (stateOf(site, 'first') === 'ejected' ? true : undefined))
}, 60_000)

test('engine killed: an error event and [DONE] under status 200 is an instance error, not a completed call', async () => {
  const { first, site } = await startPair()
  const reply = await ask4(site.proxy, { stream: true, tokens: 3_000 })
  await behave(first, { mode: 'engine-killed' })
  expect(await reply.text()).toMatch(/"error"/)
  const [call] = await logged(site, 1)
  expect(call).toMatchObject({ outcome: 'instance error', instance: 'first' })
  const next = await ask4(site.proxy)
  expect([next.status, next.headers.get('x-phasewise-instance')]).toEqual([200, 'second'])
}, 60_000)

test('ended without grace: streams fall silent for good; the caller is told, not kept', async () => {
  const { first, site } = await startPair()
  const reply = await ask4(site.proxy, { stream: true, tokens: 3_000 })
  const reader = reply.body!.getReader()
  await reader.read()
  await behave(first, { mode: 'sigterm-silent' })
  let text = ''
  for (let part = await reader.read(); !part.done; part = await reader.read()) text += new TextDecoder().decode(part.value)
  expect(text).toMatch(/"error"/)
  const [call] = await logged(site, 1)
  expect(call).toMatchObject({ outcome: 'instance error', instance: 'first' })
}, 60_000)

test('draining: an empty answer with finish_reason "abort" under status 200 is no success; it is tried elsewhere', async () => {
  const { first, site } = await startPair()
  await behave(first, { mode: 'draining-abort' })
  expect(await (await ask4(site.proxy)).text()).not.toMatch(/"abort"/)
  const streamed = await (await ask4(site.proxy, { stream: true })).text()
  expect(streamed).not.toMatch(/"abort"/)
  const calls = await logged(site, 2)
  expect(calls[0]).toMatchObject({ outcome: 'completed', instance: 'second', attempts: 2 })
  expect(calls.every((one) => one.outcome === 'completed')).toBe(true)
}, 60_000)

test('queue full: 503 without Retry-After means elsewhere, not broken: no ejection', async () => {
  const { first, site } = await startPair()
  await behave(first, { mode: 'queue-full' })
  for (let i = 0; i < 5; i++) expect((await ask4(site.proxy)).status).toBe(200)
  const calls = await logged(site, 5)
  expect(calls.every((one) => one.outcome === 'completed' && one.instance === 'second' && one.attempts === 2)).toBe(true)
  expect(stateOf(site, 'first')).not.toBe('ejected')
}, 60_000)

test('a watched file adds and removes instances while calls go on', async () => {
  const one = await startInstance()
  const two = await startInstance()
  const file = join(makeFolder(), 'instances.yaml')
  const write = (list: readonly { name: string; url: string }[]): void => {
    writeFileSync(`${file}.new`, JSON.stringify(list))
    renameSync(`${file}.new`, file)
  }
  write([{ name: 'one', url: one.url }])
  const site = await startSite([], { pools: [{ name: model, engine: 'virtual', exploration: 0, instancesFile: file }] })
  expect((await ask4(site.proxy)).headers.get('x-phasewise-instance')).toBe('one')
  write([{ name: 'two', url: two.url }])
  await eventually('the new instance serves', async () => {
    const reply = await ask4(site.proxy)
    expect(reply.status).toBe(200)
    await reply.text()
    return reply.headers.get('x-phasewise-instance') === 'two' || undefined
  })
  expect((await logged(site, 2)).every((call) => call.outcome === 'completed')).toBe(true)
}, 60_000)
