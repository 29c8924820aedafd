import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { expect, test } from 'vitest'
import { dumpSchema } from '../../plugin/log/dump-schema.ts'
import {
  databasePath,
  MigrationRefused,
  migrate,
  migrateDataDirectory,
  migrationsFolder,
  readMigrations,
} from '../../plugin/log/migrate.ts'
import { freshFolder, freshLog } from './fresh.ts'

test('schema.sql is what the migrations make; `node plugin/log/dump-schema.ts` renews it', () => {
  expect(readFileSync(join(migrationsFolder(), 'schema.sql'), 'utf8')).toBe(dumpSchema())
})

test('four processes that migrate one empty directory at once all succeed, and each migration is in once', async () => {
  const dataDir = freshFolder()
  const file = fileURLToPath(new URL('./processes/migrate.ts', import.meta.url))
  const children = Array.from({ length: 4 }, () => spawn(process.execPath, [file, dataDir]))
  const errors = children.map((child) => collect(child))
  const codes = Promise.all(children.map(async (child) => (await once(child, 'exit'))[0] as number))
  await Promise.all(children.map((child) => once(child.stdout, 'data')))
  for (const child of children) child.stdin.write('go\n')
  expect(await codes, errors.map((error) => error.text).join('\n')).toEqual([0, 0, 0, 0])
  for (const name of ['log', 'control'] as const) {
    const database = new Database(databasePath(dataDir, name), { readonly: true })
    const rows = database.prepare('SELECT version, name, sha256 FROM migration').all()
    expect(rows).toEqual(readMigrations(name).map(({ version, name, sha256 }) => ({ version, name, sha256 })))
    expect(database.pragma('auto_vacuum', { simple: true })).toBe(2)
    expect(database.pragma('journal_mode', { simple: true })).toBe('wal')
    database.close()
  }
})

test('migrating again changes nothing', () => {
  const dataDir = freshFolder()
  migrateDataDirectory({ dataDir, nowUnixMs: 1 })
  migrateDataDirectory({ dataDir, nowUnixMs: 2 })
  const database = new Database(databasePath(dataDir, 'log'), { readonly: true })
  expect(database.prepare('SELECT DISTINCT applied_unix_ms FROM migration').pluck().all()).toEqual([1])
  database.close()
})

test('a newer database is refused in words that say what to do, and the log does not open', async () => {
  const dataDir = freshFolder()
  const folder = copyOfMigrations()
  for (let version = readMigrations('log').length + 1; version <= 7; version++) {
    writeFileSync(join(folder, 'log', `000${version}-later.sql`), `CREATE TABLE later_${version} (x INTEGER) STRICT;`)
  }
  migrateDataDirectory({ dataDir, nowUnixMs: 1, folder })
  const words = `is of version 7, this Phasewise knows ${readMigrations('log').length}: update Phasewise or choose another dataDir`
  expect(() => migrateDataDirectory({ dataDir, nowUnixMs: 2 })).toThrow(words)
  await expect(freshLog({ dataDir })).rejects.toThrow(words)
})

test('a migration that was edited after it ran is refused by name', () => {
  const dataDir = freshFolder()
  const folder = copyOfMigrations()
  migrateDataDirectory({ dataDir, nowUnixMs: 1, folder })
  const [first] = readMigrations('control', folder)
  writeFileSync(join(folder, 'control', first!.name), `${first!.sql}-- one more word\n`)
  expect(() => migrateDataDirectory({ dataDir, nowUnixMs: 2, folder })).toThrow(MigrationRefused)
  expect(() => migrateDataDirectory({ dataDir, nowUnixMs: 2, folder })).toThrow(first!.name)
})

test('other line ends are no edit', () => {
  const folder = copyOfMigrations()
  const [first] = readMigrations('log', folder)
  writeFileSync(join(folder, 'log', first!.name), first!.sql.replaceAll('\n', '\r\n'))
  expect(readMigrations('log', folder)[0]?.sha256).toBe(first!.sha256)
})

test('a migration that fails half way leaves the version before it', () => {
  const path = join(freshFolder(), 'log.sqlite')
  const good = { version: 1, name: '0001-good.sql', sql: 'CREATE TABLE good (x INTEGER) STRICT;', sha256: 'a' }
  const bad = { version: 2, name: '0002-bad.sql', sql: 'CREATE TABLE half (x INTEGER) STRICT; CREATE TABLE nonsense;', sha256: 'b' }
  expect(() => migrate({ path, migrations: [good, bad], nowUnixMs: 1 })).toThrow('syntax error')
  const database = new Database(path, { readonly: true })
  expect(database.prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name`).pluck().all()).toEqual(['good', 'migration'])
  expect(database.prepare('SELECT max(version) FROM migration').pluck().get()).toBe(1)
  database.close()
})

test('a policy of an earlier version goes with the profiles of its own night', () => {
  const path = join(freshFolder(), 'control.sqlite')
  const migrations = readMigrations('control')
  migrate({ path, migrations: migrations.slice(0, 6), nowUnixMs: 1 })
  const database = new Database(path)
  const add = database.prepare(
    `INSERT INTO model (model_id, kind, version, sha256, card, registered_unix_ms, run_id) VALUES (?, ?, ?, '', '{}', 1, ?)`,
  )
  const made = [
    [1, 'profile', 'p1', 7],
    [2, 'length', 'l1', 7],
    [3, 'policy', 'a', 7],
    [4, 'policy', 'b', 8],
    [5, 'policy', 'c', null],
  ] as const
  for (const row of made) add.run(...row)
  migrate({ path, migrations, nowUnixMs: 2 })
  const goesWith = database.prepare('SELECT version, profile_model_id FROM model ORDER BY model_id').raw().all()
  database.close()
  expect(goesWith).toEqual([
    ['p1', null],
    ['l1', null],
    ['a', 1],
    ['b', null],
    ['c', null],
  ])
})

test('a gap in the numbers of the migrations is found', () => {
  const folder = freshFolder()
  mkdirSync(join(folder, 'log'))
  writeFileSync(join(folder, 'log', '0002-second.sql'), '')
  expect(() => readMigrations('log', folder)).toThrow('0002-second.sql should be number 1')
})

function copyOfMigrations(): string {
  const folder = freshFolder()
  cpSync(migrationsFolder(), folder, { recursive: true })
  return folder
}

function collect(child: ChildProcessWithoutNullStreams): { text: string } {
  const said = { text: '' }
  child.stderr.on('data', (data) => {
    said.text += String(data)
  })
  return said
}
