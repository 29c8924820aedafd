import Database from 'better-sqlite3'
import { Histogram, mergeHistograms } from '../histogram.ts'

/** A value SQLite takes or gives. */
export type SqlValue = string | number | bigint | null | Uint8Array

/** Parameters: by position (`?`) or by name (`@name`). */
export type SqlParams = readonly SqlValue[] | Readonly<Record<string, SqlValue>>

/** Asks inside one read transaction. `Row` is the caller's word for what the SQL selects: it is not checked. */
export interface Query {
  all<Row>(sql: string, params?: SqlParams): Row[]
  get<Row>(sql: string, params?: SqlParams): Row | undefined
}

/**
 * `log.sqlite`, read only. SQL may use two functions of our own: the aggregate `merge_histograms(blob)` gives the merged blob, and
 * `histogram_percentile(blob, ratio)` a value or NULL when nothing was counted.
 */
export interface Reader {
  /**
   * Runs `look` in one read transaction: all its questions see the same instant. Keep it short (select, return, render later): while
   * it runs, the log's WAL file cannot be folded back into the database and grows.
   */
  read<T>(look: (query: Query) => T): T
  close(): void
}

/** How long a read waits for a lock: only recovery after a crash and schema changes ever hold one against readers of a WAL database. */
const BUSY_TIMEOUT_MS = 2_000

/** Prepared statements kept: pages have a few dozen texts, filters multiply them; beyond the bound all are prepared anew. */
const STATEMENTS_MAX = 200

/** Opens the log at `path` for reading. Throws when the file is missing: migrations make it, at start. */
export function openReader(path: string): Reader {
  const database = new Database(path, { readonly: true, fileMustExist: true, timeout: BUSY_TIMEOUT_MS })
  database.function('histogram_percentile', { deterministic: true }, (blob: unknown, ratio: unknown) => {
    if (!(blob instanceof Uint8Array)) return null
    const value = mergeHistograms([blob]).percentile(Number(ratio))
    return Number.isNaN(value) ? null : value
  })
  database.aggregate<Histogram | null>('merge_histograms', {
    start: () => new Histogram(),
    step(all, blob: unknown) {
      if (blob instanceof Uint8Array) all?.mergeEncoded(blob)
    },
    result: (all) => Buffer.from((all ?? new Histogram()).encode()),
  })
  const statements = new Map<string, Database.Statement>()
  const prepared = (sql: string): Database.Statement => {
    const known = statements.get(sql)
    if (known !== undefined) return known
    if (statements.size >= STATEMENTS_MAX) statements.clear()
    const statement = database.prepare(sql)
    statements.set(sql, statement)
    return statement
  }
  const query: Query = {
    all: <Row>(sql: string, params: SqlParams = []) => prepared(sql).all(params) as Row[],
    get: <Row>(sql: string, params: SqlParams = []) => prepared(sql).get(params) as Row | undefined,
  }
  return {
    read: (look) => database.transaction(() => look(query))(),
    close: () => void database.close(),
  }
}
