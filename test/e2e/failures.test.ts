import { readdirSync, readFileSync } from 'node:fs'
import OpenAI from 'openai'
import { afterEach, expect, test } from 'vitest'
import { ask, storedCalls } from './database.ts'
import { endAll, eventually, startInstance, startSite } from './processes.ts'

/** Accidents, played with real processes and real signals. */
afterEach(endAll)

const model = 'llama-2-7b'
const question = [{ role: 'user' as const, content: 'Tell me a long story about the sea' }]
const clientOf = (proxy: string): OpenAI => new OpenAI({ baseURL: `${proxy}/v1`, apiKey: 'any', maxRetries: 0 })
/** Asks a virtual instance for an answer of exactly this length. */
const tokens = (count: number) => ({ headers: { 'x-virtual-output-tokens': String(count) } })

async function rowsOf(site: Parameters<typeof storedCalls>[0], count: number) {
  return eventually(`${count} calls are logged`, () => {
    const all = storedCalls(site)
    return all.length >= count ? all : undefined
  })
}

test("an instance killed mid-stream: the call ends with the API's error, the next calls avoid it", async () => {
  const instances = [await startInstance(), await startInstance()]
  // No trial call within the test: on a busy machine one would come in between.
  const site = await startSite(instances, { health: { ejectMs: 60_000 } })
  const openai = clientOf(site.proxy)
  const { data: stream, response } = await openai.chat.completions
    .create({ model, stream: true, messages: question, max_tokens: 4_000 }, tokens(4_000))
    .withResponse()
  const victim = Number(response.headers.get('x-phasewise-instance')?.slice(1))
  const reading = (async () => {
    let chunks = 0
    for await (const _chunk of stream) if (++chunks === 5) instances[victim]!.kill('SIGKILL')
  })()
  await expect(reading).rejects.toThrow()
  await instances[victim]!.exited
  for (let i = 0; i < 6; i++) await openai.chat.completions.create({ model, messages: question, max_tokens: 4 })
  const calls = await rowsOf(site, 7)
  expect(calls[0]).toMatchObject({ outcome: 'instance error', instance: `i${victim}`, attempts: 1 })
  expect(calls.slice(1).every((one) => one.outcome === 'completed' && one.instance === `i${1 - victim}`)).toBe(true)
  // Until a scrape or a call finds nobody listening, one call may still be sent there; it is tried again.
  expect(calls.filter((one) => one.attempts > 1).length).toBeLessThanOrEqual(1)
}, 60_000)

test('an instance killed before the first byte: the call is retried, the caller sees success', async () => {
  const instances = [await startInstance(), await startInstance()]
  const site = await startSite(instances)
  const openai = clientOf(site.proxy)
  await openai.chat.completions.create({ model, messages: question, max_tokens: 4 })
  instances[0]!.kill('SIGKILL')
  await instances[0]!.exited
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => openai.chat.completions.create({ model, messages: question, max_tokens: 4 })),
  )
  expect(answers.every((one) => one.choices[0]?.message.content)).toBe(true)
  const calls = await rowsOf(site, 9)
  expect(calls.every((one) => one.outcome === 'completed')).toBe(true)
}, 60_000)

test('a caller who leaves: the instance stops, the row says so, the ledger is empty', async () => {
  const instance = await startInstance()
  const site = await startSite([instance])
  const stop = new AbortController()
  const stream = await clientOf(site.proxy).chat.completions.create(
    { model, stream: true, messages: question, max_tokens: 4_000 },
    { ...tokens(4_000), signal: stop.signal },
  )
  for await (const _chunk of stream) {
    stop.abort()
    break
  }
  expect((await rowsOf(site, 1))[0]).toMatchObject({ outcome: 'client gone' })
  await eventually('the engine holds no call', async () => {
    const metrics = await (await fetch(`${instance.url}/metrics`)).text()
    return /num_requests_running\S* 0(\.0)?$/m.test(metrics) || undefined
  })
  await eventually(
    'the ledger is empty',
    () => ask<{ n: number }>(site, 'SELECT sum(in_flight) AS n FROM fleet_now')[0]?.n === 0 || undefined,
  )
}, 60_000)

