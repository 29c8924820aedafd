import { rmSync, writeFileSync } from 'node:fs'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import { createManualClock } from '../../plugin/clock.ts'
import { floatsOf, hashesOf } from '../../plugin/log/blob.ts'
import { databasePath } from '../../plugin/log/migrate.ts'
import { DROPPED_COUNTER } from '../../plugin/log/queue.ts'
import { openReader, type Query } from '../../plugin/log/read/reader.ts'
import { REJECTED_COUNTER } from '../../plugin/log/writer.ts'
import { freshFolder, freshLog, until } from './fresh.ts'
import { callRow, instanceKey, nowRow, START_UNIX_MS, scrapeRow } from './row.ts'

function ask<T>(dataDir: string, look: (query: Query) => T): T {
  const reader = openReader(databasePath(dataDir, 'log'))
  try {
    return reader.read(look)
  } finally {
    reader.close()
  }
}

function number(dataDir: string, sql: string): number | undefined {
  return ask(dataDir, (query) => query.get<{ n: number }>(sql.replace(/^SELECT (.*?) FROM/, 'SELECT $1 AS n FROM'))?.n)
}

/** Holds the write lock of the log until let go: the disk that stands still. */
function stall(dataDir: string): () => void {
  const other = new Database(databasePath(dataDir, 'log'))
  other.exec('BEGIN EXCLUSIVE')
  onTestFinished(() => void other.close())
  return () => void other.exec('COMMIT')
}

test('I7: the row a decision saw is read back bit for bit', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir })
  const row = callRow(5)
  // Every kind of float there is: a NaN that carries bits, both infinities, minus zero, the least and the greatest.
  new Uint32Array(row.candidates!.features.buffer).set([0x7fc0_1234, 0x7f80_0000, 0xff80_0000, 0x8000_0000, 1, 0x7f7f_ffff])
  log.append(row)
  await log.flush()
  const stored = ask(dataDir, (query) =>
    query.get<{
      features: Uint8Array
      costs: Uint8Array
      instances: string
      count: number
      text_features: Uint8Array
      feature_hash: string
    }>('SELECT candidate.*, text_features FROM candidate JOIN call USING (call_id) WHERE call_id = ?', [row.call.callId]),
  )!
  expect(new Uint8Array(floatsOf(stored.features).buffer)).toEqual(new Uint8Array(row.candidates!.features.buffer))
  expect(new Uint8Array(floatsOf(stored.costs).buffer)).toEqual(new Uint8Array(row.candidates!.costs.buffer))
  expect(hashesOf(stored.text_features)).toEqual(row.textFeatures)
  expect(stored).toMatchObject({ feature_hash: row.candidates!.featureHash, count: 4 })
  const names = (JSON.parse(stored.instances) as number[]).map((id) =>
    ask(dataDir, (query) => query.get<{ name: string }>('SELECT name FROM instance WHERE instance_id = ?', [id])),
  )
  expect(names.map((instance) => instance?.name)).toEqual(row.candidates!.instances.map(({ name }) => name))
})

test('a call is stored with all that is known of it, and what is unknown is NULL', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir })
  const full = callRow(1)
  const { instance: _none, candidates: _seen, textFeatures: _words, ...bare } = callRow(2)
  log.append(full)
  log.append({ ...bare, attempts: [], outcome: { kind: 'instance error', error: 'no instance', e2eMs: 0.5, censored: true } })
  await log.flush()
  const [first, second] = ask(dataDir, (query) => query.all<Record<string, unknown>>('SELECT * FROM call ORDER BY call_id'))
  expect(first).toMatchObject({
    application: 'chat',
    task: 'qa',
    max_tokens: 256,
    stream: 1,
    propensity: 0.9925,
    ttft_ms: 121,
    attempts: 1,
  })
  expect(first).toMatchObject({ outcome: 'completed', output_tokens: 99, tokens_from: 'usage', cached_prompt_tokens: null, error: null })
  expect(second).toMatchObject({ instance_id: null, ttft_ms: null, status: null, text_features: null, error: 'no instance', censored: 1 })
  expect(number(dataDir, 'SELECT count(*) FROM candidate')).toBe(1)
  expect(number(dataDir, 'SELECT calls FROM rollup WHERE instance_id = 0')).toBe(1)
})

