import Database from 'better-sqlite3'
import type { SqlParams } from '../read/reader.ts'

/** Questions and changes to one database, each statement prepared once. `Row` is the caller's word for what the SQL selects. */
export interface Door {
  all<Row>(sql: string, params?: SqlParams): Row[]
  get<Row>(sql: string, params?: SqlParams): Row | undefined
  run(sql: string, params?: SqlParams): { readonly changes: number; readonly lastId: number }
  /** All of `act` in one transaction that takes the write lock first, or nothing of it. Nested ones join the outer. */
  together<T>(act: () => T): T
  close(): void
}

/** Opens an existing database for reading and writing; throws when it is missing. Statements wait `busyTimeoutMs` for another's lock. */
export function openDoor(parts: { readonly path: string; readonly busyTimeoutMs: number }): Door {
  const database = new Database(parts.path, { fileMustExist: true, timeout: parts.busyTimeoutMs })
  database.pragma('synchronous = NORMAL')
  database.pragma('foreign_keys = ON')
  const statements = new Map<string, Database.Statement>()
  const prepared = (sql: string): Database.Statement => {
    let statement = statements.get(sql)
    if (statement === undefined) {
      statement = database.prepare(sql)
      statements.set(sql, statement)
    }
    return statement
  }
  return {
    all: <Row>(sql: string, params: SqlParams = []) => prepared(sql).all(params) as Row[],
    get: <Row>(sql: string, params: SqlParams = []) => prepared(sql).get(params) as Row | undefined,
    run(sql, params = []) {
      const { changes, lastInsertRowid } = prepared(sql).run(params)
      return { changes, lastId: Number(lastInsertRowid) }
    },
    together: (act) => database.transaction(act).immediate(),
    close: () => void database.close(),
  }
}
