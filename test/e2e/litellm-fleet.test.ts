import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import OpenAI from 'openai'
import { Agent, fetch as fetchBy } from 'undici'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { makeCertificate } from '../certificate.ts'
import { ask, storedCalls } from './database.ts'
import { copyHook, endProxies, installLitellm, type LitellmProxy, MASTER_KEY, startLitellm } from './litellm/proxy.ts'
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

/** LiteLLM's own proxy where the fleet changes, is full, or is shared, over TLS and the Unix socket: holding, deployments added at run time, hosted providers. */

const GROW = new URL('./litellm/grow.py', import.meta.url).pathname

let site: Site & { readonly phasewise: RunningProcess }
let placements = ''
let urls: readonly string[] = []
let anyone: Agent
let hosted: Server
let hostedCalls = 0
let one: LitellmProxy
let two: LitellmProxy

beforeAll(async () => {
  installLitellm()
  const instances = await Promise.all([startInstance(), startInstance(), startInstance(), startInstance({ profile: 'v100-llama-2-7b' })])
  urls = instances.map(({ url }) => url)
  hosted = createServer((request, response) => {
    hostedCalls++
    request.resume()
    const choices = [{ index: 0, message: { role: 'assistant', content: 'from elsewhere' }, finish_reason: 'stop' }]
    const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ id: 'x', object: 'chat.completion', created: 1, model: 'm', choices, usage }))
  })
  await new Promise<void>((resolve) => hosted.listen(0, '127.0.0.1', resolve))
  const [port, proxy, admin, metrics] = await freePorts(4)
  placements = `https://localhost:${port}`
  const { files: tls } = await makeCertificate()
  anyone = new Agent({ connect: { ca: readFileSync(tls.certFile) } })
  const socket = join(makeFolder(), 'api.sock')
  const file = join(makeFolder(), 'instances.yaml')
  writeFileSync(file, stringify([named(0), named(1)]))
  site = await startSite([], {
    gateways: { openai: { listen: proxy }, placements: { listen: port, socket, tls, loopbackWithoutKey: true }, envoy: { listen: 'off' } },
    admin: { listen: admin },
    telemetry: { metrics },
    pools: [
      { name: 'llama-2-7b', engine: 'virtual', instancesFile: file },
      { name: 'full', engine: 'virtual', hold: { order: 'fcfs', waitingMax: 0 }, instances: [{ name: 'slow', url: urls[3] }] },
    ],
  })
  const attached = await attachedBy(site)
  expect(attached).toEqual({ PHASEWISE_URL: placements, PHASEWISE_CA_FILE: tls.certFile })
  grow = () => writeFileSync(file, stringify([named(0), named(1), named(2)]))
  const hostedUrl = `http://127.0.0.1:${(hosted.address() as AddressInfo).port}`
  const mixed = [
    { url: urls[0] ?? '', group: 'mixed' },
    { url: hostedUrl, group: 'mixed' },
  ]
  ;[one, two] = await Promise.all([
    start({
      deployments: [
        { url: urls[3] ?? '', group: 'full' },
        { url: urls[0] ?? '', group: 'growing' },
        { url: hostedUrl, group: 'elsewhere' },
        ...mixed,
      ],
      callbacks: ['phasewise_litellm.handler', 'grow.handler'],
      env: attached,
    }),
    start({
      deployments: mixed,
      callbacks: ['phasewise_litellm.handler'],
      env: { PHASEWISE_URL: `unix:${socket}`, PHASEWISE_KEEP_FOREIGN: 'true', PHASEWISE_SEND: 'features' },
      workers: 2,
    }),
  ])
}, 240_000)

afterAll(async () => {
  await anyone?.close()
  await endProxies()
  await endAll()
  hosted?.close()
})

