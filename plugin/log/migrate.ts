import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { addColumns } from './added-columns.ts'

/** Which of the two databases: what happened, or what was decided. */
export type DatabaseName = 'log' | 'control'

/** One file of `migrations/<database>/`, e.g. `0001-calls.sql`: version 1. */
export interface Migration {
  readonly version: number
  readonly name: string
  readonly sql: string
  readonly sha256: string
}

/** The data directory and this Phasewise do not fit: nothing was changed; the message says what to do. */
export class MigrationRefused extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'MigrationRefused'
  }
}

/**
 * How long one process waits while another migrates. Chosen: today's migrations take milliseconds, one that rewrites a full log of a
 * few GB takes under a minute.
 */
const LOCK_WAIT_MS = 60_000

/** Pause between attempts where SQLite answers "busy" at once without waiting itself (switching to WAL). */
const RETRY_PAUSE_MS = 20

/** Path of a database in the data directory. */
export function databasePath(dataDir: string, name: DatabaseName): string {
  return join(dataDir, `${name}.sqlite`)
}

/** The migrations of one database in order. Throws when numbers are missing or doubled. */
export function readMigrations(name: DatabaseName, folder: string = migrationsFolder()): Migration[] {
  const files = readdirSync(join(folder, name))
    .filter((file) => /^\d{4}-.+\.sql$/.test(file))
    .sort()
  return files.map((file, index) => {
    const version = Number(file.slice(0, 4))
    if (version !== index + 1) throw new Error(`migrations/${name}/${file} should be number ${index + 1}`)
    // A checkout with other line ends is no edit.
    const sql = readFileSync(join(folder, name, file), 'utf8').replaceAll('\r\n', '\n')
    return { version, name: file, sql, sha256: createHash('sha256').update(sql).digest('hex') }
  })
}

/**
 * Brings the database at `path` to the newest version, making it where it is missing: each migration in one transaction that takes the
 * write lock before it looks, so that of two processes that start at once one migrates and the other finds it done. Gives the version.
 * Throws MigrationRefused when the database is newer, or was made by a migration that has been edited since.
 */
export function migrate(parts: {
  readonly path: string
  readonly migrations: readonly Migration[]
  readonly nowUnixMs: number
  readonly lockWaitMs?: number
}): number {
  const { path, migrations, nowUnixMs, lockWaitMs = LOCK_WAIT_MS } = parts
  const database = new Database(path, { timeout: lockWaitMs })
  try {
    prepareFile(database, lockWaitMs)
    database
      .transaction(() => {
        database.exec(`CREATE TABLE IF NOT EXISTS migration (
          version INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_unix_ms INTEGER NOT NULL) STRICT`)
        checkHistory({ database, path, migrations })
      })
      .immediate()
    for (const migration of migrations) applyOnce({ database, migration, nowUnixMs })
    return migrations.length
  } finally {
    database.close()
  }
}

/** One database of a data directory; see `migrate`. */
export function migrateDatabase(parts: {
  readonly dataDir: string
  readonly name: DatabaseName
  readonly nowUnixMs: number
  readonly lockWaitMs?: number
}): void {
  const { dataDir, name, ...rest } = parts
  migrate({ path: databasePath(dataDir, name), migrations: readMigrations(name), ...rest })
}

/** Both databases of a data directory; see `migrate`. */
export function migrateDataDirectory(parts: { readonly dataDir: string; readonly nowUnixMs: number; readonly folder?: string }): void {
  for (const name of ['log', 'control'] as const) {
    const path = databasePath(parts.dataDir, name)
    migrate({ path, migrations: readMigrations(name, parts.folder), nowUnixMs: parts.nowUnixMs })
  }
}

/** `migrations/` beside `plugin/`, or beside `dist/` when this runs compiled. Throws when it is in neither place. */
export function migrationsFolder(): string {
  const places = ['../../migrations', '../../../migrations'].map((place) => fileURLToPath(new URL(place, import.meta.url)))
  const found = places.find((place) => existsSync(join(place, 'log')))
  if (found === undefined) throw new Error(`no migrations folder at ${places.join(' or ')}: the installation is incomplete`)
  return found
}

/** What only an empty file takes (pages that can be given back), and WAL, which stays with the file. */
function prepareFile(database: Database.Database, lockWaitMs: number): void {
  if (database.pragma('journal_mode', { simple: true }) === 'wal') return
  database.pragma('auto_vacuum = INCREMENTAL')
  // SQLite refuses this switch at once, without its usual wait, while another process is making the same one.
  const pause = new Int32Array(new SharedArrayBuffer(4))
  for (let waitedMs = 0; ; waitedMs += RETRY_PAUSE_MS) {
    try {
      database.pragma('journal_mode = WAL')
      return
    } catch (error) {
      const busy = error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')
      if (!busy || waitedMs >= lockWaitMs) throw error
      Atomics.wait(pause, 0, 0, RETRY_PAUSE_MS)
    }
  }
}

function checkHistory(parts: { database: Database.Database; path: string; migrations: readonly Migration[] }): void {
  const { database, path, migrations } = parts
  const applied = database.prepare('SELECT version, name, sha256 FROM migration ORDER BY version').all() as Omit<Migration, 'sql'>[]
  const newest = applied.at(-1)?.version ?? 0
  if (newest > migrations.length) {
    throw new MigrationRefused(
      `database ${path} is of version ${newest}, this Phasewise knows ${migrations.length}: update Phasewise or choose another dataDir`,
    )
  }
  for (const was of applied) {
    const is = migrations[was.version - 1]
    if (is?.sha256 === was.sha256) continue
    throw new MigrationRefused(
      `database ${path} was made by a ${was.name} that differs from the one here: ` +
        'restore that file (changes go into a new migration) or choose another dataDir',
    )
  }
}

function applyOnce(parts: { database: Database.Database; migration: Migration; nowUnixMs: number }): void {
  const { database, migration, nowUnixMs } = parts
  database
    .transaction(() => {
      if (database.prepare('SELECT 1 FROM migration WHERE version = ?').get(migration.version) !== undefined) return
      if (!addColumns(database, migration.sql)) database.exec(migration.sql)
      const sql = 'INSERT INTO migration (version, name, sha256, applied_unix_ms) VALUES (?, ?, ?, ?)'
      database.prepare(sql).run(migration.version, migration.name, migration.sha256, nowUnixMs)
    })
    .immediate()
}
