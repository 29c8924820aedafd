import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { stringify } from 'yaml'
import { atLeast, atMost, type BenchResult, cpuMsOf, type Measured, median, progress, type Row, rounded, startNode } from './harness.ts'
import type { LoadOrder, LoadReport } from './proxy/load.ts'

/**
 * This proxy, started as a user starts it (supervisor, router, admin; placement, metering and the log on), against Portkey's gateway, in turns
 * within one run, before the same instances. What a gateway adds is its latency minus that of the instances asked directly, in the same round.
 */

/** 285 bytes, as in the figures that the bar was set on. */
const BODY = JSON.stringify({
  model: 'm',
  messages: [
    { role: 'system', content: 'You are a helpful assistant that answers questions briefly and to the point.' },
    { role: 'user', content: 'What is the capital of France, and how many people live there today, roughly? '.padEnd(89, '.') },
  ],
  max_tokens: 64,
  temperature: 0.7,
})
const CONNECTIONS = [1, 16] as const
const INSTANCES = 4
const THROUGHPUT_RATIO_GOAL = 3
const ADDED_P99_RATIO_GOAL = 1 / 3

interface Target {
  readonly name: 'upstream' | 'phasewise' | 'portkey'
  readonly port: number
  /** Process whose CPU time counts, with its children. */
  readonly pid: number
  readonly headers: readonly string[]
}

interface Round extends LoadReport {
  readonly target: Target['name']
  readonly connections: number
  readonly cpuMsPerCall: number
}

export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '2' },
      without: { type: 'string', multiple: true },
    },
  })
  if (BODY.length !== 285) throw new Error(`the body has ${BODY.length} bytes, not 285`)
  const forMs = Number(values.seconds) * 1_000
  const running: { end(): Promise<void> }[] = []
  try {
    const { targets, load } = await startAll(running)
    const wanted = targets.filter((one) => !values.without?.includes(one.name))
    for (const target of wanted) await measure({ target, load, connections: 16, forMs: 2 * forMs })
    const rounds = await alternate({ targets: wanted, load, rounds: Number(values.rounds), forMs })
    return summarise(rounds)
  } finally {
    for (const one of running.reverse()) await one.end()
  }
}

async function startAll(running: { end(): Promise<void> }[]): Promise<{ targets: readonly Target[]; load: Measured }> {
  const here = (file: string): string => new URL(file, import.meta.url).pathname
  const upstream = startNode(here('./proxy/upstream.ts'), [String(INSTANCES)])
  running.push(upstream)
  const ports = ((await upstream.printed(/ports ([\d,]+)/))[1] ?? '').split(',').map(Number)
  const load = startNode(here('./proxy/load.ts'), [], { ipc: true })
  running.push(load)
  await load.printed(/ready/)
  const ours = await startOurs(ports, running)
  const portkeyPort = await freePort()
  const portkey = startNode(here('../../node_modules/@portkey-ai/gateway/build/start-server.js'), [`--port=${portkeyPort}`, '--headless'], {
    env: { NODE_ENV: 'production' },
  })
  running.push(portkey)
  await portkey.printed(/running|Ready|localhost/i)
  const first = ports[0] ?? 0
  // As Portkey's README has it for a server of one's own.
  const headers = ['x-portkey-provider: openai', `x-portkey-custom-host: http://127.0.0.1:${first}/v1`, 'authorization: Bearer sk-bench']
  return {
    load,
    targets: [
      { name: 'upstream', port: first, pid: upstream.pid, headers: [] },
      { name: 'phasewise', port: ours.port, pid: ours.pid, headers: [] },
      { name: 'portkey', port: portkeyPort, pid: portkey.pid, headers },
    ],
  }
}

