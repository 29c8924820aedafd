import Database from 'better-sqlite3'

/** One column that may be NULL and has no default: rows that are stored already stay as they are. */
const ADDED = /^ALTER TABLE (\w+) ADD COLUMN \w+ (?:TEXT|BLOB|INTEGER|REAL|ANY)$/

/**
 * Runs a migration that does nothing but add such columns, without reading the tables; false, and nothing done, for any other. SQLite's own ALTER TABLE checks every row
 * of a STRICT table anew for each column (alter.c, quick_check; a log of ten million calls took nine minutes for five columns), though all that changes is the
 * schema's text. SQLite makes that text here too, on an empty table of the same schema in memory, and it is put in as SQLite's documentation has it for
 * changes that leave what is stored as it is (lang_altertable, section 7). To be called inside a transaction.
 */
export function addColumns(database: Database.Database, sql: string): boolean {
  const statements = sql
    .replaceAll(/^\s*--.*$/gm, '')
    .split(';')
    .map((one) => one.replaceAll(/\s+/g, ' ').trim())
    .filter((one) => one !== '')
  const tables = statements.map((one) => ADDED.exec(one)?.[1])
  if (statements.length === 0 || !tables.every((one) => one !== undefined)) return false
  const changed = schemasAfter(database, new Set(tables), sql)
  if (!changed) return false
  database.unsafeMode(true)
  try {
    database.pragma('writable_schema = ON')
    const replace = database.prepare("UPDATE sqlite_schema SET sql = ? WHERE type = 'table' AND name = ?")
    for (const [table, text] of changed) replace.run([text, table])
    // So that every connection, this one too, reads the schema anew.
    database.pragma(`schema_version = ${Number(database.pragma('schema_version', { simple: true })) + 1}`)
  } finally {
    database.pragma('writable_schema = OFF')
    database.unsafeMode(false)
  }
  return true
}

/** The tables' schemas once the migration has run; undefined where a table is not there, of which SQLite then speaks itself. */
function schemasAfter(database: Database.Database, tables: ReadonlySet<string>, sql: string): ReadonlyMap<string, string> | undefined {
  const schemaIn = (one: Database.Database, table: string): string | undefined =>
    one.prepare("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?").pluck().get(table) as string | undefined
  const twin = new Database(':memory:')
  try {
    for (const table of tables) {
      const schema = schemaIn(database, table)
      if (schema === undefined) return undefined
      twin.exec(schema)
    }
    twin.exec(sql)
    return new Map([...tables].map((table) => [table, schemaIn(twin, table) as string]))
  } finally {
    twin.close()
  }
}
