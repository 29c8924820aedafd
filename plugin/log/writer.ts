import Database from 'better-sqlite3'
import { createHourRoller, type HourRoller } from './hours.ts'
import { type Batch, timeOf } from './queue.ts'
import { Rollups } from './rollup.ts'
import type { InstanceKey, KeptRow, LogStats } from './rows.ts'
import { createCallWriter } from './write-call.ts'
import { createStateWriter } from './write-state.ts'

/** A batch as it reached the log thread: `source` and `sequence` name it for good. */
export interface SentBatch {
  readonly source: string
  readonly sequence: number
  readonly batch: Batch
  readonly stats: LogStats
}

/** What came of a batch; all of it is on disk. */
export interface Written {
  readonly rows: number
  /** Rows left out because they cannot be stored, and why the last of them cannot. */
  readonly rejected: number
  readonly rejection?: string
}

/** The only write connection to `log.sqlite`. */
export interface Writer {
  /**
   * Writes the batch in one transaction, once however often it is sent. Throws when the database does not take it now (locked, full,
   * broken): nothing of it is written then, and it may be sent again.
   */
  write(sent: SentBatch): Written
  readonly database: Database.Database
  /** Rolls minutes into hours when they are over. */
  readonly hours: HourRoller
  close(): void
}

/** Counter under which rows that cannot be stored are kept. */
export const REJECTED_COUNTER = 'log.rejectedRows'

/** One attempt waits this long for a lock, then the thread sees to other things (intents) before the next. */
const BUSY_TIMEOUT_MS = 100

/** The WAL file is cut back to this after a checkpoint; a reader that stays long can make it grow beyond for a while. */
const WAL_BYTES_MAX = 64 * 1024 * 1024

/**
 * Opens `log.sqlite` at `path`, made before by the migrations, for writing. WAL with synchronous=NORMAL: a commit is handed to the operating system,
 * not waited for on the platter. A kill -9 therefore loses nothing that was committed; a power cut or a crash of the machine may lose
 * the last commits (since the last checkpoint, at most 1,000 pages), whole transactions only, and leaves the file intact. FULL would
 * cost a disk flush per batch, to save log rows of calls that ended in the same crash.
 */
export function openWriter(path: string): Writer {
  const database = new Database(path, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS })
  database.pragma('synchronous = NORMAL')
  database.pragma(`journal_size_limit = ${WAL_BYTES_MAX}`)
  const instances = createInstanceIds(database)
  const hours = createHourRoller(database)
  const rollups = new Rollups(database, (minuteUnixMs) => hours.touched(minuteUnixMs))
  const writeCall = createCallWriter({ database, instanceIds: instances.idOf })
  const state = createStateWriter({ database, instanceIds: instances.idOf })
  const lastBatch = database.prepare('SELECT source, sequence FROM last_batch')
  const markBatch = database.prepare('INSERT OR REPLACE INTO last_batch (one, source, sequence) VALUES (1, ?, ?)')
  const writeRow = (row: KeptRow): void => {
    if (row.kind === 'scrape') state.scrape(row)
    else if (row.kind === 'block') state.block(row)
    else rollups.add(row, writeCall(row))
  }
  /** Hands each piece of the batch to `each`, with its time. */
  const writeAll = ({ source, sequence, batch, stats }: SentBatch, each: (write: () => void, atUnixMs: number) => void): void => {
    const { rows, counters, now } = batch
    for (const row of rows) each(() => writeRow(row), timeOf(row))
    for (const row of counters) each(() => state.counter(row), row.atUnixMs)
    if (now !== undefined) each(() => state.now(now, stats), now.seenUnixMs)
    rollups.write()
    markBatch.run([source, sequence])
  }
  const guarded = (work: () => void): void => {
    try {
      database.transaction(work).immediate()
    } catch (error) {
      rollups.forget()
      instances.forget()
      throw error
    } finally {
      instances.forgetObjects()
    }
  }
  const writeTolerant = (sent: SentBatch): Written => {
    let rejected = 0
    let rejection = ''
    const alone = database.transaction((write: () => void) => write())
    const each = (write: () => void, atUnixMs: number): void => {
      try {
        alone(write)
      } catch (error) {
        if (!isRowsFault(error)) throw error
        instances.forget()
        rejected += 1
        rejection = String(error)
        state.counter({ kind: 'counter', name: REJECTED_COUNTER, by: 1, atUnixMs: Number.isFinite(atUnixMs) ? atUnixMs : 0 })
      }
    }
    guarded(() => {
      rejected = 0
      writeAll(sent, each)
    })
    return { rows: Math.max(0, sent.batch.rows.length - rejected), rejected, rejection }
  }
  return {
    database,
    hours,
    write(sent) {
      const last = lastBatch.get() as { source: string; sequence: number } | undefined
      const written = { rows: sent.batch.rows.length, rejected: 0 }
      if (last?.source === sent.source && last.sequence >= sent.sequence) return written
      try {
        guarded(() => writeAll(sent, (write) => write()))
        return written
      } catch (error) {
        if (isRowsFault(error)) return writeTolerant(sent)
        throw error
      }
    },
    close: () => void database.close(),
  }
}

/** The row itself is what does not fit; sending it again would fail for ever. All else is the database's trouble and may pass. */
function isRowsFault(error: unknown): boolean {
  if (!(error instanceof Database.SqliteError)) return true
  return /^SQLITE_(CONSTRAINT|MISMATCH|TOOBIG|RANGE)/.test(error.code)
}

function createInstanceIds(database: Database.Database) {
  const find = database.prepare('SELECT instance_id FROM instance WHERE pool = ? AND name = ? AND url = ?').pluck()
  const add = database.prepare('INSERT INTO instance (pool, name, url, first_seen_unix_ms) VALUES (?, ?, ?, ?)')
  const byName = new Map<string, number>()
  // Rows of one batch share their key objects (cloning keeps identity within a message), and most of the look-ups end here.
  const byObject = new Map<InstanceKey, number>()
  const named = (key: InstanceKey, seenUnixMs: number): number => {
    const name = `${key.pool}\n${key.name}\n${key.url}`
    const known = byName.get(name)
    if (known !== undefined) return known
    const stored = find.get([key.pool, key.name, key.url]) as number | undefined
    const id = stored ?? Number(add.run([key.pool, key.name, key.url, Math.floor(seenUnixMs)]).lastInsertRowid)
    byName.set(name, id)
    return id
  }
  return {
    idOf(key: InstanceKey, seenUnixMs: number): number {
      const known = byObject.get(key)
      if (known !== undefined) return known
      const id = named(key, seenUnixMs)
      byObject.set(key, id)
      return id
    },
    forgetObjects: () => byObject.clear(),
    forget(): void {
      byObject.clear()
      byName.clear()
    },
  }
}
