import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import OpenAI from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ask, storedCalls } from './database.ts'
import { copyHook, endProxies, HOOK, installLitellm, type LitellmProxy, MASTER_KEY, startLitellm } from './litellm/proxy.ts'
import {
  endAll,
  eventually,
  freePorts,
  makeFolder,
  type RunningProcess,
  runPhasewise,
  type Site,
  startInstance,
  startSite,
} from './processes.ts'

/** LiteLLM's own proxy before virtual instances, with the one file that makes it ask Phasewise, driven by the official client. */

const KEY = 'pw-test-key-of-litellm'
const PLACEMENTS = { loopbackWithoutKey: false, keys: [{ name: 'litellm', key: { env: 'PHASEWISE_TEST_KEY' } }] }

let site: Site & { readonly phasewise: RunningProcess }
let placements = ''
let broken: Server
let brokenUrl = ''
let litellm: LitellmProxy
let client: OpenAI
let urls: string[] = []

beforeAll(async () => {
  installLitellm()
  process.env.PHASEWISE_TEST_KEY = KEY
  const instances = await Promise.all([
    startInstance(),
    startInstance(),
    startInstance({ profile: 'v100-llama-2-7b' }),
    startInstance({ profile: 'v100-llama-2-7b' }),
  ])
  urls = instances.map((one) => one.url)
  broken = createServer((_, response) =>
    response.writeHead(500, { 'content-type': 'application/json' }).end('{"error":{"message":"boom"}}'),
  )
  await new Promise<void>((resolve) => broken.listen(0, '127.0.0.1', resolve))
  brokenUrl = `http://127.0.0.1:${(broken.address() as AddressInfo).port}`
  const [port, proxy, admin, metrics, envoy] = await freePorts(5)
  placements = `http://127.0.0.1:${port}`
  site = await startSite([...instances, { url: brokenUrl }], {
    gateways: { openai: { listen: proxy }, placements: { listen: port, ...PLACEMENTS }, envoy: { listen: envoy } },
    admin: { listen: admin },
    telemetry: { metrics },
  })
  const folder = makeFolder()
  copyHook(folder)
  litellm = await startLitellm({
    folder,
    deployments: [
      ...urls.map((url, i) => ({ url, id: `dep-${i}` })),
      ...urls.slice(0, 2).map((url) => ({ url, group: 'pair' })),
      { url: urls[0] ?? '', group: 'mixed' },
      { url: 'http://127.0.0.1:9', group: 'mixed' },
      { url: urls[0] ?? '', group: 'fragile' },
      { url: brokenUrl, group: 'fragile' },
      { url: brokenUrl, group: 'hopeless' },
      { url: urls[1] ?? '', group: 'cached' },
    ],
    config: {
      router_settings: { num_retries: 2, disable_cooldowns: true, fallbacks: [{ hopeless: ['pair'] }] },
      litellm_settings: { callbacks: 'phasewise_litellm.handler', cache: true, cache_params: { type: 'local', mode: 'default_off' } },
    },
    env: { PHASEWISE_URL: placements, PHASEWISE_KEY: KEY, PHASEWISE_DEADLINE_MS: '2000' },
  })
  client = new OpenAI({ baseURL: `${litellm.url}/v1`, apiKey: MASTER_KEY, maxRetries: 0 })
  // The first call of a worker pays for its imports.
  await client.chat.completions.create({ model: 'pair', messages: [{ role: 'user', content: 'warm up' }], max_tokens: 2 })
}, 240_000)

afterAll(async () => {
  await endProxies()
  await endAll()
  broken?.close()
})

const say = (content: string, model = 'chat') => ({ model, messages: [{ role: 'user' as const, content }], max_tokens: 12 })
/** Each test calls under a name of its own. */
const as = (application: string) => ({ headers: { 'x-phasewise-application': application } })
const openNow = async (): Promise<number> => ((await (await fetch(`${placements}/v1/health`)).json()) as { open: number }).open
const settled = async (application: string, n: number) => {
  const stored = () => storedCalls(site).filter((one) => one.application === application)
  const enough = async () => (stored().length >= n && (await openNow()) === 0 ? true : undefined)
  await eventually(`${n} calls of ${application} are settled`, enough).catch(async (error: unknown) => {
    const said = litellm
      .text()
      .match(/^phasewise.*$/gm)
      ?.join(' | ')
    throw new Error(`${error}: ${stored().length} are, ${await openNow()} are open; LiteLLM says: ${said}`)
  })
  return stored()
}

