import type { Query } from './reader.ts'
import type { TimeRange } from './traffic.ts'

/** What an instance's metrics said at a moment; NaN is unknown. */
export interface StoredScrape {
  readonly instance: string
  readonly takenUnixMs: number
  readonly waiting: number
  readonly running: number
  /** 0..1. */
  readonly kvUsageRatio: number
}

/** One instance's: more tell nothing new of where its limits lie. At one per 0.8 s they are an hour of full queues. */
const QUEUED_SCRAPES_MAX = 4_000

/**
 * The pool's scrapes of a time range at which calls both waited and ran: they alone tell an engine's limits. The newest `QUEUED_SCRAPES_MAX` of each instance, by instance
 * and time.
 */
export function readQueuedScrapes(query: Query, { pool, fromUnixMs, toUnixMs }: TimeRange & { readonly pool: string }): StoredScrape[] {
  const instances = query.all<{ id: number; name: string }>(
    'SELECT instance_id AS id, name FROM instance WHERE pool = ? ORDER BY instance_id',
    [pool],
  )
  const sql = `SELECT taken_unix_ms AS takenUnixMs, waiting, running, coalesce(kv_usage_ratio, 9e999) AS kvUsageRatio FROM scrape
    WHERE instance_id = ? AND taken_unix_ms >= ? AND taken_unix_ms < ? AND waiting > 0 AND running > 0
    ORDER BY taken_unix_ms DESC LIMIT ${QUEUED_SCRAPES_MAX}`
  return instances.flatMap(({ id, name }) =>
    query
      .all<Omit<StoredScrape, 'instance'>>(sql, [id, fromUnixMs, toUnixMs])
      .map((row) => ({ ...row, instance: name, kvUsageRatio: row.kvUsageRatio <= 1 ? row.kvUsageRatio : Number.NaN }))
      .reverse(),
  )
}
