import type Database from 'better-sqlite3'
import type { HourRoller } from './hours.ts'
import type { Retention } from './messages.ts'

/** Keeps the log within its bounds, a little at a time. */
export interface Keeper {
  /** Deletes or gives back one small portion, in one short transaction; true when there is more to do. */
  step(nowUnixMs: number): boolean
}

/** Rollups outlive their calls: a year and a month of them compare this month with the same one last year. About 250 bytes each. */
export const ROLLUP_DAYS = 400

/** Calls deleted at once: about 5 ms of the log thread, so that a batch hardly waits. */
const CALLS_AT_ONCE = 250

/** Scrapes or rollups deleted at once: smaller rows, the same few ms. */
const SMALL_ROWS_AT_ONCE = 1_000

/** Free pages given back to the file system at once: 1 MB. */
const PAGES_AT_ONCE = 256

/** Free pages stay in the file to be used again up to this part of it. */
const FREE_PAGES_RATIO = 0.1

const DAY_MS = 86_400_000

/** Counter under which calls that retention removed are stored; its time is that of the last run that removed any. */
export const REMOVED_COUNTER = 'retention: calls removed'

/** A Keeper on the writer's connection: retention takes turns with batches and never competes with them for the lock. */
export function createKeeper(parts: {
  readonly database: Database.Database
  readonly hours?: HourRoller
  readonly retention: () => Retention
}): Keeper {
  const { database, hours } = parts
  const dropCallRows = createCallDropper(database)
  const dropScrapes = createScrapeDropper(database)
  const dropRollups = database.prepare(
    `DELETE FROM rollup WHERE minute_unix_ms < ? AND minute_unix_ms <= (
      SELECT max(minute_unix_ms) FROM (SELECT minute_unix_ms FROM rollup ORDER BY minute_unix_ms LIMIT ${SMALL_ROWS_AT_ONCE}))`,
  )
  const dropHours = database.prepare('DELETE FROM rollup_hour WHERE hour_unix_ms < ?')
  const pages = (pragma: string): number => database.pragma(pragma, { simple: true }) as number
  const pageBytes = pages('page_size')

  const count = database.prepare(
    `INSERT INTO counter (name, value, changed_unix_ms) VALUES (?, ?, ?)
     ON CONFLICT (name) DO UPDATE SET value = value + excluded.value, changed_unix_ms = excluded.changed_unix_ms`,
  )
  const dropCalls = database.transaction((beforeUnixMs: number, nowUnixMs: number): boolean => {
    const removed = dropCallRows(beforeUnixMs)
    if (removed > 0) count.run(REMOVED_COUNTER, removed, nowUnixMs)
    return removed > 0
  })
  const byAge = (nowUnixMs: number): boolean => {
    const before = nowUnixMs - parts.retention().days * DAY_MS
    if (dropCalls(before, nowUnixMs) || dropScrapes(before)) return true
    const oldest = nowUnixMs - ROLLUP_DAYS * DAY_MS
    return dropRollups.run(oldest).changes > 0 || dropHours.run(oldest).changes > 0
  }
  const bySize = (nowUnixMs: number): boolean => {
    const usedBytes = (pages('page_count') - pages('freelist_count')) * pageBytes
    if (usedBytes <= parts.retention().bytes) return false
    // Scrapes go with the calls they explain; without any call left only they can make room.
    const oldestUnixMs = database.prepare('SELECT arrived_unix_ms FROM call ORDER BY call_id LIMIT 1').pluck().get() as number | undefined
    if (dropScrapes(oldestUnixMs ?? Number.POSITIVE_INFINITY)) return true
    return dropCalls(Number.POSITIVE_INFINITY, nowUnixMs)
  }
  const giveBack = (): boolean => {
    const [all, free] = [pages('page_count'), pages('freelist_count')]
    if (free === 0 || (free <= all * FREE_PAGES_RATIO && all * pageBytes <= parts.retention().bytes)) return false
    database.pragma(`incremental_vacuum(${PAGES_AT_ONCE})`)
    return pages('freelist_count') < free
  }
  return { step: (nowUnixMs) => (hours?.step(nowUnixMs) ?? false) || byAge(nowUnixMs) || bySize(nowUnixMs) || giveBack() }
}

/** Deletes the oldest calls that arrived before a time, with their candidates and attempts; gives their number. */
function createCallDropper(database: Database.Database): (beforeUnixMs: number) => number {
  const last = database
    .prepare(
      `SELECT max(call_id) FROM (SELECT call_id, arrived_unix_ms FROM call ORDER BY call_id LIMIT ${CALLS_AT_ONCE}) WHERE arrived_unix_ms < ?`,
    )
    .pluck()
  const deletes = ['call', 'candidate', 'attempt'].map((table) => database.prepare(`DELETE FROM ${table} WHERE call_id <= ?`))
  return database.transaction((beforeUnixMs: number) => {
    const lastId = last.get(beforeUnixMs) as number | null
    if (lastId === null) return 0
    const [calls] = deletes.map((statement) => statement.run(lastId).changes)
    return calls ?? 0
  })
}

/** Deletes scrapes taken before a time, instance by instance along the key; true when it deleted any. */
function createScrapeDropper(database: Database.Database): (beforeUnixMs: number) => boolean {
  const instances = database.prepare('SELECT instance_id FROM instance').pluck()
  const drop = database.prepare(
    `DELETE FROM scrape WHERE instance_id = @instanceId AND taken_unix_ms IN (
      SELECT taken_unix_ms FROM scrape WHERE instance_id = @instanceId AND taken_unix_ms < @before
      ORDER BY taken_unix_ms LIMIT ${SMALL_ROWS_AT_ONCE})`,
  )
  return database.transaction((before: number) => {
    for (const instanceId of instances.all()) if (drop.run({ instanceId, before }).changes > 0) return true
    return false
  })
}