test('every call goes where it was placed, and every outcome is logged with tokens and times', async () => {
  const calls = 60
  await Promise.all(
    Array.from({ length: calls }, async (_, i) => {
      if (i % 2 === 0) await client.chat.completions.create(say(`call ${i}`), as('all'))
      else
        for await (const chunk of await client.chat.completions.create({ ...say(`call ${i}`), stream: true }, as('all')))
          expect(chunk.object).toBe('chat.completion.chunk')
    }),
  )
  const stored = await settled('all', calls)
  expect(stored).toHaveLength(calls)
  expect(stored.every((one) => one.outcome === 'completed' && one.attempts === 1 && one.output_tokens === 12)).toBe(true)
  expect(stored.filter((one) => one.stream === 1 && one.ttft_ms !== null)).toHaveLength(calls / 2)
  expect(counter('served elsewhere')).toBe(0)
})

test('Responses API, embeddings and Anthropic messages are placed too', async () => {
  await client.responses.create({ model: 'chat', input: 'hello', max_output_tokens: 8 }, as('apis'))
  await client.embeddings.create({ model: 'chat', input: 'hello' }, as('apis'))
  const reply = await fetch(`${litellm.url}/v1/messages`, {
    method: 'POST',
    headers: { authorization: `Bearer ${MASTER_KEY}`, 'content-type': 'application/json', ...as('apis').headers },
    body: JSON.stringify(say('hello')),
  })
  expect(reply.status, await reply.text()).toBe(200)
  const stored = await settled('apis', 3)
  expect(stored.map((one) => one.api)).toEqual(['openai-responses', 'openai-embeddings', 'anthropic-messages'])
  expect(stored.every((one) => one.outcome === 'completed')).toBe(true)
})

test("an instance's 500: LiteLLM's retries are further attempts of the same call", async () => {
  const calls = 8
  for (let i = 0; i < calls; i++) await client.chat.completions.create(say(`fragile ${i}`, 'fragile'), as('fragile'))
  const stored = await settled('fragile', calls)
  expect(stored).toHaveLength(calls)
  expect(stored.every((one) => one.outcome === 'completed')).toBe(true)
  const tries = ask<{ attempts: number; failed: number }>(
    site,
    "SELECT max(attempts) AS attempts, (SELECT count(*) FROM attempt WHERE error = 'status 500') AS failed FROM call",
  )
  expect(tries[0]?.failed).toBeGreaterThan(0)
  expect(tries[0]?.attempts).toBeGreaterThan(1)
})

test('a fallback to another model group is an attempt of the same call', async () => {
  await client.chat.completions.create(say('hopeless', 'hopeless'), as('hopeless'))
  const stored = await settled('hopeless', 1)
  expect(stored).toMatchObject([{ outcome: 'completed', attempts: 4 }])
})

test('strangers in a list are left out, and each is named once in the log', async () => {
  for (let i = 0; i < 4; i++) await client.chat.completions.create(say(`mixed ${i}`, 'mixed'))
  const named = litellm.text().match(/\(http:\/\/127\.0\.0\.1:9\/v1\) is no instance of Phasewise/g)
  expect(named).toHaveLength(1)
})

test('a caller who leaves a stream is noted as such', async () => {
  const left = new AbortController()
  const stream = await client.chat.completions.create(
    { ...say('a long story'), max_tokens: 2_000, stream: true },
    { signal: left.signal, ...as('leaver') },
  )
  for await (const _ of stream) break
  left.abort()
  const [stored] = await settled('leaver', 1)
  expect(stored?.outcome).toBe('client gone')
})

