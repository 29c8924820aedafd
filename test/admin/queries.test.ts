import { afterAll, beforeAll, expect, test } from 'vitest'
import { type DecisionCursor, type DecisionFilter, PAGE_LINES, readDecisions, SCAN_MAX } from '../../plugin/log/read/decisions.ts'
import { formatId } from '../../plugin/log/read/ids.ts'
import { createRollups, mergeSlices } from '../../plugin/log/read/rollups.ts'
import { NOW_UNIX_MS, openStage, type Stage } from './visitor.ts'

let stage: Stage
const CALLS = SCAN_MAX + 2_000
beforeAll(async () => {
  stage = await openStage({ calls: CALLS, hours: 30 })
}, 120_000)
afterAll(() => stage.close())

const FILTERS: readonly [string, DecisionFilter][] = [
  ['no filter', {}],
  ['an instance', { instanceId: 3 }],
  ['an application', { application: 'code-review' }],
  ['an outcome', { outcome: 'client gone' }],
  ['anything failed', { outcome: 'failed' }],
  ['no index at all', { gateway: 'envoy', e2eMsMin: 30_000 }],
  [
    'several',
    { instanceId: 1, application: 'code-review', outcome: 'instance error', policy: 'least-request-speed', pool: 'llama-8b-chat' },
  ],
  ['a time', { sinceUnixMs: NOW_UNIX_MS - 7_200_000, untilUnixMs: NOW_UNIX_MS - 3_600_000, gateway: 'openai' }],
]

function walk(filter: DecisionFilter, cursor: DecisionCursor, step: 'older' | 'newer'): number[] {
  const ids: number[] = []
  for (let next: DecisionCursor | undefined = cursor, pages = 0; next !== undefined; pages++) {
    if (pages > CALLS / PAGE_LINES + 20) throw new Error('paging does not end')
    const at: DecisionCursor = next
    const page = stage.reader.read((query) => readDecisions(query, filter, at))
    const lines = page.lines.map(({ callId }) => callId)
    ids.push(...(step === 'older' ? lines : lines.reverse()))
    next = page[step]
  }
  return ids
}

test.each(FILTERS)('paging by key shows every call once, in order, forth and back: %s', (_, filter) => {
  const where: string[] = []
  if (filter.instanceId) where.push(`instance_id = ${filter.instanceId}`)
  for (const key of ['application', 'gateway', 'policy', 'pool'] as const) if (filter[key]) where.push(`${key} = '${filter[key]}'`)
  if (filter.outcome) where.push(filter.outcome === 'failed' ? `outcome <> 'completed'` : `outcome = '${filter.outcome}'`)
  if (filter.e2eMsMin) where.push(`e2e_ms >= ${filter.e2eMsMin}`)
  if (filter.sinceUnixMs) where.push(`arrived_unix_ms >= ${filter.sinceUnixMs} AND arrived_unix_ms < ${filter.untilUnixMs}`)
  const sql = `SELECT call_id AS id FROM call WHERE ${['1', ...where].join(' AND ')} ORDER BY call_id DESC`
  const all = stage.reader.read((query) => query.all<{ id: number }>(sql)).map(({ id }) => id)
  expect(all.length).toBeGreaterThan(0)
  expect(walk(filter, {}, 'older')).toEqual(all)
  expect(walk(filter, { newerThan: 0 }, 'newer')).toEqual(all.toReversed())
})

test('a filter without an index looks at a bounded number of calls and says that it goes on', () => {
  const page = stage.reader.read((query) => readDecisions(query, { e2eMsMin: 1e9 }))
  expect(page).toMatchObject({ lines: [], cutShort: true })
  const rest = stage.reader.read((query) => readDecisions(query, { e2eMsMin: 1e9 }, page.older))
  expect(rest).toMatchObject({ lines: [], cutShort: false, older: undefined })
})

test('a page of newer calls leads back to the page one came from', () => {
  const read = (cursor: DecisionCursor = {}) => stage.reader.read((query) => readDecisions(query, {}, cursor))
  const first = read()
  const second = read(first.older)
  expect(read(second.newer).lines).toEqual(first.lines)
  expect(read(read(second.newer).older).lines).toEqual(second.lines)
})

