import { floatsOf } from '../blob.ts'
import { CALL_ROW, type CallRow } from './call-row.ts'
import { CALL_COLUMNS, CANDIDATE_COLUMNS, FEATURE_HASH } from './columns.ts'
import { firstIdAt } from './ids.ts'
import type { Query } from './reader.ts'

/** One call's row with what its page shows besides. */
export interface StoredCall extends CallRow {
  readonly reason: string
  /** What predicted the length: 'model', or which fallback; null where nothing did or the call is older. */
  readonly lengthSource: string | null
  /** The predicted distribution as stored (see call/length-axis.ts). */
  readonly predictedLength: Uint8Array | null
  readonly predictedTtftMs: number | null
  readonly predictedE2eMs: number | null
  readonly status: number | null
  readonly error: string | null
  readonly tokensFrom: string | null
  readonly finishReason: string | null
}

/** One instance as its decision saw it. `cost` and `features` hold NaN where unknown. */
export interface StoredCandidate {
  readonly instanceId: number
  readonly instance: string
  readonly cost: number
  /** In the order of CANDIDATE_COLUMNS; undefined when the row was written with another column list. */
  readonly features: Float32Array | undefined
}

export interface StoredAttempt {
  readonly instanceId: number
  readonly instance: string
  readonly startedMs: number
  readonly endedMs: number
  readonly outcome: string
  readonly error: string | null
}

/** Another call that was on the same instance meanwhile. */
export interface NeighbourCall {
  readonly callId: number
  readonly arrivedUnixMs: number
  readonly placedMs: number
  readonly e2eMs: number
}

export interface Decision {
  readonly call: StoredCall
  readonly instance: string | undefined
  /** The chosen one first, the runner-up second; empty when none were logged. */
  readonly candidates: readonly StoredCandidate[]
  /** Candidates there were, logged or not. */
  readonly candidatesTotal: number
  /** In the order of CALL_COLUMNS; undefined when none or with another column list. */
  readonly callFeatures: Float32Array | undefined
  /** The column list the row was written with, where it is not today's. */
  readonly otherFeatureHash: string | undefined
  readonly attempts: readonly StoredAttempt[]
  readonly neighbours: readonly NeighbourCall[]
  readonly newerId: number | undefined
  readonly olderId: number | undefined
}

/** Calls on an instance are looked for this far before the call arrived; longer ones are rare and would only fill the drawing. */
const NEIGHBOURS_BEFORE_MS = 120_000

/** Neighbours looked at and drawn at most. */
const NEIGHBOURS_MAX = 400

const CALL = `${CALL_ROW}, reason, length_source AS lengthSource, predicted_length AS predictedLength, predicted_ttft_ms AS predictedTtftMs,
  predicted_e2e_ms AS predictedE2eMs, status, error, tokens_from AS tokensFrom, finish_reason AS finishReason`

/** All the log knows of one call's decision; undefined when the call is not there. */
export function readDecision(query: Query, callId: number): Decision | undefined {
  const call = query.get<StoredCall>(`SELECT ${CALL} FROM call WHERE call_id = ?`, [callId])
  if (call === undefined) return undefined
  const attempts = query.all<StoredAttempt>(
    `SELECT attempt.instance_id AS instanceId, coalesce(name, '?') AS instance, started_ms AS startedMs, ended_ms AS endedMs, outcome, error
     FROM attempt LEFT JOIN instance USING (instance_id) WHERE call_id = ? ORDER BY attempt`,
    [callId],
  )
  return {
    call,
    instance: call.instanceId === null ? undefined : nameOf(query, call.instanceId),
    ...readCandidates(query, callId),
    attempts,
    neighbours: readNeighbours(query, call, attempts.at(-1)?.instanceId ?? call.instanceId),
    newerId: query.get<{ id: number }>('SELECT call_id AS id FROM call WHERE call_id > ? ORDER BY call_id LIMIT 1', [callId])?.id,
    olderId: query.get<{ id: number }>('SELECT call_id AS id FROM call WHERE call_id < ? ORDER BY call_id DESC LIMIT 1', [callId])?.id,
  }
}

const nameOf = (query: Query, instanceId: number): string =>
  query.get<{ name: string }>('SELECT name FROM instance WHERE instance_id = ?', [instanceId])?.name ?? `instance ${instanceId}`

interface StoredCandidates {
  readonly featureHash: string
  readonly total: number
  readonly instances: string
  readonly features: Uint8Array
  readonly costs: Uint8Array
}

function readCandidates(
  query: Query,
  callId: number,
): Pick<Decision, 'candidates' | 'candidatesTotal' | 'callFeatures' | 'otherFeatureHash'> {
  const row = query.get<StoredCandidates>(
    'SELECT feature_hash AS featureHash, total, instances, features, costs FROM candidate WHERE call_id = ?',
    [callId],
  )
  if (row === undefined) return { candidates: [], candidatesTotal: 0, callFeatures: undefined, otherFeatureHash: undefined }
  const known = row.featureHash === FEATURE_HASH
  const features = floatsOf(row.features)
  const costs = floatsOf(row.costs)
  const columns = CANDIDATE_COLUMNS.length
  const candidates = (JSON.parse(row.instances) as number[]).map((instanceId, i) => {
    const start = CALL_COLUMNS.length + i * columns
    return {
      instanceId,
      instance: nameOf(query, instanceId),
      cost: costs[i] ?? Number.NaN,
      features: known ? features.subarray(start, start + columns) : undefined,
    }
  })
  return {
    candidates,
    candidatesTotal: row.total,
    callFeatures: known ? features.subarray(0, CALL_COLUMNS.length) : undefined,
    otherFeatureHash: known ? undefined : row.featureHash,
  }
}

function readNeighbours(query: Query, call: StoredCall, instanceId: number | null): NeighbourCall[] {
  if (instanceId === null) return []
  const rows = query.all<NeighbourCall>(
    `SELECT call_id AS callId, arrived_unix_ms AS arrivedUnixMs, placed_ms AS placedMs, e2e_ms AS e2eMs FROM call
     WHERE instance_id = ? AND call_id >= ? AND call_id < ? AND call_id <> ? AND arrived_unix_ms + e2e_ms > ?
     ORDER BY call_id DESC LIMIT ${NEIGHBOURS_MAX}`,
    [
      instanceId,
      firstIdAt(call.arrivedUnixMs - NEIGHBOURS_BEFORE_MS),
      firstIdAt(call.arrivedUnixMs + call.e2eMs + 1),
      call.callId,
      call.arrivedUnixMs,
    ],
  )
  return rows.reverse()
}
