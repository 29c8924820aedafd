import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, test } from 'vitest'
import { addColumns } from '../../plugin/log/added-columns.ts'
import { migrate, readMigrations } from '../../plugin/log/migrate.ts'
import { freshFolder } from './fresh.ts'

const OLD = 'CREATE TABLE call (call_id INTEGER PRIMARY KEY, name TEXT NOT NULL, -- who\n size REAL CHECK (size > 0)) STRICT'
const MIGRATION = `-- What came; and "who" asked; for it.
ALTER TABLE call ADD COLUMN came BLOB;
ALTER TABLE call ADD COLUMN asked_by
  INTEGER;`

function opened(path = join(freshFolder(), 'a.sqlite')): Database.Database {
  const database = new Database(path)
  database.pragma('journal_mode = WAL')
  return database
}

const schemaOf = (database: Database.Database) => database.prepare('SELECT type, name, sql FROM sqlite_schema ORDER BY name').all()

test('columns are added as SQLite itself adds them, and what was stored stays', () => {
  const [own, reference] = [opened(), opened()]
  for (const database of [own, reference]) {
    database.exec(`${OLD}; CREATE INDEX by_name ON call (name); INSERT INTO call VALUES (1, 'a', 2.5), (2, 'b', NULL)`)
  }
  expect(own.transaction(() => addColumns(own, MIGRATION)).immediate()).toBe(true)
  reference.exec(MIGRATION)
  expect(schemaOf(own)).toEqual(schemaOf(reference))
  for (const database of [own, reference]) {
    database.prepare('INSERT INTO call VALUES (3, ?, 1, ?, 7)').run('c', Buffer.from([1, 2]))
    expect(() => database.exec("INSERT INTO call (name, asked_by) VALUES ('d', 'text')")).toThrow('cannot store TEXT')
    expect(() => database.exec("INSERT INTO call (name, size) VALUES ('d', -1)")).toThrow('CHECK')
  }
  expect(own.prepare('SELECT * FROM call').all()).toEqual(reference.prepare('SELECT * FROM call').all())
  expect(own.pragma('integrity_check', { simple: true })).toBe('ok')
  expect(() => own.exec("UPDATE sqlite_schema SET sql = '' WHERE name = 'call'")).toThrow('may not be modified')
})

test('a reader that was open before sees the new columns', () => {
  const path = join(freshFolder(), 'a.sqlite')
  const writer = opened(path)
  writer.exec(`${OLD}; INSERT INTO call VALUES (1, 'a', 2.5)`)
  const reader = new Database(path, { readonly: true })
  const all = reader.prepare('SELECT * FROM call')
  expect(all.get()).toEqual({ call_id: 1, name: 'a', size: 2.5 })
  writer.transaction(() => addColumns(writer, MIGRATION)).immediate()
  expect(reader.prepare('SELECT came, asked_by FROM call').get()).toEqual({ came: null, asked_by: null })
})

test('anything else is left to SQLite: defaults, checks, other statements, tables that are not there', () => {
  const database = opened()
  database.exec(OLD)
  const before = schemaOf(database)
  for (const sql of [
    '',
    '-- nothing',
    'ALTER TABLE call ADD COLUMN came TEXT NOT NULL DEFAULT 1',
    "ALTER TABLE call ADD COLUMN came TEXT CHECK (came <> '')",
    'ALTER TABLE call ADD COLUMN came TEXT; CREATE INDEX by_came ON call (came)',
    'ALTER TABLE call RENAME TO calls',
    'ALTER TABLE nowhere ADD COLUMN came TEXT',
  ])
    expect(database.transaction(() => addColumns(database, sql)).immediate(), sql).toBe(false)
  expect(() => database.transaction(() => addColumns(database, 'ALTER TABLE call ADD COLUMN name TEXT')).immediate()).toThrow('duplicate')
  expect(schemaOf(database)).toEqual(before)
})

test('a transaction that is given up takes the columns back', () => {
  const database = opened()
  database.exec(`${OLD}; INSERT INTO call VALUES (1, 'a', 2.5)`)
  const before = schemaOf(database)
  const work = database.transaction(() => {
    addColumns(database, MIGRATION)
    throw new Error('given up')
  })
  expect(() => work.immediate()).toThrow('given up')
  expect(schemaOf(database)).toEqual(before)
  expect(database.prepare('SELECT * FROM call').get()).toEqual({ call_id: 1, name: 'a', size: 2.5 })
  expect(() => database.prepare('SELECT came FROM call')).toThrow('no such column')
})

test('the migrations make the same schema as when SQLite runs each of them itself', () => {
  const path = join(freshFolder(), 'log.sqlite')
  const migrations = readMigrations('log')
  migrate({ path, migrations, nowUnixMs: 1 })
  const reference = opened()
  for (const { sql } of migrations) reference.exec(sql)
  const made = new Database(path, { readonly: true })
  const names = `SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE '%migration%' ORDER BY name`
  expect(made.prepare(names).all()).toEqual(reference.prepare(names).all())
})
