import type Database from 'better-sqlite3'
import { mergeHistograms } from './histogram.ts'
import { SUMS } from './rollup.ts'

/** Rolls the minutes of hours that are over into one row per pool, instance and policy. */
export interface HourRoller {
  /** Rolls one hour, a few hundred rows and a few ms of the log thread; true when there may be more to do. */
  step(nowUnixMs: number): boolean
  /** Minutes of this time changed after all: their hour is rolled anew. */
  touched(minuteUnixMs: number): void
}

const HOUR_MS = 3_600_000

/** Longer than any call lives unless configured so (timeouts.totalMs is 30 min): a later end is `touched`. */
const SETTLED_AFTER_MS = HOUR_MS

const KEY = ['pool', 'instance_id', 'policy'] as const
const HISTOGRAMS = ['ttft', 'tpot', 'e2e'] as const

type Row = Record<(typeof SUMS)[number], number> &
  Record<(typeof HISTOGRAMS)[number], Uint8Array> & { readonly pool: string; readonly instance_id: number; readonly policy: string }

/** A roller on the writer's connection; it goes on where the last one ended. */
export function createHourRoller(database: Database.Database): HourRoller {
  const columns = ['hour_unix_ms', ...KEY, ...SUMS, ...HISTOGRAMS]
  const last = database.prepare('SELECT max(hour_unix_ms) FROM rollup_hour').pluck()
  const next = database.prepare('SELECT min(minute_unix_ms) FROM rollup WHERE minute_unix_ms >= ?').pluck()
  const minutes = database.prepare(
    `SELECT ${[...KEY, ...SUMS, ...HISTOGRAMS].join(', ')} FROM rollup WHERE minute_unix_ms >= ? AND minute_unix_ms < ?`,
  )
  const drop = database.prepare('DELETE FROM rollup_hour WHERE hour_unix_ms = ?')
  const insert = database.prepare(
    `INSERT OR REPLACE INTO rollup_hour (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`,
  )
  /** Of the first hour not rolled yet. */
  let from = ((last.get() as number | null) ?? Number.NEGATIVE_INFINITY) + HOUR_MS
  const again = new Set<number>()
  const roll = database.transaction((hour: number) => {
    drop.run(hour)
    const groups = Map.groupBy(minutes.all(hour, hour + HOUR_MS) as Row[], (row) => JSON.stringify(KEY.map((name) => row[name])))
    for (const rows of groups.values()) {
      const [first] = rows as [Row]
      const sums = SUMS.map((name) => rows.reduce((sum, row) => sum + row[name], 0))
      const merged = HISTOGRAMS.map((name) => mergeHistograms(rows.map((row) => row[name])).encode())
      insert.run([hour, ...KEY.map((name) => first[name]), ...sums, ...merged])
    }
  })
  return {
    step(nowUnixMs) {
      const [touched] = again
      if (touched !== undefined) {
        roll(touched)
        again.delete(touched)
        return true
      }
      const minute = next.get(Number.isFinite(from) ? from : 0) as number | null
      if (minute === null) return false
      const hour = Math.floor(minute / HOUR_MS) * HOUR_MS
      if (hour + HOUR_MS + SETTLED_AFTER_MS > nowUnixMs) return false
      roll(hour)
      from = hour + HOUR_MS
      return true
    },
    touched(minuteUnixMs) {
      const hour = Math.floor(minuteUnixMs / HOUR_MS) * HOUR_MS
      // Until it is rolled anew its minutes are read.
      if (hour < from && drop.run(hour).changes > 0) again.add(hour)
    },
  }
}