test('an answer from the cache was no call of an instance', async () => {
  const cached = { ...say('the same again', 'cached'), cache: { 'use-cache': true } }
  await client.chat.completions.create(cached, as('cached'))
  await client.chat.completions.create(cached, as('cached'))
  const stored = await settled('cached', 2)
  expect(stored.map((one) => [one.outcome, one.error])).toEqual([
    ['completed', null],
    ['client gone', 'cache hit'],
  ])
})

test('Phasewise killed under load: no call fails; it comes back and is asked again', async () => {
  const [{ pid } = { pid: 0 }] = ask<{ pid: number }>(site, 'SELECT pid FROM router_now')
  let isOver = false
  let done = 0
  const load = Promise.all(
    Array.from({ length: 8 }, async (_, lane) => {
      for (let i = 0; !isOver; i++) {
        await client.chat.completions.create(say(`lane ${lane} call ${i}`))
        done++
      }
    }),
  )
  await eventually('calls run', () => (done > 40 ? true : undefined))
  process.kill(pid, 'SIGKILL')
  const atKill = done
  await eventually('calls go on without it', () => (done > atKill + 40 ? true : undefined))
  await eventually('it serves again', () =>
    fetch(`${placements}/v1/health`).then(
      (reply) => reply.ok || undefined,
      () => undefined,
    ),
  )
  const before = storedCalls(site).length
  await eventually('it is asked again', () => (storedCalls(site).length > before + 20 ? true : undefined))
  isOver = true
  await load
  await eventually('all are settled', async () => ((await openNow()) === 0 ? true : undefined))
}, 120_000)

test('attach litellm, followed to the letter in a fresh folder', async () => {
  const printed = runPhasewise(['attach', 'litellm'], { cwd: site.folder })
  expect(await printed.exited, printed.text()).toBe(0)
  const text = printed.text()
  const folder = makeFolder()
  const commands = text.split('\n').filter((line) => /^(cp|export) /.test(line))
  const done = spawnSync('sh', ['-euc', `${commands.join('\n')}\nenv`], { cwd: folder, encoding: 'utf8' })
  expect(done.status, done.stderr).toBe(0)
  expect(existsSync(join(folder, 'phasewise_litellm.py'))).toBe(true)
  const env = Object.fromEntries(
    done.stdout.split('\n').flatMap((line) => (line.startsWith('PHASEWISE_') ? [line.split(/=(.*)/s).slice(0, 2)] : [])),
  )
  const lines = /^litellm_settings:\n(?: .*\n)+/m.exec(text)?.[0] ?? ''
  // Two workers: each asks for itself.
  const fresh = await startLitellm({ folder, deployments: urls.map((url) => ({ url })), lines, env, workers: 2 })
  const before = storedCalls(site).length
  const other = new OpenAI({ baseURL: `${fresh.url}/v1`, apiKey: MASTER_KEY, maxRetries: 0 })
  for (let i = 0; i < 10; i++) await other.chat.completions.create(say(`fresh ${i}`))
  await eventually('calls arrive', () => (storedCalls(site).length > before + 5 ? true : undefined))
  await fresh.end()
  const undone = runPhasewise(['detach', 'litellm'], { cwd: site.folder })
  expect(await undone.exited).toBe(0)
  expect(undone.text()).toContain('rm phasewise_litellm.py')
})

test('the file is typed and formatted for Python 3.9', () => {
  const bin = installLitellm()
  const root = new URL('../..', import.meta.url).pathname
  for (const [program, args] of [
    ['ruff', ['format', '--check', '--config', '.dev/ruff.toml', HOOK]],
    ['ruff', ['check', '--config', '.dev/ruff.toml', HOOK]],
    ['mypy', ['--strict', '--follow-imports=skip', '--allow-subclassing-any', '--cache-dir=/dev/null', HOOK]],
  ] as const) {
    const done = spawnSync(join(bin, program), args, { cwd: root, encoding: 'utf8' })
    expect(done.status, done.stdout + done.stderr).toBe(0)
  }
})

function counter(name: string): number {
  return ask<{ value: number }>(site, `SELECT value FROM counter WHERE name = '${name}'`)[0]?.value ?? 0
}
