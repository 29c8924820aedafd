import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { stringify } from 'yaml'
import type { PlaceOrder, PlaceReport } from './api/load.ts'
import { atLeast, atMost, type BenchResult, cpuMsOf, type Measured, median, progress, rounded, startNode } from './harness.ts'

/**
 * The placement API of one router process, started as a user starts it (supervisor, router, admin; log on), under closed-loop callers: each asks for a
 * placement by a call's body, then reports its outcome, both JSON over keep-alive connections, then asks again. A pair counts as one.
 */

const CONNECTIONS = 16
const INSTANCES = 4
const PER_SECOND_GOAL = 3_000
const P99_MS_GOAL = 10

interface Site {
  readonly port: number
  readonly phasewise: Measured
  readonly load: Measured
}

export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: { rounds: { type: 'string', default: '5' }, seconds: { type: 'string', default: '4' } },
  })
  const [rounds, forMs] = [Number(values.rounds), Number(values.seconds) * 1_000]
  const running: { end(): Promise<void> }[] = []
  try {
    const site = await start(running)
    await measure(site, { batch: 1, forMs })
    const reports: (PlaceReport & { readonly cpuMsPerPair: number; readonly batch: number })[] = []
    for (let i = 0; i < rounds; i++)
      for (const batch of BATCHES) {
        const report = await measure(site, { batch, forMs })
        reports.push({ ...report, batch })
        const perSecond = (report.pairs / report.elapsedMs) * 1_000
        progress(
          reports.length,
          rounds * BATCHES.length,
          `outcomes by ${batch}: ${perSecond.toFixed(0)} placements + outcomes/s, p99 ${report.p99Ms.toFixed(2)} ms`,
        )
      }
    const rows = BATCHES.map((batch) => {
      const own = reports.filter((one) => one.batch === batch)
      return {
        'outcomes per report': batch,
        'placements + outcomes/s': Math.round(median(own.map((one) => (one.pairs / one.elapsedMs) * 1_000))),
        'placement p50 ms': rounded(median(own.map((one) => one.p50Ms))),
        'placement p99 ms': rounded(median(own.map((one) => one.p99Ms))),
        'report p99 ms': rounded(median(own.map((one) => one.reportP99Ms))),
        'CPU ms/pair': rounded(median(own.map((one) => one.cpuMsPerPair))),
      }
    })
    // The harder way counts: each outcome by itself.
    const own = rows[0]
    return {
      rows,
      bars: [
        atLeast('placementsPerSecond', own?.['placements + outcomes/s'] ?? Number.NaN, PER_SECOND_GOAL),
        atMost('p99Ms', Math.max(own?.['placement p99 ms'] ?? Number.NaN, own?.['report p99 ms'] ?? Number.NaN), P99_MS_GOAL),
      ],
    }
  } finally {
    for (const one of running.reverse()) await one.end()
  }
}

/** Each outcome by itself; and as the LiteLLM hook sends them. */
const BATCHES = [1, 50] as const

async function start(running: { end(): Promise<void> }[]): Promise<Site> {
  const cwd = mkdtempSync(join(tmpdir(), 'phasewise-bench-'))
  running.push({ end: async () => rmSync(cwd, { recursive: true, force: true }) })
  const here = (file: string): string => new URL(file, import.meta.url).pathname
  const upstream = startNode(here('./proxy/upstream.ts'), [String(INSTANCES)])
  running.push(upstream)
  const ports = ((await upstream.printed(/ports ([\d,]+)/))[1] ?? '').split(',')
  const any = '127.0.0.1:0'
  const config = {
    gateways: { openai: { listen: any }, placements: { listen: any, loopbackWithoutKey: true }, envoy: { listen: 'off' } },
    admin: { listen: any },
    telemetry: { metrics: any },
    pools: [{ name: 'm', engine: 'vllm', instances: ports.map((port, i) => ({ name: `i${i}`, url: `http://127.0.0.1:${port}` })) }],
  }
  writeFileSync(join(cwd, 'phasewise.yaml'), stringify(config))
  const phasewise = startNode(here('../../plugin/main.ts'), ['start'], { cwd })
  running.push(phasewise)
  const [, port] = await phasewise.printed(/placing\s+http:\/\/127\.0\.0\.1:(\d+)/)
  const load = startNode(here('./api/load.ts'), [], { ipc: true })
  running.push(load)
  await load.printed(/ready/)
  return { port: Number(port), phasewise, load }
}

async function measure(
  { port, phasewise, load }: Site,
  { batch, forMs }: { readonly batch: number; readonly forMs: number },
): Promise<PlaceReport & { readonly cpuMsPerPair: number }> {
  const beforeMs = cpuMsOf(phasewise.pid, { tree: true })
  const order: PlaceOrder = { port, connections: CONNECTIONS, forMs, batch }
  load.child.send(order)
  const [report] = (await once(load.child, 'message')) as [PlaceReport]
  if (report.failed > 0) throw new Error(`${report.failed} of ${report.pairs + report.failed} requests failed`)
  return { ...report, cpuMsPerPair: (cpuMsOf(phasewise.pid, { tree: true }) - beforeMs) / report.pairs }
}
