import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { stringify } from 'yaml'
import { migrateDataDirectory } from '../../plugin/log/migrate.ts'
import type { CallRow, LogStats } from '../../plugin/log/rows.ts'
import { openWriter } from '../../plugin/log/writer.ts'
import { eachMadeRow, MADE_FLEET } from '../learning/made-log.ts'
import { START_UNIX_MS } from '../log/row.ts'
import { atMost, type BenchResult, type Measured, median, progress, type Row, rounded, startNode } from './harness.ts'
import type { LoadOrder, LoadReport } from './proxy/load.ts'

/**
 * A night on a log of a million calls, as the command line starts it, its trainer one thread: how long until the verdict, how much memory its trainer takes, and what callers of
 * a proxy on the same machine feel of it. `--calls` makes a smaller log for a quick look: time per million then holds the night's fixed costs too.
 */
export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      calls: { type: 'string', default: '1000000' },
      generations: { type: 'string' },
      seconds: { type: 'string', default: '4' },
      rounds: { type: 'string', default: '6' },
    },
  })
  const calls = Number(values.calls)
  const cwd = mkdtempSync(join(tmpdir(), 'phasewise-night-'))
  const running: { end(): Promise<void> }[] = [{ end: async () => rmSync(cwd, { recursive: true, force: true }) }]
  try {
    const lastUnixMs = writeMadeLog(cwd, calls)
    const callers = await startCallers(running)
    const night = startTraining({ cwd, toUnixMs: lastUnixMs + 60_000, ...(values.generations ? { generations: values.generations } : {}) })
    running.push(night)
    const felt = await feel(callers, { night, rounds: Number(values.rounds), forMs: 1_000 * Number(values.seconds) })
    const { elapsedMs, peakMiB, printed } = await night.over
    console.log(printed)
    const minutes = (elapsedMs - felt.stoppedMs) / 60_000
    return {
      rows: [
        {
          calls,
          minutes: rounded(minutes),
          peakMiB: Math.round(peakMiB),
          quietP99Ms: rounded(felt.quietP99Ms),
          nightP99Ms: rounded(felt.nightP99Ms),
          quietP50Ms: rounded(felt.quietP50Ms),
          nightP50Ms: rounded(felt.nightP50Ms),
          pairs: felt.pairs,
        } satisfies Row,
      ],
      bars: [
        atMost('minutesPerMillion', rounded((minutes * 1e6) / calls), 15),
        atMost('peakMiB', Math.round(peakMiB), 2048),
        atMost('callerP99Ratio', rounded(felt.ratio), 1.1),
      ],
    }
  } finally {
    for (const one of running.reverse()) await one.end()
  }
}

const NO_STATS: LogStats = { queuedRows: 0, droppedRows: 0, writtenRows: 0, rejectedRows: 0, threadRestarts: 0 }
const BATCH_ROWS = 5_000

/** Calls of a twin through the log's own writer. Gives the time of the last arrival. */
function writeMadeLog(cwd: string, calls: number): number {
  const dataDir = join(cwd, '.phasewise')
  mkdirSync(dataDir, { recursive: true })
  migrateDataDirectory({ dataDir, nowUnixMs: START_UNIX_MS })
  const writer = openWriter(join(dataDir, 'log.sqlite'))
  let rows: CallRow[] = []
  let written = 0
  let lastUnixMs = START_UNIX_MS
  const flush = (): void => {
    written += writer.write({
      source: 'made',
      sequence: written + rows.length,
      batch: { rows, counters: [], coversAppended: written + rows.length },
      stats: NO_STATS,
    }).rows
    rows = []
    if (written % 50_000 < BATCH_ROWS) progress(written, calls, 'calls written')
  }
  eachMadeRow({ calls, seed: 1 }, (row) => {
    lastUnixMs = Math.max(lastUnixMs, row.call.arrivedUnixMs)
    rows.push(row)
    if (rows.length >= BATCH_ROWS) flush()
  })
  flush()
  writer.close()
  return Math.ceil(lastUnixMs)
}

interface Training {
  readonly pid: number
  /** Trainer processes, to be stopped and continued. */
  trainers(): number[]
  readonly over: Promise<{ readonly elapsedMs: number; readonly peakMiB: number; readonly printed: string }>
  isOver(): boolean
  end(): Promise<void>
}

const WATCH_MS = 250