test('no page reads a large table from end to end', async () => {
  const visitor = await stage.signedIn('admin')
  stage.asked.length = 0
  const id = formatId(stage.callIds.at(-500) ?? 0)
  const lists = [
    '',
    'instance=3',
    'application=code-review',
    'outcome=failed',
    'outcome=timed+out',
    'outcome=completed&gateway=openai&e2e=1',
    'pool=llama-8b-chat',
    'policy=least-request-speed&model=llama-8b',
    'tenant=code-review&ttft=1',
    'tokens=1000&since=2026-01-01T00:00&until=2027-01-01T00:00',
    'instance=2&tokens=1000&tenant=code-review',
  ]
  const pages = [
    '/',
    '/?window=7d',
    '/fleet',
    `/decisions/${id}`,
    ...lists.flatMap((list) => [`/decisions?${list}`, `/decisions?${list}&before=${id}`, `/decisions?${list}&after=${id}`]),
    // Few lines each: what is looked at is how they are found.
    ...['outcome=timed+out', 'instance=2&e2e=600', 'tenant=code-review&ttft=900', 'policy=none&application=code-review'].flatMap((list) => [
      `/decisions.csv?${list}`,
      `/decisions.ndjson?${list}&since=2026-01-01T00:00`,
    ]),
  ]
  for (const page of pages) expect((await visitor.get(page)).status).toBe(200)
  const texts = new Map(stage.asked.map((one) => [one.sql, one.params]))
  expect(texts.size).toBeGreaterThan(20)
  for (const [sql, params] of texts) {
    const plan = stage.reader.read((query) => query.all<{ detail: string }>(`EXPLAIN QUERY PLAN ${sql}`, params))
    const sorted = /\bFROM call\b/.test(sql) ? '|TEMP B-TREE' : ''
    const bad = plan.filter(({ detail }) => new RegExp(`^SCAN (call|candidate|attempt|scrape|rollup)\\b${sorted}`).test(detail))
    expect({ sql, bad }).toEqual({ sql, bad: [] })
  }
})

test('an export holds every call that its filter lets through, and goes on past a scan that was cut short', async () => {
  const visitor = await stage.signedIn('viewer')
  const lines = async (path: string): Promise<string[]> => (await visitor.get(path)).html.trim().split('\n')
  const count = (where: string): number =>
    stage.reader.read((query) => query.get<{ n: number }>(`SELECT count(*) AS n FROM call WHERE ${where}`))?.n ?? 0
  expect(await lines('/decisions.ndjson?outcome=failed')).toHaveLength(count(`outcome <> 'completed'`))
  const csv = await lines('/decisions.csv?gateway=envoy&e2e=30')
  expect(csv.length - 1).toBe(count(`gateway = 'envoy' AND e2e_ms >= 30000`))
  const ids = csv.slice(1).map((line) => line.split(',')[0])
  expect(new Set(ids).size).toBe(ids.length)
})

test('rollups of a span are the same from memory as from the database, in any bucket', () => {
  const kept = createRollups()
  for (const bucketMs of [60_000, 900_000, 7_200_000]) {
    const toUnixMs = (Math.floor(NOW_UNIX_MS / bucketMs) + 1) * bucketMs
    const span = { fromUnixMs: toUnixMs - Math.ceil((31 * 3_600_000) / bucketMs) * bucketMs, toUnixMs, bucketMs }
    const read = (rollups = kept) =>
      stage.reader.read((query) => rollups.buckets(query, span, NOW_UNIX_MS)).flatMap((bucket) => bucket.slices)
    const first = mergeSlices(read())
    const again = mergeSlices(read())
    expect(first.calls).toBe(CALLS)
    expect([again.calls, again.e2e.percentile(0.99), again.heldMsSum]).toEqual([first.calls, first.e2e.percentile(0.99), first.heldMsSum])
    expect(first.e2e.count).toBe(first.completed)
  }
})