test('a stalled disk holds nobody up and loses nothing within the bound', async () => {
  const dataDir = freshFolder()
  const warnings: string[] = []
  const clock = createManualClock()
  const log = await freshLog({ dataDir, warnings, clock })
  const goOn = stall(dataDir)
  log.append(callRow(0))
  await until(() => log.stats().error !== undefined)
  for (let i = 1; i < 500; i++) log.append(callRow(i))
  expect(log.stats()).toMatchObject({ queuedRows: 500, writtenRows: 0, droppedRows: 0 })
  expect(log.stats().error).toContain('locked')
  expect(warnings).toHaveLength(1)
  goOn()
  await log.flush()
  expect(log.stats()).toMatchObject({ queuedRows: 0, writtenRows: 500, droppedRows: 0 })
  expect(log.stats().error).toBeUndefined()
  expect(number(dataDir, 'SELECT count(*) FROM call')).toBe(500)
})

test('when the disk stands still for too long the oldest calls go, and the loss is counted in the log itself', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir, rowsMax: 100 })
  const goOn = stall(dataDir)
  log.append(callRow(0))
  await until(() => log.stats().error !== undefined)
  for (let i = 1; i <= 300; i++) log.append(callRow(i))
  expect(log.stats()).toMatchObject({ droppedRows: 200, queuedRows: 101 })
  goOn()
  await log.flush()
  expect(number(dataDir, 'SELECT count(*) FROM call')).toBe(101)
  expect(number(dataDir, `SELECT count(*) FROM call WHERE arrived_unix_ms > ${START_UNIX_MS + 200}`)).toBe(100)
  expect(number(dataDir, `SELECT value FROM counter WHERE name = '${DROPPED_COUNTER}'`)).toBe(200)
})

test('trouble is said once a minute, not with every attempt', async () => {
  const dataDir = freshFolder()
  const warnings: string[] = []
  const clock = createManualClock()
  const log = await freshLog({ dataDir, warnings, clock })
  const goOn = stall(dataDir)
  log.append(callRow(0))
  await until(() => warnings.length === 1)
  clock.advance(60_000)
  await until(() => warnings.length === 2)
  goOn()
  await log.flush()
  expect(warnings).toHaveLength(2)
})

test('a row that cannot be stored is left out alone, and counted', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir })
  const broken = callRow(2)
  log.append(callRow(1))
  log.append({ ...broken, decision: { ...broken.decision, propensity: Number.NaN } })
  log.append(callRow(1))
  log.append(callRow(3))
  await log.flush()
  expect(log.stats()).toMatchObject({ writtenRows: 2, rejectedRows: 2, queuedRows: 0 })
  expect(number(dataDir, 'SELECT count(*) FROM call')).toBe(2)
  expect(number(dataDir, 'SELECT count(*) FROM attempt')).toBe(2)
  expect(number(dataDir, 'SELECT sum(calls) FROM rollup')).toBe(2)
  expect(number(dataDir, `SELECT value FROM counter WHERE name = '${REJECTED_COUNTER}'`)).toBe(2)
})

test('a row that cannot cross to the thread takes no other with it', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir })
  const instance = Object.assign(instanceKey(1), { ageMs: () => 0 })
  log.append({ ...callRow(1), instance })
  log.append(callRow(2))
  await log.flush()
  expect(log.stats()).toMatchObject({ writtenRows: 1, rejectedRows: 1 })
})

