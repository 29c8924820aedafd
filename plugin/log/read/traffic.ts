import { firstIdAt } from '../../call/id.ts'
import { CALL_COLUMNS, CANDIDATE_COLUMNS, FEATURE_HASH } from '../../placement/features.ts'
import { floatsOf, hashesOf } from '../blob.ts'
import type { Query } from './reader.ts'

/** One stored call as far as it can be played again. Null is unknown. */
export interface StoredTraffic {
  readonly callId: number
  readonly arrivedUnixMs: number
  readonly application: string
  readonly tenant: string
  readonly task: string | null
  readonly promptBytes: number
  readonly promptTokens: number
  readonly maxTokens: number | null
  readonly instance: string | null
  readonly predictedOutputTokens: number | null
  readonly outcome: string
  readonly ttftMs: number | null
  readonly tpotMs: number | null
  readonly e2eMs: number
  readonly outputTokens: number | null
  /** Empty where none was logged. */
  readonly prefixBlocks: Uint32Array
}

/** One instance that stood among the candidates of stored calls. */
export interface StoredInstance {
  readonly name: string
  /** As the last call saw it. */
  readonly speed: number
  /** KV tokens it holds; NaN where it never told. */
  readonly kvTokens: number
}

/** Unix ms, from included, to excluded. */
export interface TimeRange {
  readonly fromUnixMs: number
  readonly toUnixMs: number
}

const CALL = `call_id AS callId, arrived_unix_ms AS arrivedUnixMs, application, tenant, task, prompt_bytes AS promptBytes,
  coalesce(prompt_tokens, prompt_tokens_estimate) AS promptTokens, max_tokens AS maxTokens, instance.name AS instance,
  predicted_output_tokens AS predictedOutputTokens, outcome, ttft_ms AS ttftMs, tpot_ms AS tpotMs, e2e_ms AS e2eMs,
  output_tokens AS outputTokens, prefix_blocks AS prefixBlocks`

const SPEED = CANDIDATE_COLUMNS.findIndex((column) => column.name === 'speed')
const KV_TOKENS = CANDIDATE_COLUMNS.findIndex((column) => column.name === 'kvTokensCapacity')

/** Pools that have calls in the range, by name. */
export function readTrafficPools(query: Query, { fromUnixMs, toUnixMs }: TimeRange): string[] {
  const sql = 'SELECT DISTINCT pool FROM call WHERE call_id >= ? AND call_id < ? ORDER BY pool'
  return query.all<{ pool: string }>(sql, [firstIdAt(fromUnixMs), firstIdAt(toUnixMs)]).map((row) => row.pool)
}

/** All calls of a pool in the range, in order of arrival. */
export function readTraffic(query: Query, pool: string, { fromUnixMs, toUnixMs }: TimeRange): StoredTraffic[] {
  type Row = Omit<StoredTraffic, 'prefixBlocks'> & { readonly prefixBlocks: Uint8Array | null }
  const sql = `SELECT ${CALL} FROM call LEFT JOIN instance USING (instance_id)
    WHERE call.pool = ? AND call_id >= ? AND call_id < ? ORDER BY call_id`
  return query
    .all<Row>(sql, [pool, firstIdAt(fromUnixMs), firstIdAt(toUnixMs)])
    .map((row) => ({ ...row, prefixBlocks: row.prefixBlocks === null ? NO_BLOCKS : hashesOf(row.prefixBlocks) }))
}

const NO_BLOCKS = new Uint32Array(0)

/** The pool's instances in the range, by name: everybody who stood among the candidates, with what the last such row said. */
export function readTrafficFleet(query: Query, pool: string, { fromUnixMs, toUnixMs }: TimeRange): StoredInstance[] {
  const names = new Map(
    query
      .all<{ id: number; name: string }>('SELECT instance_id AS id, name FROM instance WHERE pool = ?', [pool])
      .map((row) => [row.id, row.name]),
  )
  const found = new Map<string, StoredInstance>()
  const sql = `SELECT instances, features, feature_hash AS featureHash FROM candidate JOIN call USING (call_id)
    WHERE pool = ? AND call_id >= ? AND call_id < ? ORDER BY call_id`
  for (const row of query.all<{ instances: string; features: Uint8Array; featureHash: string }>(sql, [
    pool,
    firstIdAt(fromUnixMs),
    firstIdAt(toUnixMs),
  ])) {
    const features = row.featureHash === FEATURE_HASH ? floatsOf(row.features) : undefined
    ;(JSON.parse(row.instances) as number[]).forEach((id, i) => {
      const name = names.get(id)
      if (name === undefined) return
      const at = CALL_COLUMNS.length + i * CANDIDATE_COLUMNS.length
      const told = { speed: features?.[at + SPEED] ?? Number.NaN, kvTokens: features?.[at + KV_TOKENS] ?? Number.NaN }
      const known = found.get(name)
      found.set(name, {
        name,
        speed: Number.isNaN(told.speed) ? (known?.speed ?? 1) : told.speed,
        kvTokens: Number.isNaN(told.kvTokens) ? (known?.kvTokens ?? Number.NaN) : told.kvTokens,
      })
    })
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
}
