import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { systemClock } from '../../../plugin/clock.ts'
import { openControl } from '../../../plugin/log/control.ts'
import { databasePath, migrateDataDirectory, readMigrations } from '../../../plugin/log/migrate.ts'
import { openWriter } from '../../../plugin/log/writer.ts'
import { furnish } from '../../admin/furniture.ts'
import { writeHistory } from '../../admin/history.ts'
import { progress } from '../harness.ts'

const DAY_MS = 86_400_000
const DAYS = 30
/** Ids grow by so much per millisecond (call/id.ts). */
const IDS_PER_MS = 4096
/** Candidates are half of a log's size and are only ever read by id: of every so many calls one keeps them here. */
const CANDIDATES_EVERY = 10

/**
 * A log of `calls` calls over thirty days, up to `nowUnixMs`: one day written by the log's own writer, rollups included, and that day again for each day
 * before, its ids and times shifted. Kept in `folder` and taken from there the next time, unless the log's tables have changed since: to migrate so many rows
 * takes longer than to write them anew.
 */
export function makeLargeLog(given: { readonly folder: string; readonly calls: number; readonly nowUnixMs: number }): {
  readonly dataDir: string
  readonly calls: number
  /** When its newest call arrived. */
  readonly nowUnixMs: number
} {
  const { folder, calls } = given
  const dataDir = join(folder, `admin-${calls}`)
  const ready = join(dataDir, 'complete')
  if (!existsSync(ready) || !isOfToday(databasePath(dataDir, 'log'))) {
    rmSync(dataDir, { recursive: true, force: true })
    mkdirSync(dataDir, { recursive: true })
    writeHistory({ dataDir, nowUnixMs: given.nowUnixMs, hours: 24, calls: Math.ceil(calls / DAYS), seed: 11 })
    repeatDay(databasePath(dataDir, 'log'))
    const control = openControl({ path: databasePath(dataDir, 'control'), clock: systemClock })
    furnish(control)
    control.close()
    writeFileSync(ready, String(given.nowUnixMs))
  }
  const nowUnixMs = Number(readFileSync(ready, 'utf8'))
  // Control may lack what came since.
  migrateDataDirectory({ dataDir, nowUnixMs })
  rollHours(databasePath(dataDir, 'log'), nowUnixMs)
  const database = new Database(databasePath(dataDir, 'log'), { readonly: true })
  const counted = database.prepare('SELECT count(*) FROM call').pluck().get() as number
  database.close()
  return { dataDir, calls: counted, nowUnixMs }
}

function isOfToday(path: string): boolean {
  const database = new Database(path, { readonly: true })
  try {
    return database.prepare('SELECT max(version) FROM migration').pluck().get() === readMigrations('log').length
  } finally {
    database.close()
  }
}

function repeatDay(path: string): void {
  const database = new Database(path)
  // Nothing is lost but time when this breaks off: the log is made anew then.
  database.pragma('journal_mode = OFF')
  database.pragma('synchronous = OFF')
  database.pragma('cache_size = -400000')
  const indexes = database
    .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'call' AND sql IS NOT NULL")
    .all() as { name: string; sql: string }[]
  for (const { name } of indexes) database.exec(`DROP INDEX ${name}`)
  const first = database.prepare('SELECT min(arrived_unix_ms) FROM call').pluck().get() as number
  database.exec(`CREATE TEMP TABLE a_call AS SELECT * FROM call; CREATE TEMP TABLE a_candidate AS SELECT * FROM candidate;
    CREATE TEMP TABLE a_attempt AS SELECT * FROM attempt;
    CREATE TEMP TABLE a_rollup AS SELECT * FROM rollup WHERE minute_unix_ms >= ${first};
    DELETE FROM call; DELETE FROM candidate; DELETE FROM attempt; DELETE FROM rollup;`)
  for (let day = DAYS - 1; day >= 0; day--) {
    progress(DAYS - 1 - day, DAYS, 'days of calls')
    const [ids, ms] = [day * DAY_MS * IDS_PER_MS, day * DAY_MS]
    database.exec(`BEGIN;
      ${shifted('call', database, { call_id: ids, arrived_unix_ms: ms })};
      ${shifted('candidate', database, { call_id: ids })} WHERE call_id % ${CANDIDATES_EVERY} = 0;
      ${shifted('attempt', database, { call_id: ids })};
      ${shifted('rollup', database, { minute_unix_ms: ms })};
      COMMIT`)
  }
  progress(DAYS, DAYS, 'days of calls')
  for (const { sql } of indexes) database.exec(sql)
  database.exec('DROP TABLE a_call; DROP TABLE a_candidate; DROP TABLE a_attempt; DROP TABLE a_rollup')
  database.pragma('journal_mode = WAL')
  database.close()
}

/** What the log thread does whenever an hour is over. */
function rollHours(path: string, nowUnixMs: number): void {
  const writer = openWriter(path)
  while (writer.hours.step(nowUnixMs));
  writer.close()
}

/** `INSERT INTO table SELECT …` with these columns less so much. */
function shifted(table: string, database: Database.Database, by: Readonly<Record<string, number>>): string {
  const columns = (database.pragma(`table_info(${table})`) as { name: string }[]).map(({ name }) => name)
  const values = columns.map((name) => (by[name] === undefined ? name : `${name} - ${by[name]}`))
  return `INSERT INTO ${table} (${columns.join(', ')}) SELECT ${values.join(', ')} FROM a_${table}`
}
