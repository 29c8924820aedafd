import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { stringify } from 'yaml'
import { type EnvoyConfig, filtersOf, type RunningEnvoy, startEnvoy } from '../e2e/envoy/envoy.ts'
import { freePorts } from '../e2e/processes.ts'
import { atMost, type Bar, type BenchResult, cpuMsOf, type Measured, median, progress, type Row, rounded, startNode } from './harness.ts'
import type { LoadOrder, LoadReport } from './proxy/load.ts'

/**
 * Phasewise as Envoy's endpoint picker, started as a user starts it (placement with prefix blocks, metering and the log on), behind real
 * Envoy with one worker and before eight instances of constant time; in turns with the same Envoy without a picker, on a static cluster.
 * What counts is the router process's CPU (log thread included) divided by Envoy's own in the same rounds: milliseconds wander between machines.
 */
const CONNECTIONS = 16
const INSTANCES = 8
/** Body sizes and the goals of CPU against Envoy's: about half of llm-d's picker at the first (1.2 to 1.55), a third at the others (3.0, 6.2). */
const BODIES = [
  { name: '285', bytes: 285, goal: 0.65 },
  { name: '23k', bytes: 23_000, goal: 1.0 },
  { name: '231k', bytes: 231_000, goal: 2.1 },
] as const

type Body = (typeof BODIES)[number]

interface Stack {
  readonly envoy: RunningEnvoy
  readonly routerPid: number
  readonly load: Measured
  readonly ports: Readonly<Record<Way, number>>
}

type Way = 'static cluster' | 'picker'
const WAYS: readonly Way[] = ['static cluster', 'picker']

interface Round extends LoadReport {
  readonly way: Way
  readonly body: Body['name']
  readonly pickerMsPerCall: number
  readonly envoyMsPerCall: number
}

export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: { rounds: { type: 'string', default: '5' }, seconds: { type: 'string', default: '2' } },
  })
  const forMs = Number(values.seconds) * 1_000
  const running: { end(): Promise<void> }[] = []
  try {
    const stack = await startAll(running)
    for (const body of BODIES) await measure({ stack, body, way: 'picker', forMs: 1.5 * forMs })
    const rounds: Round[] = []
    const all = Number(values.rounds) * BODIES.length * WAYS.length
    for (let i = 0; i < Number(values.rounds); i++)
      for (const body of BODIES)
        for (const way of WAYS) {
          const round = await measure({ stack, body, way, forMs })
          rounds.push(round)
          const ratio = way === 'picker' ? `, CPU against Envoy's ${(round.pickerMsPerCall / round.envoyMsPerCall).toFixed(2)}` : ''
          progress(rounds.length, all, `${body.name} bytes, ${way}: ${((round.calls / round.elapsedMs) * 1_000).toFixed(0)}/s${ratio}`)
        }
    return summarise(rounds)
  } finally {
    for (const one of running.reverse()) await one.end()
  }
}

/** A chat of that many bytes: a system prompt and one long question of English words. */
function bodyOf(bytes: number): string {
  const make = (content: string): string =>
    JSON.stringify({
      model: 'm',
      messages: [
        { role: 'system', content: 'You are a helpful assistant.' },
        { role: 'user', content },
      ],
      max_tokens: 64,
    })
  const words = 'the quick brown fox jumps over the lazy dog and asks what it may cost to place this call. '
  return make(words.repeat(Math.ceil(bytes / words.length)).slice(0, bytes - make('').length))
}

async function startAll(running: { end(): Promise<void> }[]): Promise<Stack> {
  const here = (file: string): string => new URL(file, import.meta.url).pathname
  const upstream = startNode(here('./picker/upstream.ts'), [String(INSTANCES)])
  running.push(upstream)
  const ports = ((await upstream.printed(/ports ([\d,]+)/))[1] ?? '').split(',').map(Number)
  const load = startNode(here('./proxy/load.ts'), [], { ipc: true })
  running.push(load)
  await load.printed(/ready/)
  const { pickerPort, routerPid } = await startOurs(ports, running)
  const [listenPort = 0, staticPort = 0, adminPort = 0] = await freePorts(3)
  const unplaced = ports.map((port) => `127.0.0.1:${port}`)
  const envoy = await startEnvoy({ pickerPort, listenPort, adminPort, unplaced, change: (config) => addStaticListener(config, staticPort) })
  running.push({ end: () => envoy.stop() })
  return { envoy, routerPid, load, ports: { picker: listenPort, 'static cluster': staticPort } }
}

