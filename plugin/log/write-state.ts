import type Database from 'better-sqlite3'
import type { SqlValue } from './read/reader.ts'
import type { BlockRow, CounterRow, FleetNowRow, LogStats, NowRow, ScrapeRow } from './rows.ts'
import type { InstanceIds } from './write-call.ts'

/** Writes what is not a call: scrapes, blocks, counters, and the router's and the fleet's state as of now. */
export interface StateWriter {
  scrape(row: ScrapeRow): void
  block(row: BlockRow): void
  counter(row: CounterRow): void
  now(row: NowRow, stats: LogStats): void
}

type FleetColumn = readonly [column: string, value: (row: FleetNowRow) => SqlValue]

const FLEET: readonly FleetColumn[] = [
  ['pool', (row) => row.instance.pool],
  ['name', (row) => row.instance.name],
  ['url', (row) => row.instance.url],
  ['state', (row) => row.state],
  ['state_reason', (row) => row.stateReason ?? null],
  ['speed', (row) => row.speed],
  ['weight', (row) => row.weight],
  ['slow_start_ratio', (row) => row.slowStartRatio],
  ['in_flight', (row) => row.inFlight],
  ['prefill_tokens_pending', (row) => row.prefillTokensPending],
  ['output_tokens_left', (row) => row.outputTokensLeft],
  ['placed', (row) => row.placed],
  ['waiting', (row) => known(row.waiting)],
  ['running', (row) => known(row.running)],
  ['kv_usage_ratio', (row) => known(row.kvUsageRatio)],
  ['foreign_in_flight', (row) => known(row.foreignInFlight)],
  ['prefix_hit_ratio', (row) => known(row.prefixHitRatio)],
  ['scrape_age_ms', (row) => known(row.scrapeAgeMs)],
  ['expected_share_ratio', (row) => known(row.expectedShareRatio)],
]

/** A StateWriter for `database`, its statements prepared. */
export function createStateWriter(parts: { readonly database: Database.Database; readonly instanceIds: InstanceIds }): StateWriter {
  const { database, instanceIds } = parts
  const insertScrape = database.prepare(`INSERT OR REPLACE INTO scrape
    (instance_id, taken_unix_ms, waiting, running, kv_usage_ratio, in_flight, foreign_in_flight, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`)
  const insertBlock = database.prepare(`INSERT OR REPLACE INTO switchback_block
    (trial_id, block, arm, from_unix_ms, to_unix_ms, washout_until_unix_ms) VALUES (?, ?, ?, ?, ?, ?)`)
  const addCounter = database.prepare(`INSERT INTO counter (name, value, changed_unix_ms) VALUES (?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET value = value + excluded.value, changed_unix_ms = excluded.changed_unix_ms`)
  const columns = ['instance_id', ...FLEET.map(([column]) => column), 'seen_unix_ms']
  const replaceFleet = database.prepare(
    `INSERT OR REPLACE INTO fleet_now (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`,
  )
  const forgetOthers = database.prepare('DELETE FROM fleet_now WHERE seen_unix_ms <> ?')
  const replaceRouter = database.prepare(`INSERT OR REPLACE INTO router_now
    (one, pid, started_unix_ms, seen_unix_ms, ready, version, queue_rows, dropped_rows, pools) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)`)
  return {
    scrape(row) {
      const takenUnixMs = Math.floor(row.takenUnixMs)
      const load = [known(row.waiting), known(row.running), known(row.kvUsageRatio), row.inFlight, known(row.foreignInFlight)]
      insertScrape.run([instanceIds(row.instance, takenUnixMs), takenUnixMs, ...load, row.state])
    },
    block({ trialId, block, arm, fromUnixMs, toUnixMs, washoutUntilUnixMs }) {
      insertBlock.run([trialId, block, arm, Math.floor(fromUnixMs), Math.floor(toUnixMs), Math.floor(washoutUntilUnixMs)])
    },
    counter: (row) => void addCounter.run([row.name, row.by, Math.floor(row.atUnixMs)]),
    now({ seenUnixMs, router, fleet }, { queuedRows, droppedRows }) {
      const seen = Math.floor(seenUnixMs)
      for (const row of fleet) replaceFleet.run([instanceIds(row.instance, seen), ...FLEET.map(([, value]) => value(row)), seen])
      forgetOthers.run([seen])
      const facts = [router.pid, Math.floor(router.startedUnixMs), seen, router.ready ? 1 : 0, router.version]
      replaceRouter.run([...facts, queuedRows, droppedRows, JSON.stringify(router.pools)])
    },
  }
}

/** NaN (unknown) and Infinity (never) are NULL. */
function known(value: number): number | null {
  return Number.isFinite(value) ? value : null
}