/** `phasewise train` as a user calls it; its trainer is one thread. */
function startTraining(given: { readonly cwd: string; readonly toUnixMs: number; readonly generations?: string }): Training {
  const pool = {
    name: 'llama',
    engine: 'vllm',
    instances: MADE_FLEET.map(({ name }) => ({ name, url: `http://127.0.0.1:9/${name}` })),
  }
  writeFileSync(join(given.cwd, 'phasewise.yaml'), stringify({ night: { schedule: 'off' }, pools: [pool] }))
  const main = new URL('../../plugin/main.ts', import.meta.url).pathname
  const range = ['--from', String(START_UNIX_MS - 60_000), '--to', String(given.toUnixMs), '--seed', '1']
  const child = startNode(main, ['train', ...range, ...(given.generations ? ['--generations', given.generations] : [])], { cwd: given.cwd })
  const beganMs = performance.now()
  let peakKiB = 0
  let text = ''
  let isOver = false
  child.child.stdout?.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  child.child.stderr?.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  const trainers = (): number[] => processesOf(child.pid).filter((pid) => pid !== child.pid)
  const watching = setInterval(() => {
    for (const pid of trainers()) peakKiB = Math.max(peakKiB, peakKiBOf(pid))
  }, WATCH_MS)
  const over = once(child.child, 'exit').then(([code]) => {
    clearInterval(watching)
    isOver = true
    if (code !== 0) throw new Error(`the night ended with ${code}:\n${text.slice(-4_000)}`)
    return { elapsedMs: performance.now() - beganMs, peakMiB: peakKiB / 1024, printed: text.trim() }
  })
  over.catch(() => undefined)
  return { pid: child.pid, trainers, over, isOver: () => isOver, end: () => child.end() }
}

/** A process and its living descendants. Linux only. */
function processesOf(root: number): number[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || !existsSync(`/proc/${name}/stat`)) continue
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]))
    } catch (error) {
      // Gone between the list and the look.
      if (!(error instanceof Error && 'code' in error)) throw error
    }
  }
  const within = (pid: number): boolean => pid === root || (parents.has(pid) && within(parents.get(pid)!))
  return [...parents.keys()].filter(within)
}

function peakKiBOf(pid: number): number {
  try {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0)
  } catch (error) {
    if (error instanceof Error && 'code' in error) return 0
    throw error
  }
}

interface Callers {
  readonly load: Measured
  readonly port: number
}

/** A proxy as a user starts it before instances that answer at once, and the load generator. */
async function startCallers(running: { end(): Promise<void> }[]): Promise<Callers> {
  const here = (file: string): string => new URL(file, import.meta.url).pathname
  const upstream = startNode(here('./proxy/upstream.ts'), ['2'])
  running.push(upstream)
  const ports = ((await upstream.printed(/ports ([\d,]+)/))[1] ?? '').split(',').map(Number)
  const load = startNode(here('./proxy/load.ts'), [], { ipc: true })
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
  const ours = startNode(here('../../plugin/main.ts'), ['start'], { cwd })
  running.push(ours)
  const [, port] = await ours.printed(/proxy\s+http:\/\/127\.0\.0\.1:(\d+)/i)
  return { load, port: Number(port) }
}

interface Felt {
  readonly ratio: number
  readonly pairs: number
  readonly stoppedMs: number
  readonly quietP50Ms: number
  readonly quietP99Ms: number
  readonly nightP50Ms: number
  readonly nightP99Ms: number
}

const CONNECTIONS = 2
const BODY = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'What is the capital of France?' }], max_tokens: 64 })

/** Pairs of rounds while the night goes on: the trainer stopped, and at work. The ratio is the median over pairs of their p99. */
async function feel(
  { load, port }: Callers,
  given: { readonly night: Training; readonly rounds: number; readonly forMs: number },
): Promise<Felt> {
  const { night, rounds, forMs } = given
  const measure = async (): Promise<LoadReport> => {
    const head = ['POST /v1/chat/completions HTTP/1.1', `host: 127.0.0.1:${port}`, 'content-type: application/json']
    const request = `${head.join('\r\n')}\r\ncontent-length: ${BODY.length}\r\n\r\n${BODY}`
    load.child.send({ port, connections: CONNECTIONS, forMs, request } satisfies LoadOrder)
    const [report] = (await once(load.child, 'message')) as [LoadReport]
    if (report.failed > 0) throw new Error(`${report.failed} calls failed`)
    return report
  }
  await measure()
  const pairs: { readonly quiet: LoadReport; readonly night: LoadReport }[] = []
  let stoppedMs = 0
  while (pairs.length < rounds && !night.isOver()) {
    const stopped = night.trainers()
    const beganMs = performance.now()
    for (const pid of stopped) process.kill(pid, 'SIGSTOP')
    const quiet = await measure().finally(() => {
      for (const pid of stopped) if (existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGCONT')
    })
    stoppedMs += performance.now() - beganMs
    const during = await measure()
    if (stopped.length > 0 && !night.isOver()) pairs.push({ quiet, night: during })
  }
  const of = (pick: (pair: (typeof pairs)[number]) => number): number => median(pairs.map(pick))
  return {
    ratio: of((pair) => pair.night.p99Ms / pair.quiet.p99Ms),
    pairs: pairs.length,
    stoppedMs,
    quietP50Ms: of((pair) => pair.quiet.p50Ms),
    quietP99Ms: of((pair) => pair.quiet.p99Ms),
    nightP50Ms: of((pair) => pair.night.p50Ms),
    nightP99Ms: of((pair) => pair.night.p99Ms),
  }
}
