import type { Clock } from '../../clock.ts'
import type { Door } from './door.ts'

/** What was found of one day's calls. */
export interface DriftDayRecord {
  /** Version of the policy that served, or 'shipped'. */
  readonly subject: string
  readonly dayUnixMs: number
  readonly calls: number
  readonly level: 'none' | 'watch' | 'alarm'
  /** 1: what was promised did not come. */
  readonly fallsBack: number
  readonly words: string
  /** JSON: the figures. */
  readonly numbers: string
  readonly judgedUnixMs: number
}

/** What later days are compared with, as JSON, and the time that it was taken from. */
export interface DriftReferenceRecord {
  readonly subject: string
  readonly fromUnixMs: number
  readonly toUnixMs: number
  readonly reference: string
}

export interface Drift {
  reference(subject: string): DriftReferenceRecord | undefined
  setReference(reference: DriftReferenceRecord): void
  /** Newest first. */
  days(page: { readonly subject?: string; readonly limit: number }): DriftDayRecord[]
  /** In the place of what was found of that day before, while it went on. */
  setDay(day: Omit<DriftDayRecord, 'judgedUnixMs'>): void
}

const DAY = `subject, day_unix_ms AS dayUnixMs, calls, level, falls_back AS fallsBack, words, numbers, judged_unix_ms AS judgedUnixMs`

/** Days that are kept: a quarter of a year. Chosen. */
const KEPT_DAYS = 92
const DAY_MS = 86_400_000

/** Drift as stored behind `door`. */
export function createDrift(door: Door, clock: Clock): Drift {
  return {
    reference: (subject) =>
      door.get<DriftReferenceRecord>(
        'SELECT subject, from_unix_ms AS fromUnixMs, to_unix_ms AS toUnixMs, reference FROM drift_reference WHERE subject = ?',
        [subject],
      ),
    setReference({ subject, fromUnixMs, toUnixMs, reference }) {
      const sql = 'INSERT OR REPLACE INTO drift_reference (subject, from_unix_ms, to_unix_ms, reference) VALUES (?, ?, ?, ?)'
      door.run(sql, [subject, Math.floor(fromUnixMs), Math.floor(toUnixMs), reference])
    },
    days: ({ subject, limit }) =>
      door.all<DriftDayRecord>(
        `SELECT ${DAY} FROM drift_day WHERE @subject IS NULL OR subject = @subject ORDER BY day_unix_ms DESC, judged_unix_ms DESC LIMIT @limit`,
        { subject: subject ?? null, limit },
      ),
    setDay({ subject, dayUnixMs, calls, level, fallsBack, words, numbers }) {
      const sql = `INSERT OR REPLACE INTO drift_day (subject, day_unix_ms, calls, level, falls_back, words, numbers, judged_unix_ms)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)`
      door.run(sql, [subject, dayUnixMs, calls, level, fallsBack, words, numbers, clock.nowUnixMs()])
      door.run('DELETE FROM drift_day WHERE day_unix_ms < ?', [dayUnixMs - KEPT_DAYS * DAY_MS])
    },
  }
}
