import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ask as askLog, storedCalls } from './database.ts'
import { endAll, eventually, freePorts, makeFolder, type RunningProcess, type Site, startInstance, startSite } from './processes.ts'

/** The callers and the gateway of the README's attach section, run as they stand there. */

const KEY = 'pw-test-key-of-nginx'
const example = (name: string): string => new URL(`./examples/${name}`, import.meta.url).pathname
let site: Site & { readonly phasewise: RunningProcess }
let api = ''
let urls: string[] = []

beforeAll(async () => {
  process.env.PHASEWISE_TEST_KEY = KEY
  const instances = await Promise.all([startInstance(), startInstance()])
  urls = instances.map((one) => one.url)
  const [port, proxy, admin, metrics, envoy] = await freePorts(5)
  api = `http://127.0.0.1:${port}`
  site = await startSite(instances, {
    gateways: {
      openai: { listen: proxy },
      placements: { listen: port, loopbackWithoutKey: true, keys: [{ name: 'nginx', key: { env: 'PHASEWISE_TEST_KEY' } }] },
      envoy: { listen: envoy },
    },
    admin: { listen: admin },
    telemetry: { metrics },
  })
})
afterAll(endAll)

const stored = (n: number) =>
  eventually(`${n} calls are stored`, () => {
    const calls = storedCalls(site)
    return calls.length >= n ? calls : undefined
  })

test.each([
  ['Python', 'python3', 'place.py'],
  ['TypeScript', process.execPath, 'place.ts'],
])('the %s caller places, calls and reports', async (_, program, file) => {
  const before = storedCalls(site).length
  const done = spawnSync(program, [example(file), api, 'llama-2-7b', 'Say hello.'], { encoding: 'utf8' })
  expect(done.status, done.stderr).toBe(0)
  expect(done.stdout).toMatch(/^i[01] \w/)
  expect((await stored(before + 1)).at(-1)).toMatchObject({ outcome: 'completed', attempts: 1 })
  const lines = readFileSync(example(file), 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '' && !/^(\/\*\*|""")/.test(line))
  expect(lines.length).toBeLessThanOrEqual(15)
})

const noNginx = spawnSync('nginx', ['-v']).error !== undefined
if (noNginx && process.env.CI !== 'true')
  console.warn('skipped: no nginx; install it: apt-get install -y --no-install-recommends nginx-light')

test.skipIf(noNginx && process.env.CI !== 'true')('nginx asks, obeys, streams and reports; without Phasewise it fails open', async () => {
  const [port = 0] = await freePorts(1)
  const folder = makeFolder()
  mkdirSync(join(folder, 'logs'))
  const words = { LISTEN: `127.0.0.1:${port}`, PHASEWISE: new URL(api).host, KEY, MODEL: 'llama-2-7b', FALLBACK: `"${urls[0]}"` }
  const conf = readFileSync(example('nginx.conf'), 'utf8').replace(/^(?!#).*$/gm, (line) =>
    line.replace(/\b(LISTEN|PHASEWISE|KEY|MODEL|FALLBACK)\b/g, (word) => words[word as keyof typeof words]),
  )
  writeFileSync(join(folder, 'nginx.conf'), conf)
  const nginx = spawn('nginx', ['-p', folder, '-c', 'nginx.conf', '-g', 'daemon off;'], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  nginx.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  const gone = once(nginx, 'close')
  const ask = (stream: boolean) =>
    fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'llama-2-7b', stream, max_tokens: 5, messages: [{ role: 'user', content: 'hi' }] }),
    })
  try {
    await eventually(`nginx serves: ${said}`, () =>
      ask(false).then(
        (reply) => (reply.ok ? true : undefined),
        () => undefined,
      ),
    )
    const before = (await stored(1)).length
    for (let i = 0; i < 6; i++) {
      const reply = await ask(i % 2 === 0)
      expect(reply.status, said).toBe(200)
      await reply.text()
    }
    const calls = (await stored(before + 6)).slice(before)
    expect(
      calls.every((one) => one.outcome === 'completed'),
      said,
    ).toBe(true)
    expect(new Set(calls.map((one) => one.instance)).size).toBe(2)
    site.phasewise.kill('SIGKILL')
    const [{ pid } = { pid: 0 }] = askLog<{ pid: number }>(site, 'SELECT pid FROM router_now')
    await site.phasewise.exited
    await eventually('the router is gone', () => (isRunning(pid) ? undefined : true))
    expect((await ask(false)).status).toBe(200)
  } finally {
    nginx.kill()
    await gone
  }
})

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    // No process has the id.
    return false
  }
}
