import type { Query } from './reader.ts'

/** Something lost or worked around, counted over restarts. */
export interface CounterNow {
  readonly name: string
  readonly value: number
  readonly changedUnixMs: number
}

/** All counters in order of name. */
export function readCounters(query: Query): CounterNow[] {
  return query.all<CounterNow>('SELECT name, value, changed_unix_ms AS changedUnixMs FROM counter ORDER BY name')
}

/** A database's file as SQLite sees it, without reading rows. */
export interface DatabaseNow {
  readonly pageBytes: number
  readonly pages: number
  /** Pages that hold nothing and are used again first. */
  readonly freePages: number
  readonly version: string
  readonly migrations: readonly { readonly name: string; readonly appliedUnixMs: number }[]
}

/** The log's own file. */
export function readDatabaseNow(query: Query): DatabaseNow {
  const one = (sql: string): number => Number(Object.values(query.get<Record<string, number>>(sql) ?? {})[0] ?? 0)
  return {
    pageBytes: one('SELECT page_size FROM pragma_page_size'),
    pages: one('SELECT page_count FROM pragma_page_count'),
    freePages: one('SELECT freelist_count FROM pragma_freelist_count'),
    version: query.get<{ version: string }>('SELECT sqlite_version() AS version')?.version ?? 'unknown',
    migrations: query.all('SELECT name, applied_unix_ms AS appliedUnixMs FROM migration ORDER BY version'),
  }
}

/** Calls of the minutes from `fromUnixMs` on. */
export function readCallsSince(query: Query, fromUnixMs: number): number {
  return query.get<{ calls: number | null }>('SELECT sum(calls) AS calls FROM rollup WHERE minute_unix_ms >= ?', [fromUnixMs])?.calls ?? 0
}
