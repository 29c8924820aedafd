import { statSync } from 'node:fs'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import type { Retention } from '../../plugin/log/messages.ts'
import { databasePath, migrateDataDirectory } from '../../plugin/log/migrate.ts'
import { RowQueue } from '../../plugin/log/queue.ts'
import { createKeeper, ROLLUP_DAYS } from '../../plugin/log/retention.ts'
import type { LogRow, LogStats } from '../../plugin/log/rows.ts'
import { openWriter, type Writer } from '../../plugin/log/writer.ts'
import { freshFolder } from './fresh.ts'
import { callRow, START_UNIX_MS, scrapeRow } from './row.ts'

const DAY_MS = 86_400_000
const HOUR_MS = 3_600_000
const STATS: LogStats = { queuedRows: 0, droppedRows: 0, writtenRows: 0, rejectedRows: 0, threadRestarts: 0 }

function freshWriter(dataDir: string): Writer {
  migrateDataDirectory({ dataDir, nowUnixMs: START_UNIX_MS })
  const writer = openWriter(databasePath(dataDir, 'log'))
  onTestFinished(() => writer.close())
  return writer
}

function write(writer: Writer, rows: readonly LogRow[]): void {
  const queue = new RowQueue(rows.length)
  for (const row of rows) queue.append(row)
  for (let sequence = 1; !queue.isEmpty; sequence++)
    writer.write({ source: `test ${rows.length}`, sequence, batch: queue.take(), stats: STATS })
}

/** Runs retention until it has nothing to do, and gives the number of portions it took. */
function keep(parts: { writer: Writer; retention: Retention; nowUnixMs: number }): number {
  const keeper = createKeeper({ database: parts.writer.database, retention: () => parts.retention })
  let portions = 0
  while (keeper.step(parts.nowUnixMs)) portions += 1
  return portions
}

function numbers(writer: Writer): Record<string, unknown> {
  const tables = ['call', 'candidate', 'attempt', 'scrape', 'rollup']
  return Object.fromEntries(tables.map((table) => [table, writer.database.prepare(`SELECT count(*) FROM ${table}`).pluck().get()]))
}

/** One call and one scrape an hour for `days` days. */
function hourly(days: number): LogRow[] {
  return Array.from({ length: days * 24 }, (_, hour) => {
    const atUnixMs = START_UNIX_MS + hour * HOUR_MS
    return [callRow(hour, { arrivedUnixMs: atUnixMs }), scrapeRow(hour % 4, atUnixMs)]
  }).flat()
}

test('what is older than the kept days goes, in small portions, with everything that belongs to it; rollups stay', () => {
  const writer = freshWriter(freshFolder())
  write(writer, hourly(50))
  const nowUnixMs = START_UNIX_MS + 50 * DAY_MS
  const portions = keep({ writer, retention: { days: 10, bytes: 1e12 }, nowUnixMs })
  expect(numbers(writer)).toEqual({ call: 240, candidate: 240, attempt: 240, scrape: 240, rollup: 1_200 })
  expect(portions).toBeGreaterThanOrEqual(4)
  const oldest = writer.database.prepare('SELECT min(arrived_unix_ms) FROM call').pluck().get()
  expect(oldest).toBe(nowUnixMs - 10 * DAY_MS)
  expect(writer.database.pragma('integrity_check', { simple: true })).toBe('ok')
})

test('rollups go after their own, longer time', () => {
  const writer = freshWriter(freshFolder())
  write(writer, hourly(50))
  keep({ writer, retention: { days: 10, bytes: 1e12 }, nowUnixMs: START_UNIX_MS + (ROLLUP_DAYS + 48) * DAY_MS })
  expect(numbers(writer)).toEqual({ call: 0, candidate: 0, attempt: 0, scrape: 0, rollup: 48 })
})

test('above the kept size the oldest calls go until the file itself is below it', () => {
  const dataDir = freshFolder()
  const writer = freshWriter(dataDir)
  write(
    writer,
    Array.from({ length: 6_000 }, (_, i) => callRow(i)),
  )
  const bytes = 2_000_000
  keep({ writer, retention: { days: 1_000, bytes }, nowUnixMs: START_UNIX_MS })
  writer.database.pragma('wal_checkpoint(TRUNCATE)')
  expect(statSync(databasePath(dataDir, 'log')).size).toBeLessThanOrEqual(bytes)
  const { call } = numbers(writer)
  expect(call).toBeGreaterThan(1_500)
  expect(numbers(writer)).toMatchObject({ candidate: call, attempt: call })
  expect(writer.database.prepare('SELECT max(arrived_unix_ms) FROM call').pluck().get()).toBe(START_UNIX_MS + 5_999)
  expect(writer.database.pragma('integrity_check', { simple: true })).toBe('ok')
})

test('scrapes go with the calls they explain, and alone when there is no call', () => {
  const writer = freshWriter(freshFolder())
  write(
    writer,
    Array.from({ length: 20_000 }, (_, i) => scrapeRow(i % 4, START_UNIX_MS + i * 1_000)),
  )
  const before = numbers(writer).scrape as number
  keep({ writer, retention: { days: 1_000, bytes: 400_000 }, nowUnixMs: START_UNIX_MS })
  const after = numbers(writer).scrape as number
  expect(after).toBeLessThan(before)
})

test('a log within its bounds is left alone', () => {
  const writer = freshWriter(freshFolder())
  write(writer, hourly(2))
  expect(keep({ writer, retention: { days: 10, bytes: 1e12 }, nowUnixMs: START_UNIX_MS + 2 * DAY_MS })).toBe(0)
  expect(numbers(writer)).toMatchObject({ call: 48, scrape: 48 })
})

test('a portion is small: batches and portions take turns', () => {
  const writer = freshWriter(freshFolder())
  write(
    writer,
    Array.from({ length: 2_000 }, (_, i) => callRow(i)),
  )
  const keeper = createKeeper({ database: writer.database, retention: () => ({ days: 1, bytes: 1e12 }) })
  const nowUnixMs = START_UNIX_MS + 2 * DAY_MS
  expect(keeper.step(nowUnixMs)).toBe(true)
  expect(numbers(writer).call).toBeGreaterThanOrEqual(1_500)
  write(writer, [callRow(1, { arrivedUnixMs: nowUnixMs })])
  while (keeper.step(nowUnixMs));
  expect(numbers(writer).call).toBe(1)
})

test('a database made elsewhere without room for giving back pages is kept within its rows all the same', () => {
  const dataDir = freshFolder()
  new Database(databasePath(dataDir, 'log')).exec('CREATE TABLE old (x INTEGER) STRICT').close()
  const writer = freshWriter(dataDir)
  write(
    writer,
    Array.from({ length: 3_000 }, (_, i) => callRow(i)),
  )
  keep({ writer, retention: { days: 1, bytes: 1_000 }, nowUnixMs: START_UNIX_MS + 2 * DAY_MS })
  expect(numbers(writer)).toMatchObject({ call: 0, candidate: 0 })
})
