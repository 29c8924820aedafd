import { join } from 'node:path'
import Database from 'better-sqlite3'

/**
 * One Phasewise per data directory. The lock is an open write transaction on `lock.sqlite` (SQLite's RESERVED lock, which the operating
 * system keeps per process by fcntl or LockFileEx), not a file that says so: when the process dies, by kill -9 or power, the
 * system lets go of it, so nothing stale can be left behind and a pid that was given to another process misleads nobody. In SQLite's rollback mode
 * others may still read while it is held, and so learn who holds it. A directory on a network file system needs working locks there.
 */
export interface DirectoryLock {
  release(): void
}

/** Who holds a data directory, and since when. */
export interface Holder {
  readonly pid: number
  readonly sinceUnixMs: number
}

/** Another process holds the data directory. */
export class DirectoryHeld extends Error {
  /** Undefined in the instant between its taking the lock and saying so. */
  readonly holder: Holder | undefined
  constructor(dataDir: string, holder: Holder | undefined) {
    const who = holder === undefined ? 'another process' : `process ${holder.pid} since ${new Date(holder.sinceUnixMs).toISOString()}`
    super(`data directory ${dataDir} is in use by ${who}: stop that Phasewise or choose another dataDir`)
    this.name = 'DirectoryHeld'
    this.holder = holder
  }
}

/** A connection nobody refers to is collected, and its lock with it: who forgets the returned lock must still hold the directory. */
const held = new Set<Database.Database>()

/** Another process trains in this data directory: there is one at a time. */
export class TrainerHeld extends Error {
  readonly holder: Holder | undefined
  constructor(dataDir: string, holder: Holder | undefined) {
    const who = holder === undefined ? 'another process' : `process ${holder.pid} since ${new Date(holder.sinceUnixMs).toISOString()}`
    super(`a trainer works in ${dataDir} already: ${who}; wait for it, or cancel its run`)
    this.name = 'TrainerHeld'
    this.holder = holder
  }
}

/** Takes the lock for this process and says so inside; throws DirectoryHeld when another has it. Held until `release` or the process ends. */
export function lockDirectory(parts: { readonly dataDir: string; readonly holder: Holder }): DirectoryLock {
  const { dataDir, holder } = parts
  return takeLock(join(dataDir, 'lock.sqlite'), holder, (by) => new DirectoryHeld(dataDir, by))
}

/** The trainers' lock, in the same way; throws TrainerHeld. Whoever holds it may take a run up that another left running: that one is dead. */
export function lockTrainer(parts: { readonly dataDir: string; readonly holder: Holder }): DirectoryLock {
  const { dataDir, holder } = parts
  return takeLock(join(dataDir, 'trainer-lock.sqlite'), holder, (by) => new TrainerHeld(dataDir, by))
}

function takeLock(path: string, holder: Holder, refusal: (by: Holder | undefined) => Error): DirectoryLock {
  const database = new Database(path, { timeout: 0 })
  try {
    database.exec('BEGIN IMMEDIATE')
    database.exec(
      'CREATE TABLE IF NOT EXISTS holder (one INTEGER PRIMARY KEY CHECK (one = 1), pid INTEGER NOT NULL, since INTEGER NOT NULL)',
    )
    database.prepare('INSERT OR REPLACE INTO holder (one, pid, since) VALUES (1, ?, ?)').run(holder.pid, holder.sinceUnixMs)
    database.exec('COMMIT')
    // Whoever slips in between these two has written its own name and holds the lock: then this one fails and names that one.
    database.exec('BEGIN IMMEDIATE')
  } catch (error) {
    const isHeld = error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')
    const by = isHeld ? readHolder(database) : undefined
    database.close()
    throw isHeld ? refusal(by) : error
  }
  held.add(database)
  return {
    release() {
      held.delete(database)
      database.close()
    },
  }
}

function readHolder(database: Database.Database): Holder | undefined {
  try {
    return database.prepare('SELECT pid, since AS sinceUnixMs FROM holder').get() as Holder | undefined
  } catch (error) {
    // Not there yet, or just being written: the lock is held all the same.
    if (error instanceof Database.SqliteError) return undefined
    throw error
  }
}