/** A second listener of the same Envoy that asks no picker: its only way is the static cluster. */
function addStaticListener(config: EnvoyConfig, port: number): void {
  const [first] = config.static_resources.listeners
  if (!first) throw new Error('the configuration has no listener')
  const second = structuredClone(first)
  second.address.socket_address.port_value = port
  Object.assign(second, { name: 'static' })
  config.static_resources.listeners.push(second)
  const filters = filtersOf({ ...config, static_resources: { ...config.static_resources, listeners: [second] } })
  filters.splice(0, filters.length - 1)
}

async function startOurs(
  ports: readonly number[],
  running: { end(): Promise<void> }[],
): Promise<{ pickerPort: number; routerPid: number }> {
  const cwd = mkdtempSync(join(tmpdir(), 'phasewise-bench-'))
  running.push({ end: async () => rmSync(cwd, { recursive: true, force: true }) })
  const [pickerPort = 0] = await freePorts(1)
  const config = {
    gateways: { openai: { listen: 'off' }, placements: { listen: 'off' }, envoy: { listen: pickerPort } },
    admin: { listen: 'off' },
    telemetry: { metrics: '127.0.0.1:0' },
    pools: [{ name: 'm', engine: 'vllm', instances: ports.map((port, i) => ({ name: `i${i}`, url: `http://127.0.0.1:${port}` })) }],
  }
  writeFileSync(join(cwd, 'phasewise.yaml'), stringify(config))
  const ours = startNode(new URL('../../plugin/main.ts', import.meta.url).pathname, ['start'], { cwd })
  running.push(ours)
  await ours.printed(/picker\s+127/)
  const children = readFileSync(`/proc/${ours.pid}/task/${ours.pid}/children`, 'utf8').trim().split(' ').map(Number)
  const routerPid = children.find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('router'))
  if (!routerPid) throw new Error('there is no router process')
  return { pickerPort, routerPid }
}

async function measure(given: { stack: Stack; body: Body; way: Way; forMs: number }): Promise<Round> {
  const { stack, body, way, forMs } = given
  const { envoy, routerPid, load } = stack
  const port = stack.ports[way]
  const text = bodyOf(body.bytes)
  const head = [
    'POST /v1/chat/completions HTTP/1.1',
    `host: 127.0.0.1:${port}`,
    'content-type: application/json',
    `content-length: ${text.length}`,
  ]
  const order: LoadOrder = { port, connections: CONNECTIONS, forMs, request: `${head.join('\r\n')}\r\n\r\n${text}` }
  const before = { picker: cpuMsOf(routerPid), envoy: cpuMsOf(envoy.pid) }
  load.child.send(order)
  const [report] = (await once(load.child, 'message')) as [LoadReport]
  if (report.failed > 0) throw new Error(`${way}, ${body.name} bytes: ${report.failed} of ${report.calls + report.failed} calls failed`)
  return {
    ...report,
    way,
    body: body.name,
    pickerMsPerCall: (cpuMsOf(routerPid) - before.picker) / report.calls,
    envoyMsPerCall: (cpuMsOf(envoy.pid) - before.envoy) / report.calls,
  }
}

function summarise(rounds: readonly Round[]): BenchResult {
  const of = (body: Body['name'], way: Way): readonly Round[] => rounds.filter((one) => one.body === body && one.way === way)
  const middle = (list: readonly Round[], value: (one: Round) => number): number => median(list.map(value))
  const rows: Row[] = BODIES.flatMap(({ name, bytes }) => {
    const bare = of(name, 'static cluster')
    return WAYS.map((way): Row => {
      const own = of(name, way)
      const p50Ms = middle(own, (one) => one.p50Ms)
      const p99Ms = middle(own, (one) => one.p99Ms)
      return {
        bytes,
        way,
        'calls/s': Math.round(middle(own, (one) => (one.calls / one.elapsedMs) * 1_000)),
        'p50 ms': rounded(p50Ms),
        'p99 ms': rounded(p99Ms),
        'added p50 ms': rounded(p50Ms - middle(bare, (one) => one.p50Ms)),
        'added p99 ms': rounded(p99Ms - middle(bare, (one) => one.p99Ms)),
        'picker CPU ms/call': way === 'picker' ? rounded(middle(own, (one) => one.pickerMsPerCall)) : 0,
        'Envoy CPU ms/call': rounded(middle(own, (one) => one.envoyMsPerCall)),
      }
    })
  })
  const bars: Bar[] = BODIES.map(({ name, goal }) =>
    atMost(
      `cpuVsEnvoy${name}`,
      middle(of(name, 'picker'), (one) => one.pickerMsPerCall / one.envoyMsPerCall),
      goal,
    ),
  )
  return { rows, bars }
}
