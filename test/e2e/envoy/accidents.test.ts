import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { databasePath } from '../../../plugin/log/migrate.ts'
import { openReader } from '../../../plugin/log/read/reader.ts'
import { endAll, freePorts, makeFolder, type RunningProcess, runPhasewise } from '../processes.ts'
import { type RunningEnvoy, startEnvoy } from './envoy.ts'
import { answerJson, type ScriptedInstances, startInstances } from './instances.ts'
import { load, succeeded } from './load.ts'

/** Real Phasewise behind real Envoy when things go wrong. */
let instances: ScriptedInstances
const envoys: RunningEnvoy[] = []

beforeAll(async () => {
  instances = await startInstances(4)
})
afterEach(async () => {
  await Promise.all(envoys.splice(0).map((envoy) => envoy.stop('SIGKILL')))
  await endAll()
  instances.answer = answerJson
  instances.asked.length = 0
})
afterAll(() => instances.close())

interface Stack {
  readonly folder: string
  readonly process: RunningProcess
  readonly envoy: RunningEnvoy
  readonly pickerPort: number
}

const BODY = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hello' }] })

/** Phasewise with the Envoy door alone, and Envoy in front; the fourth instance is the static cluster's. */
async function start(pool: Record<string, unknown> = {}): Promise<Stack> {
  const folder = makeFolder()
  const [pickerPort = 0, listenPort = 0, adminPort = 0] = await freePorts(3)
  const placed = instances.urls.slice(0, 3).map((url, i) => ({ name: `i${i + 1}`, url }))
  const file = {
    gateways: { openai: { listen: 'off' }, placements: { listen: 'off' }, envoy: { listen: pickerPort } },
    admin: { listen: 'off' },
    telemetry: { metrics: 'off' },
    pools: [{ name: 'm', engine: 'other', instances: placed, ...pool }],
  }
  writeFileSync(join(folder, 'phasewise.yaml'), stringify(file))
  const running = runPhasewise(['start'], { cwd: folder })
  await running.printed(/picker +\S+/)
  const envoy = await startEnvoy({ pickerPort, listenPort, adminPort, unplaced: [new URL(instances.urls[3]!).host] })
  envoys.push(envoy)
  return { folder, process: running, envoy, pickerPort }
}

/** Calls in the log by outcome. */
function logged(folder: string): Record<string, number> {
  const reader = openReader(databasePath(join(folder, '.phasewise'), 'log'))
  try {
    const rows = reader.read((query) =>
      query.all<{ outcome: string; n: number }>('SELECT outcome, count(*) AS n FROM call GROUP BY outcome'),
    )
    return Object.fromEntries(rows.map(({ outcome, n }) => [outcome, n]))
  } finally {
    reader.close()
  }
}

/** Looks every 50 ms until it is so; the test's own timeout is the limit. */
async function until<T>(look: () => T | Promise<T>, so: (value: T) => boolean): Promise<T> {
  for (;;) {
    const value = await look()
    if (so(value)) return value
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** The router process under the supervisor. */
function routerPid(supervisor: number): number {
  const children = readFileSync(`/proc/${supervisor}/task/${supervisor}/children`, 'utf8').trim().split(' ').map(Number)
  const found = children.find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('router'))
  if (!found) throw new Error(`the supervisor ${supervisor} has no router`)
  return found
}

test('20,000 calls in a row: none fails, each is logged', async () => {
  const { envoy, folder, process } = await start()
  const tally = await load({ url: envoy.url, connections: 16, body: BODY, more: ({ sent }) => sent < 20_000 })
  expect([...tally.broken]).toEqual([])
  expect([...tally.byStatus]).toEqual([[200, 20_000]])
  // By its own destination, never by the static cluster.
  expect([...tally.byInstance.keys()].sort()).toEqual(['1', '2', '3'])
  process.kill('SIGTERM')
  await process.exited
  expect(logged(folder)).toEqual({ completed: 20_000 })
})

test('the router is killed under load: calls fail open to the static cluster, none hangs, and placement comes back', async () => {
  const { envoy, process } = await start()
  let phase: 'before' | 'killed' | 'back' = 'before'
  let enough = Number.POSITIVE_INFINITY
  const running = load({
    url: envoy.url,
    connections: 8,
    body: BODY,
    more: (tally) => {
      if (phase === 'before' && tally.sent === 300) {
        phase = 'killed'
        globalThis.process.kill(routerPid(process.pid), 'SIGKILL')
      }
      if (phase === 'killed' && (tally.byInstance.get('4') ?? 0) > 20) phase = 'back'
      if (phase === 'back' && instances.asked.at(-1)?.instance !== 4 && enough === Number.POSITIVE_INFINITY) enough = tally.sent + 200
      return tally.sent < enough
    },
  })
  const tally = await running
  const failed = tally.sent - succeeded(tally)
  expect(tally.byInstance.get('4')).toBeGreaterThan(20)
  // In flight at the picker when it died, or sent there before Envoy had seen that it was gone: at most two per connection.
  expect(failed).toBeLessThanOrEqual(16)
  expect([...tally.broken.keys()].filter((code) => code.includes('TIMEOUT'))).toEqual([])
})

test('Envoy is killed with streams open: each is logged as gone, and a new Envoy is served', async () => {
  const { envoy, folder, pickerPort } = await start()
  const open = Promise.withResolvers<void>()
  let streams = 0
  instances.answer = (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
    if (++streams === 20) open.resolve()
  }
  const calls = Array.from({ length: 20 }, () =>
    fetch(`${envoy.url}/v1/chat/completions`, { method: 'POST', body: BODY })
      .then((answer) => answer.text())
      .catch(() => 'broken'),
  )
  await open.promise
  await envoy.stop('SIGKILL')
  expect(await Promise.all(calls)).toEqual(calls.map(() => 'broken'))
  const gone = await until(
    () => logged(folder),
    (rows) => (rows['client gone'] ?? 0) === 20,
  )
  expect(gone).toEqual({ 'client gone': 20 })
  instances.answer = answerJson
  const [listenPort = 0, adminPort = 0] = await freePorts(2)
  const next = await startEnvoy({ pickerPort, listenPort, adminPort })
  envoys.push(next)
  const answer = await fetch(`${next.url}/v1/chat/completions`, { method: 'POST', body: BODY })
  expect([answer.status, answer.headers.get('x-instance')]).toEqual([200, expect.stringMatching(/[123]/)])
})

test('the file of instances changes under load: the new one is used, the old one left, no call fails', async () => {
  const folder = makeFolder()
  const list = join(folder, 'instances.yaml')
  const entry = (i: number): object => ({ name: `i${i}`, url: instances.urls[i - 1] })
  writeFileSync(list, stringify([entry(1), entry(2)]))
  const { envoy } = await start({ instances: [], instancesFile: list })
  let changed = false
  let end = Number.POSITIVE_INFINITY
  const tally = await load({
    url: envoy.url,
    connections: 8,
    body: BODY,
    more: ({ sent }) => {
      if (!changed && sent === 500) {
        changed = true
        writeFileSync(list, stringify([entry(2), entry(3)]))
      }
      if (instances.asked.at(-1)?.instance === 3 && end === Number.POSITIVE_INFINITY) end = sent + 500
      return sent < end
    },
  })
  expect([...tally.byStatus.keys()]).toEqual([200])
  expect([...tally.broken]).toEqual([])
  const last = instances.asked.slice(-300).map(({ instance }) => instance)
  expect([...new Set(last)].sort()).toEqual([2, 3])
})