/** The environment that `attach litellm` tells to set. */
async function attachedBy({ folder }: Site): Promise<Record<string, string>> {
  const printed = runPhasewise(['attach', 'litellm'], { cwd: folder })
  expect(await printed.exited, printed.text()).toBe(0)
  expect(printed.text()).not.toContain('Nothing answers')
  return Object.fromEntries([...printed.text().matchAll(/^export (\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]))
}

let grow = (): void => undefined
const named = (i: number) => ({ name: `i${i}`, url: urls[i] })

function start(given: {
  readonly deployments: readonly { readonly url: string; readonly group: string }[]
  readonly callbacks: readonly string[]
  readonly env: Record<string, string>
  readonly workers?: number
}): Promise<LitellmProxy> {
  const folder = makeFolder()
  copyHook(folder)
  copyFileSync(GROW, join(folder, 'grow.py'))
  const { deployments, callbacks, env, ...rest } = given
  return startLitellm({
    folder,
    deployments,
    config: {
      // Without it LiteLLM goes on with a whole answer that nobody waits for.
      general_settings: { master_key: MASTER_KEY, cancel_on_disconnect: true },
      router_settings: { num_retries: 0, disable_cooldowns: true },
      litellm_settings: { callbacks },
    },
    env: { PHASEWISE_DEADLINE_MS: '2000', ...env },
    ...rest,
  })
}

const clientOf = (proxy: LitellmProxy): OpenAI => new OpenAI({ baseURL: `${proxy.url}/v1`, apiKey: MASTER_KEY, maxRetries: 0 })
const say = (model: string, content: string, more: object = {}) => ({
  model,
  messages: [{ role: 'user' as const, content }],
  max_tokens: 8,
  ...more,
})
const as = (application: string) => ({ headers: { 'x-phasewise-application': application } })
const settled = (application: string, n: number) =>
  eventually(`${n} calls of ${application} are settled`, () => {
    const stored = ask<Row>(site, `SELECT outcome, error, held_ms AS heldMs, stream FROM call WHERE application = '${application}'`)
    return stored.length >= n ? stored : undefined
  })
interface Row {
  readonly outcome: string
  readonly error: string | null
  readonly heldMs: number
  readonly stream: number
}

/** Three such prompts fill the KV memory that the V100 has. */
const LONG = 'word '.repeat(4_800)

test('calls that Phasewise holds wait in LiteLLM and are asked for again until their turn comes', async () => {
  const client = clientOf(one)
  const calls = 8
  await Promise.all(Array.from({ length: calls }, (_, i) => client.chat.completions.create(say('full', `${i} ${LONG}`), as('held'))))
  const stored = await settled('held', calls)
  expect(stored.map((row) => row.outcome)).toEqual(Array(calls).fill('completed'))
  // The first ones fill the memory, the rest waits for their ends.
  expect(stored.filter((row) => row.heldMs > 50).length).toBeGreaterThanOrEqual(3)
  expect(one.text()).not.toMatch(/^phasewise: (no placement|failed|does not answer)/m)
}, 60_000)

test('a caller who leaves while its call is held frees its place', async () => {
  const client = clientOf(one)
  const others = Array.from({ length: 5 }, (_, i) => client.chat.completions.create(say('full', `stay ${i} ${LONG}`), as('stayer')))
  await eventually('some are held', async () => ((await healthOf()).held >= 2 ? true : undefined))
  const left = new AbortController()
  const leaver = client.chat.completions.create(say('full', `leave ${LONG}`), { signal: left.signal, ...as('left held') })
  await eventually('its call is held too', async () => ((await healthOf()).held >= 3 ? true : undefined))
  left.abort()
  await expect(leaver).rejects.toThrow()
  await Promise.all(others)
  const [row] = await settled('left held', 1)
  expect(row?.outcome).toBe('client gone')
  expect(await eventually('nothing stays open', async () => ((await healthOf()).open === 0 ? true : undefined))).toBe(true)
}, 60_000)

test('a caller who leaves before its whole answer came is noted as such', async () => {
  const left = new AbortController()
  const answer = clientOf(one).chat.completions.create(say('growing', 'a long story', { max_tokens: 4_000, ignore_eos: true }), {
    signal: left.signal,
    ...as('left whole'),
  })
  await eventually('it runs', async () => ((await healthOf()).open >= 1 ? true : undefined))
  left.abort()
  await expect(answer).rejects.toThrow()
  const [row] = await settled('left whole', 1)
  expect(row?.outcome).toBe('client gone')
}, 60_000)

test('the first token of a stream is told while the stream runs', async () => {
  const left = new AbortController()
  const stream = await clientOf(one).chat.completions.create(
    { ...say('growing', 'on and on', { max_tokens: 8_000, ignore_eos: true }), stream: true },
    { signal: left.signal, ...as('streamer') },
  )
  // A loop that is left would end the stream.
  await stream[Symbol.asyncIterator]().next()
  // Without being told, all of the prompt would be pending until the call's end.
  await eventually('one call runs, and no prompt waits for it', () => {
    const rows = ask<{ n: number; pending: number }>(
      site,
      'SELECT sum(in_flight) AS n, sum(prefill_tokens_pending) AS pending FROM fleet_now',
    )
    return rows[0]?.n === 1 && rows[0].pending === 0 ? true : undefined
  })
  left.abort()
  const [row] = await settled('streamer', 1)
  expect(row?.outcome).toBe('client gone')
}, 60_000)

const read = async (path: string): Promise<unknown> => (await fetchBy(placements + path, { dispatcher: anyone })).json()
const healthOf = async () => (await read('/v1/health')) as { open: number; held: number }

test('a deployment and an instance added at run time are placed on at once', async () => {
  const client = clientOf(one)
  grow()
  await eventually('Phasewise has taken it in', async () => {
    const fleet = (await read('/v1/fleet')) as { pools: { instances: { name: string }[] }[] }
    return fleet.pools.some((pool) => pool.instances.some(({ name }) => name === 'i2')) ? true : undefined
  })
  await client.chat.completions.create(say('growing', 'grow', { user: `grow growing ${urls[2]}` }), as('grown'))
  await Promise.all(Array.from({ length: 20 }, (_, i) => client.chat.completions.create(say('growing', `after ${i}`), as('grown'))))
  await settled('grown', 21)
  const on = new Set(storedCalls(site).flatMap((call) => (call.application === 'grown' ? [call.instance] : [])))
  expect([...on].sort()).toEqual(['i0', 'i2'])
})

test('a stranger is left out by default, and a list of strangers alone stays as it is', async () => {
  const before = hostedCalls
  const client = clientOf(one)
  for (let i = 0; i < 8; i++) await client.chat.completions.create(say('mixed', `ours ${i}`), as('without'))
  await settled('without', 8)
  expect(hostedCalls).toBe(before)
  await client.chat.completions.create(say('elsewhere', 'theirs'), as('elsewhere'))
  expect(hostedCalls).toBe(before + 1)
  expect(await eventually('nothing is open', async () => ((await healthOf()).open === 0 ? true : undefined))).toBe(true)
  expect(ask(site, "SELECT 1 FROM call WHERE application = 'elsewhere'")).toEqual([])
})

test('two workers both ask, by the Unix socket; with PHASEWISE_KEEP_FOREIGN the stranger stays beside the pick, and its calls are no outcomes of ours', async () => {
  const named = () => two.text().match(/is no instance of Phasewise/g)?.length ?? 0
  let sent = 0
  let elsewhere = 0
  // A connection of its own per call, so that both workers get some; each of them names the stranger once.
  await eventually('both workers have asked', async () => {
    const reply = await fetch(`${two.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${MASTER_KEY}`, 'content-type': 'application/json', connection: 'close', ...as('kept').headers },
      body: JSON.stringify(say('mixed', `kept ${sent++}`)),
    })
    const text = await reply.text()
    expect(reply.status, text).toBe(200)
    // What callers saw counts: now and then LiteLLM asks a hosted provider once more than it answers by.
    if (text.includes('from elsewhere')) elsewhere++
    return named() >= 2 && sent >= 16 ? true : undefined
  })
  expect(named()).toBe(2)
  const stored = await settled('kept', sent)
  expect(elsewhere).toBeGreaterThan(0)
  expect(elsewhere).toBeLessThan(sent)
  const wished = [...Array(sent - elsewhere).fill('completed'), ...Array(elsewhere).fill('served elsewhere')]
  expect(stored.map((row) => row.error ?? row.outcome).sort()).toEqual(wished)
}, 90_000)