test('the router is killed with -9: the supervisor starts it again, the database is intact', async () => {
  const site = await startSite([await startInstance()])
  const openai = clientOf(site.proxy)
  for (let i = 0; i < 10; i++) await openai.chat.completions.create({ model, messages: question, max_tokens: 4 })
  await rowsOf(site, 10)
  const [{ pid } = { pid: 0 }] = ask<{ pid: number }>(site, 'SELECT pid FROM router_now')
  process.kill(pid, 'SIGKILL')
  await site.phasewise.printed(/router ended \(SIGKILL\)/)
  await eventually('the proxy answers again', async () => {
    const reply = await fetch(`${site.proxy}/health/ready`).catch(() => undefined)
    return reply?.ok || undefined
  })
  await openai.chat.completions.create({ model, messages: question, max_tokens: 4 })
  expect(await rowsOf(site, 11)).toHaveLength(11)
  expect(ask<{ quick_check: string }>(site, 'PRAGMA quick_check')[0]?.quick_check).toBe('ok')
  const crashes = await eventually(
    'the crash is counted',
    () => ask<{ value: number }>(site, "SELECT value FROM counter WHERE name = 'crashed: router'")[0],
  )
  expect(crashes.value).toBe(1)
}, 60_000)

test('the admin is killed: callers notice nothing, and it comes back', async () => {
  const site = await startSite([await startInstance()])
  const stream = await clientOf(site.proxy).chat.completions.create(
    { model, stream: true, messages: question, max_tokens: 400 },
    tokens(400),
  )
  let chunks = 0
  for await (const _chunk of stream) {
    if (++chunks !== 3) continue
    const owner = await fetch(`${site.admin}/health`)
    expect(owner.ok).toBe(true)
    for (const pid of childrenOf(site.phasewise.pid, 'admin')) process.kill(pid, 'SIGKILL')
  }
  expect(chunks).toBeGreaterThan(100)
  await site.phasewise.printed(/admin ended \(SIGKILL\)/)
  await eventually('the admin answers again', async () => (await fetch(`${site.admin}/health`).catch(() => undefined))?.ok || undefined)
  expect((await rowsOf(site, 1))[0]?.outcome).toBe('completed')
}, 60_000)

test('a thousand streams at once all end well, and nothing is left in flight', async () => {
  const site = await startSite([await startInstance({ timeFactor: 2 }), await startInstance({ timeFactor: 2 })])
  const ends = await Promise.all(
    Array.from({ length: 1_000 }, async () => {
      const reply = await fetch(`${site.proxy}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-virtual-output-tokens': '20' },
        body: JSON.stringify({ model, stream: true, messages: question, ignore_eos: true, max_tokens: 20 }),
      })
      return (await reply.text()).trimEnd().endsWith('[DONE]')
    }),
  )
  expect(ends.filter((well) => !well)).toEqual([])
  const calls = await rowsOf(site, 1_000)
  expect(calls.filter((one) => one.outcome !== 'completed')).toEqual([])
  expect(new Set(calls.map((one) => one.instance)).size).toBe(2)
  await eventually(
    'the ledger is empty',
    () => ask<{ n: number }>(site, 'SELECT sum(in_flight) AS n FROM fleet_now')[0]?.n === 0 || undefined,
  )
}, 120_000)

test('a slow reader gets all of it, and holds nobody up', async () => {
  const site = await startSite([await startInstance({ timeFactor: 20 })])
  const reply = await fetch(`${site.proxy}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-virtual-output-tokens': '2000' },
    body: JSON.stringify({ model, stream: true, messages: question, ignore_eos: true, max_tokens: 2_000 }),
  })
  const reader = reply.body!.getReader()
  await reader.read()
  for (let i = 0; i < 5; i++) await clientOf(site.proxy).chat.completions.create({ model, messages: question, max_tokens: 4 })
  let text = ''
  for (let part = await reader.read(); !part.done; part = await reader.read()) text += new TextDecoder().decode(part.value)
  expect(text.trimEnd().endsWith('[DONE]')).toBe(true)
  expect((await rowsOf(site, 6)).every((one) => one.outcome === 'completed')).toBe(true)
}, 60_000)

/** Ids of the processes under `parent` that play `role`, from /proc. */
function childrenOf(parent: number, role: string): number[] {
  return processes().flatMap(({ pid, ppid, command }) => (ppid === parent && command.endsWith(`role ${role}`) ? [pid] : []))
}

function processes(): { pid: number; ppid: number; command: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
        const ppid = Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${name}/stat`, 'utf8'))?.[1])
        return [{ pid: Number(name), ppid, command }]
      } catch (error) {
        // It ended between the listing and the look.
        if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH')) return []
        throw error
      }
    })
}
