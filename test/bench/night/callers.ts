import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as after } from 'node:timers/promises'
import { stringify } from 'yaml'
import { type Measured, median, progress, startNode } from '../harness.ts'
import type { LoadOrder, LoadReport } from '../proxy/load.ts'
import type { Training } from './training.ts'

/** A proxy under load. */
export interface Callers {
  readonly load: Measured
  readonly port: number
}

/** A proxy as a user starts it before instances that answer at once, and the load generator. What it starts is added to `running`. */
export async function startCallers(running: { end(): Promise<void> }[]): Promise<Callers> {
  const here = (file: string): string => new URL(file, import.meta.url).pathname
  const upstream = startNode(here('../proxy/upstream.ts'), ['2'])
  running.push(upstream)
  const ports = ((await upstream.printed(/ports ([\d,]+)/))[1] ?? '').split(',').map(Number)
  const load = startNode(here('../proxy/load.ts'), [], { ipc: true })
  running.push(load)
  await load.printed(/ready/)
  const cwd = mkdtempSync(join(tmpdir(), 'phasewise-bench-'))
  running.push({ end: async () => rmSync(cwd, { recursive: true, force: true }) })
  const any = '127.0.0.1:0'
  const config = {
    gateways: { openai: { listen: any }, placements: { listen: any }, envoy: { listen: any } },
    admin: { listen: any },
    telemetry: { metrics: any },
    night: { schedule: 'off' },
    pools: [{ name: 'm', engine: 'vllm', instances: ports.map((port, i) => ({ name: `i${i}`, url: `http://127.0.0.1:${port}` })) }],
  }
  writeFileSync(join(cwd, 'phasewise.yaml'), stringify(config))
  const ours = startNode(here('../../../plugin/main.ts'), ['start'], { cwd })
  running.push(ours)
  const [, port] = await ours.printed(/proxy\s+http:\/\/127\.0\.0\.1:(\d+)/i)
  return { load, port: Number(port) }
}

const CONNECTIONS = 2
const BODY = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'What is the capital of France?' }], max_tokens: 64 })

/** Calls through the proxy for so long. Throws where one fails. */
async function callFor({ load, port }: Callers, forMs: number): Promise<LoadReport> {
  const head = ['POST /v1/chat/completions HTTP/1.1', `host: 127.0.0.1:${port}`, 'content-type: application/json']
  const request = `${head.join('\r\n')}\r\ncontent-length: ${BODY.length}\r\n\r\n${BODY}`
  load.child.send({ port, connections: CONNECTIONS, forMs, request } satisfies LoadOrder)
  const [report] = (await once(load.child, 'message')) as [LoadReport]
  if (report.failed > 0) throw new Error(`${report.failed} calls failed`)
  return report
}

/** What callers felt: medians over pairs. */
export interface Felt {
  /** p99 while the trainer works over p99 while it stands still, pair by pair: the median, and the quarters beside it. */
  readonly ratio: number
  readonly ratioLow: number
  readonly ratioHigh: number
  readonly pairs: number
  readonly quietP50Ms: number
  readonly quietP99Ms: number
  readonly nightP50Ms: number
  readonly nightP99Ms: number
}

export interface Feeling {
  readonly night: Training
  readonly pairs: number
  readonly forMs: number
  /** The trainer works on unmeasured for so long between pairs, so that they fall into all of its phases. */
  readonly gapMs: number
}

interface Pair {
  readonly quiet: LoadReport
  readonly night: LoadReport
}

/** Pairs while the night goes on, the trainer stopped in one half and at work in the other, in turns first: a drift of the machine hits both alike. */
export async function feel(callers: Callers, { night, pairs: wanted, forMs, gapMs }: Feeling): Promise<Felt> {
  const measure = (): Promise<LoadReport> => callFor(callers, forMs)
  // Warm code and connections first.
  await measure()
  const pairs: Pair[] = []
  while (pairs.length < wanted && !night.isOver()) {
    await after(gapMs)
    const pair = pairs.length % 2 === 0 ? await quietFirst(night, measure) : await nightFirst(night, measure)
    if (pair) pairs.push(pair)
    progress(pairs.length, wanted, 'pairs with and without the trainer')
  }
  const of = (pick: (pair: Pair) => number): number => median(pairs.map(pick))
  const ratios = pairs.map((pair) => pair.night.p99Ms / pair.quiet.p99Ms).sort((a, b) => a - b)
  return {
    ratio: median(ratios),
    ratioLow: ratios[Math.floor(0.25 * (ratios.length - 1))] ?? Number.NaN,
    ratioHigh: ratios[Math.ceil(0.75 * (ratios.length - 1))] ?? Number.NaN,
    pairs: pairs.length,
    quietP50Ms: of((pair) => pair.quiet.p50Ms),
    quietP99Ms: of((pair) => pair.quiet.p99Ms),
    nightP50Ms: of((pair) => pair.night.p50Ms),
    nightP99Ms: of((pair) => pair.night.p99Ms),
  }
}

type Measure = () => Promise<LoadReport>

async function quietFirst(night: Training, measure: Measure): Promise<Pair | undefined> {
  const quiet = await whileStopped(night, measure)
  const during = await whileAtWork(night, measure)
  return quiet && during ? { quiet, night: during } : undefined
}

async function nightFirst(night: Training, measure: Measure): Promise<Pair | undefined> {
  const during = await whileAtWork(night, measure)
  const quiet = await whileStopped(night, measure)
  return quiet && during ? { quiet, night: during } : undefined
}

/** Undefined where there was no trainer to stop: before it began, or when it was over. */
async function whileStopped(night: Training, measure: Measure): Promise<LoadReport | undefined> {
  const stopped = night.trainers()
  for (const pid of stopped) process.kill(pid, 'SIGSTOP')
  const report = await measure().finally(() => {
    for (const pid of stopped) if (existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGCONT')
  })
  return stopped.length > 0 ? report : undefined
}

async function whileAtWork(night: Training, measure: Measure): Promise<LoadReport | undefined> {
  const before = night.trainers().length
  const report = await measure()
  return before > 0 && !night.isOver() && night.trainers().length > 0 ? report : undefined
}