test('a log thread that dies after the commit and before its answer is started again, and the batch counts once', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir, threadUrl: new URL('./processes/dying-thread.ts', import.meta.url) })
  for (let i = 0; i < 20; i++) log.append(callRow(i))
  log.append({ kind: 'counter', name: 'retries', by: 3, atUnixMs: START_UNIX_MS })
  await log.flush()
  expect(log.stats()).toMatchObject({ threadRestarts: 1, writtenRows: 20, rejectedRows: 0 })
  expect(number(dataDir, 'SELECT count(*) FROM call')).toBe(20)
  expect(number(dataDir, 'SELECT sum(calls) FROM rollup')).toBe(20)
  expect(number(dataDir, `SELECT value FROM counter WHERE name = 'retries'`)).toBe(3)
  await log.flush()
  expect(number(dataDir, `SELECT value FROM counter WHERE name = 'log.threadRestarts'`)).toBe(1)
})

test('a broken file does not keep the router from starting, is told, and is written again when it is mended', async () => {
  const dataDir = freshFolder()
  const path = databasePath(dataDir, 'log')
  writeFileSync(path, 'this was a database before the disk lied about it '.repeat(100))
  const warnings: string[] = []
  const log = await freshLog({ dataDir, warnings })
  expect(log.stats().error).toContain('not a database')
  log.append(callRow(1))
  await until(() => log.stats().queuedRows === 1)
  rmSync(path)
  await log.flush()
  expect(log.stats()).toMatchObject({ writtenRows: 1, threadRestarts: 0 })
  expect(number(dataDir, 'SELECT count(*) FROM call')).toBe(1)
})

test('counters and rollups go on adding over a restart in the same minute', async () => {
  const dataDir = freshFolder()
  for (const life of [0, 1]) {
    const log = await freshLog({ dataDir })
    for (let i = 0; i < 10; i++) log.append(callRow(life * 10 + i))
    log.append({ kind: 'counter', name: 'retries', by: 2, atUnixMs: START_UNIX_MS })
    await log.close()
  }
  expect(number(dataDir, `SELECT value FROM counter WHERE name = 'retries'`)).toBe(4)
  const rows = ask(dataDir, (query) =>
    query.all<{ calls: number; p100: number; n: number }>(
      'SELECT sum(calls) AS calls, count(*) AS n, histogram_percentile(merge_histograms(ttft), 1) AS p100 FROM rollup',
    ),
  )
  expect(rows).toMatchObject([{ calls: 20, n: 4 }])
  expect(rows[0]!.p100).toBe(139)
})

test('the fleet as of now forgets an instance that was removed; unknown and never are NULL', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir })
  log.append(nowRow(START_UNIX_MS, [1, 2, 3]))
  await log.flush()
  log.append(nowRow(START_UNIX_MS + 1_000, [1, 3]))
  log.append(scrapeRow(1, START_UNIX_MS))
  await log.flush()
  const fleet = ask(dataDir, (query) => query.all<Record<string, unknown>>('SELECT * FROM fleet_now ORDER BY name'))
  expect(fleet.map((row) => row.name)).toEqual(['fast-1', 'fast-3'])
  expect(fleet[0]).toMatchObject({ waiting: null, scrape_age_ms: null, prefix_hit_ratio: 0.25, seen_unix_ms: START_UNIX_MS + 1_000 })
  const router = ask(dataDir, (query) => query.get<Record<string, unknown>>('SELECT * FROM router_now'))
  expect(router).toMatchObject({ pid: 4711, ready: 1, dropped_rows: 0 })
  const scrape = ask(dataDir, (query) => query.get<Record<string, unknown>>('SELECT * FROM scrape'))
  expect(scrape).toMatchObject({ waiting: 1, in_flight: 3, foreign_in_flight: null, state: 'healthy' })
})

test('a reader sees one instant, whatever is written meanwhile, and cannot write', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir })
  log.append(callRow(1))
  await log.flush()
  const reader = openReader(databasePath(dataDir, 'log'))
  onTestFinished(() => reader.close())
  const other = new Database(databasePath(dataDir, 'log'))
  onTestFinished(() => void other.close())
  const counts = reader.read((query) => {
    const count = () => query.get<{ n: number }>('SELECT count(*) AS n FROM call')?.n
    const before = count()
    other.exec('DELETE FROM call')
    return [before, count()]
  })
  expect(counts).toEqual([1, 1])
  expect(() => reader.read((query) => query.all('DELETE FROM instance RETURNING *'))).toThrow('readonly')
})
