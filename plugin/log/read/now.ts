import { unixMsOfId } from './ids.ts'
import type { Query } from './reader.ts'

/** The router as it last wrote of itself, and how big the log is. */
export interface RouterNow {
  readonly pid: number
  readonly startedUnixMs: number
  readonly seenUnixMs: number
  readonly ready: boolean
  readonly version: string
  readonly queueRows: number
  readonly droppedRows: number
  readonly pools: readonly PoolNow[]
}

export interface PoolNow {
  readonly name: string
  readonly policy: string
  readonly models: readonly string[]
  /** Phasewise is switched off: the fallback policy places. */
  readonly off?: true
  /** Absent where nothing is ever held; `offReason` while it is not. */
  readonly hold?: { readonly order: string; readonly held: number; readonly offReason?: string }
}

/** One instance as the router last saw it. Null is unknown, which is not 0. */
export interface InstanceNow {
  readonly instanceId: number
  readonly pool: string
  readonly name: string
  readonly url: string
  readonly state: string
  readonly stateReason: string | null
  readonly speed: number
  readonly weight: number
  readonly slowStartRatio: number
  readonly inFlight: number
  readonly prefillTokensPending: number
  readonly outputTokensLeft: number
  readonly placed: number
  readonly waiting: number | null
  readonly running: number | null
  readonly kvUsageRatio: number | null
  readonly foreignInFlight: number | null
  readonly prefixHitRatio: number | null
  readonly scrapeAgeMs: number | null
  readonly expectedShareRatio: number | null
  readonly seenUnixMs: number
}

/** Rows of `fleet_now` this much older than the router's own are of instances that left: the router renews all in one batch each second. */
const LEFT_AFTER_MS = 5_000

/** What the router last wrote of itself; undefined before it ever ran on this log. */
export function readRouterNow(query: Query): RouterNow | undefined {
  const row = query.get<Omit<RouterNow, 'ready' | 'pools'> & { ready: number; pools: string }>(
    `SELECT pid, started_unix_ms AS startedUnixMs, seen_unix_ms AS seenUnixMs, ready, version, queue_rows AS queueRows,
       dropped_rows AS droppedRows, pools FROM router_now`,
  )
  return row === undefined ? undefined : { ...row, ready: row.ready === 1, pools: JSON.parse(row.pools) as PoolNow[] }
}

/** The fleet as last written, in order of pool and name, instances that left excluded. */
export function readFleetNow(query: Query): InstanceNow[] {
  return query.all<InstanceNow>(
    `SELECT instance_id AS instanceId, pool, name, url, state, state_reason AS stateReason, speed, weight,
       slow_start_ratio AS slowStartRatio, in_flight AS inFlight, prefill_tokens_pending AS prefillTokensPending,
       output_tokens_left AS outputTokensLeft, placed, waiting, running, kv_usage_ratio AS kvUsageRatio,
       foreign_in_flight AS foreignInFlight, prefix_hit_ratio AS prefixHitRatio, scrape_age_ms AS scrapeAgeMs,
       expected_share_ratio AS expectedShareRatio, seen_unix_ms AS seenUnixMs
     FROM fleet_now WHERE state <> 'removed' AND seen_unix_ms >= (SELECT max(seen_unix_ms) FROM fleet_now) - ${LEFT_AFTER_MS}
     ORDER BY pool, name, url`,
  )
}

/** Calls per instance that the minutes from `fromUnixMs` on hold. */
export function readCallsByInstance(query: Query, fromUnixMs: number): ReadonlyMap<number, number> {
  const sql = 'SELECT instance_id AS id, sum(calls) AS calls FROM rollup WHERE minute_unix_ms >= ? GROUP BY instance_id'
  return new Map(query.all<{ id: number; calls: number }>(sql, [fromUnixMs]).map((row) => [row.id, row.calls]))
}

/** When the oldest call in the log arrived; undefined while there is none. */
export function readOldestCall(query: Query): number | undefined {
  const id = query.get<{ id: number | null }>('SELECT min(call_id) AS id FROM call')?.id
  return id === null || id === undefined ? undefined : unixMsOfId(id)
}