async function startOurs(ports: readonly number[], running: { end(): Promise<void> }[]): Promise<{ port: number; pid: number }> {
  const cwd = mkdtempSync(join(tmpdir(), 'phasewise-bench-'))
  running.push({ end: async () => rmSync(cwd, { recursive: true, force: true }) })
  const any = '127.0.0.1:0'
  const instances = ports.map((port, i) => ({ name: `i${i}`, url: `http://127.0.0.1:${port}` }))
  const config = {
    gateways: { openai: { listen: any }, placements: { listen: any }, envoy: { listen: any } },
    admin: { listen: any },
    telemetry: { metrics: any },
    pools: [{ name: 'm', engine: 'vllm', instances }],
  }
  writeFileSync(join(cwd, 'phasewise.yaml'), stringify(config))
  const ours = startNode(new URL('../../plugin/main.ts', import.meta.url).pathname, ['start'], { cwd })
  running.push(ours)
  const [, port] = await ours.printed(/proxy\s+http:\/\/127\.0\.0\.1:(\d+)/i)
  return { port: Number(port), pid: ours.pid }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

interface Alternating {
  readonly targets: readonly Target[]
  readonly load: Measured
  readonly rounds: number
  readonly forMs: number
}

/** Every target once per round and number of connections, the order turning from round to round so that no one always follows the same other. */
async function alternate({ targets, load, rounds, forMs }: Alternating): Promise<Round[]> {
  const done: Round[] = []
  const all = rounds * CONNECTIONS.length * targets.length
  for (let i = 0; i < rounds; i++)
    for (const connections of CONNECTIONS)
      for (let k = 0; k < targets.length; k++) {
        const target = targets[(i + k) % targets.length]
        if (!target) continue
        const round = await measure({ target, load, connections, forMs })
        done.push(round)
        const perSecond = (round.calls / round.elapsedMs) * 1_000
        progress(
          done.length,
          all,
          `${target.name} at ${connections}: ${perSecond.toFixed(0)}/s, p50 ${round.p50Ms.toFixed(2)} ms, p99 ${round.p99Ms.toFixed(2)} ms`,
        )
      }
  return done
}

async function measure(given: { target: Target; load: Measured; connections: number; forMs: number }): Promise<Round> {
  const { target, load, connections, forMs } = given
  const head = ['POST /v1/chat/completions HTTP/1.1', `host: 127.0.0.1:${target.port}`, 'content-type: application/json', ...target.headers]
  const request = `${head.join('\r\n')}\r\ncontent-length: ${BODY.length}\r\n\r\n${BODY}`
  const beforeMs = cpuMsOf(target.pid, { tree: true })
  const order: LoadOrder = { port: target.port, connections, forMs, request }
  load.child.send(order)
  const [report] = (await once(load.child, 'message')) as [LoadReport]
  if (report.failed > 0) throw new Error(`${target.name}: ${report.failed} of ${report.calls + report.failed} calls failed`)
  return { ...report, target: target.name, connections, cpuMsPerCall: (cpuMsOf(target.pid, { tree: true }) - beforeMs) / report.calls }
}

interface Figures {
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly cpuMsPerCall: number
}

function summarise(rounds: readonly Round[]): BenchResult {
  const of = (target: Target['name'], connections: number): Figures => {
    const own = rounds.filter((one) => one.target === target && one.connections === connections)
    return {
      perSecond: median(own.map((one) => (one.calls / one.elapsedMs) * 1_000)),
      p50Ms: median(own.map((one) => one.p50Ms)),
      p99Ms: median(own.map((one) => one.p99Ms)),
      cpuMsPerCall: median(own.map((one) => one.cpuMsPerCall)),
    }
  }
  const names = [...new Set(rounds.map((one) => one.target))]
  const rows = CONNECTIONS.flatMap((connections) =>
    names.map((name) => rowOf(name, connections, of(name, connections), of('upstream', connections))),
  )
  const [ours, theirs, bare] = [of('phasewise', 16), of('portkey', 16), of('upstream', 16)]
  if (Number.isNaN(theirs.perSecond) || Number.isNaN(ours.perSecond)) return { rows, bars: [] }
  return {
    rows,
    bars: [
      atLeast('throughputRatio16', ours.perSecond / theirs.perSecond, THROUGHPUT_RATIO_GOAL),
      atMost('addedP99Ratio16', (ours.p99Ms - bare.p99Ms) / (theirs.p99Ms - bare.p99Ms), ADDED_P99_RATIO_GOAL),
    ],
  }
}

function rowOf(target: string, connections: number, own: Figures, bare: Figures): Row {
  return {
    target,
    connections,
    'calls/s': Math.round(own.perSecond),
    'p50 ms': rounded(own.p50Ms),
    'p99 ms': rounded(own.p99Ms),
    'added p50 ms': target === 'upstream' ? 0 : rounded(own.p50Ms - bare.p50Ms),
    'added p99 ms': target === 'upstream' ? 0 : rounded(own.p99Ms - bare.p99Ms),
    'CPU ms/call': rounded(own.cpuMsPerCall),
  }
}
