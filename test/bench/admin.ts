import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { databasePath } from '../../plugin/log/migrate.ts'
import { formatId } from '../../plugin/log/read/ids.ts'
import { openReader } from '../../plugin/log/read/reader.ts'
import { createVisitor, type Visitor } from '../admin/visitor.ts'
import { makeLargeLog } from './admin/large-log.ts'
import { atMost, type BenchResult, progress, quantile, type Row, rounded, startNode } from './harness.ts'

const PASSWORD = 'a password of the bench'
/** Goals: a page opens at once, and an export of any size needs no more than some buffers. */
const P95_MS_MOST = 100
const EXPORT_MIB_MOST = 64
const EXPORT_CALLS = 1_000_000
const WATCH_MS = 20

/**
 * Every page of the admin over a log of 10 M calls: time from asking to the whole page, over loopback, by a visitor alone; and the admin's memory while a million
 * calls are exported. `--calls N` for another size. The log is made once and kept under .phasewise/bench.
 */
export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      calls: { type: 'string', default: '10000000' },
      visits: { type: 'string', default: '40' },
      folder: { type: 'string', default: new URL('../../.phasewise/bench/', import.meta.url).pathname },
    },
  })
  const { dataDir, calls, nowUnixMs } = makeLargeLog({ folder: values.folder, calls: Number(values.calls), nowUnixMs: Date.now() })
  console.log(`${calls} calls in ${dataDir}`)
  const admin = startNode(new URL('./admin/serve.ts', import.meta.url).pathname, [dataDir, String(nowUnixMs), PASSWORD])
  try {
    const [, url = ''] = await admin.printed(/admin at (\S+)/)
    const visitor = createVisitor(url)
    await visitor.get('/sign-in')
    await visitor.post('/sign-in', { name: 'bench', password: PASSWORD })
    const rows: Row[] = []
    for (const [i, [name, path]] of pagesOf(dataDir).entries()) {
      progress(i, PAGES, name)
      rows.push({ page: name, ...(await visit(visitor, path, Number(values.visits))) })
    }
    const exported = await exportCalls({ url, visitor, pid: admin.pid })
    rows.push({
      page: `export of ${exported.lines} calls`,
      firstMs: exported.tookMs,
      p50Ms: '',
      p95Ms: '',
      kB: Math.round(exported.bytes / 1000),
    })
    const worst = Math.max(...rows.flatMap((row) => (typeof row.p95Ms === 'number' ? [row.p95Ms] : [])))
    return { rows, bars: [atMost('p95Ms', worst, P95_MS_MOST), atMost('exportPeakMiB', exported.grownMiB, EXPORT_MIB_MOST)] }
  } finally {
    await admin.end()
  }
}

const PAGES = 28

/** Every page, Decisions under filters with and without an index, near and far from the newest call. */
function pagesOf(dataDir: string): [name: string, path: string][] {
  const reader = openReader(databasePath(dataDir, 'log'))
  const { newest, middle, failed } = reader.read((query) => ({
    newest: query.get<{ id: number }>('SELECT max(call_id) AS id FROM call')?.id ?? 0,
    middle: query.get<{ id: number }>('SELECT (min(call_id) + max(call_id)) / 2 AS id FROM call')?.id ?? 0,
    failed:
      query.get<{ id: number }>(`SELECT call_id AS id FROM call WHERE outcome <> 'completed' AND outcome = 'instance error' LIMIT 1`)?.id ??
      0,
  }))
  reader.close()
  const far = `before=${formatId(middle)}`
  const lists = [
    '',
    'instance=3',
    'application=support-bot',
    'outcome=instance+error',
    'outcome=failed',
    'gateway=envoy&e2e=60',
    'tokens=100000',
    'tenant=nobody',
    'instance=2&application=support-bot&outcome=client+gone&policy=least-request-speed',
  ]
  return [
    ...['15m', '1h', '24h', '7d', '30d'].map((window): [string, string] => [`Overview ${window}`, `/?window=${window}`]),
    ...lists.map((list): [string, string] => [`Decisions ${list || 'all'}`, `/decisions?${list}`]),
    ...['', 'tokens=100000&', 'outcome=failed&'].map((list): [string, string] => [`Decisions ${list}far back`, `/decisions?${list}${far}`]),
    ['Decision newest', `/decisions/${formatId(newest)}`],
    ['Decision old', `/decisions/${formatId(failed)}`],
    ...['fleet', 'models', 'models/3', 'training', 'training/1', 'lab', 'lab/1', 'settings', 'audit', 'access'].map(
      (path): [string, string] => [path, `/${path}`],
    ),
  ]
}

async function visit(visitor: Visitor, path: string, visits: number): Promise<Row> {
  const times: number[] = []
  let bytes = 0
  for (let i = 0; i < visits; i++) {
    const began = performance.now()
    const page = await visitor.get(path)
    times.push(performance.now() - began)
    if (page.status !== 200) throw new Error(`${path} answered ${page.status}`)
    bytes = page.html.length
  }
  const [first = Number.NaN] = times
  return {
    firstMs: rounded(first),
    p50Ms: rounded(quantile(times, 0.5)),
    p95Ms: rounded(quantile(times, 0.95)),
    kB: Math.round(bytes / 1000),
  }
}

/** A million calls as CSV, or as many as there are; the reader drops what it reads. */
async function exportCalls({ url, visitor, pid }: { readonly url: string; readonly visitor: Visitor; readonly pid: number }) {
  const cookie = [...visitor.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  const read = async (most: number): Promise<{ lines: number; bytes: number }> => {
    const stop = new AbortController()
    const response = await fetch(`${url}/decisions.csv`, { headers: { cookie }, signal: stop.signal })
    const seen = { lines: 0, bytes: 0 }
    for await (const chunk of response.body ?? []) {
      seen.bytes += chunk.length
      for (const byte of chunk) if (byte === 10) seen.lines++
      if (seen.lines >= most) break
    }
    stop.abort()
    return seen
  }
  await read(EXPORT_CALLS / 5)
  const before = rssMiB(pid)
  let peak = before
  const watching = setInterval(() => {
    peak = Math.max(peak, rssMiB(pid))
  }, WATCH_MS)
  const began = performance.now()
  const seen = await read(EXPORT_CALLS)
  const tookMs = Math.round(performance.now() - began)
  clearInterval(watching)
  return { ...seen, tookMs, grownMiB: Math.max(0, peak - before) }
}

/** Memory that the process holds now, MiB; NaN where there is no /proc. */
function rssMiB(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
  } catch {
    return Number.NaN
  }
}
