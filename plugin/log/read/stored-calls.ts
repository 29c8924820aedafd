import { firstIdAt } from '../../call/id.ts'
import { floatsOf, hashesOf } from '../blob.ts'
import { CALL_ROW, type CallRow } from './call-row.ts'
import type { Query, Reader } from './reader.ts'
import type { TimeRange } from './traffic.ts'

/** One stored call with the rows its decision saw, as they are on disk. */
export interface StoredRow extends CallRow {
  readonly arm: string | null
  readonly trialId: number | null
  /** 1: the call came behind the other arm's block; null outside canaries. */
  readonly washout: number | null
  readonly words: Uint32Array
  /** What the length model read, of the feature list with `lengthFeatureHash`; absent where nothing was logged. */
  readonly lengthRow?: Float16Array
  readonly lengthFeatureHash: string | null
  readonly prefixBlocks: Uint32Array
  /** Absent where the decision's rows were not logged. */
  readonly candidates?: {
    readonly featureHash: string
    readonly total: number
    readonly instanceIds: readonly number[]
    readonly features: Float32Array
    readonly costs: Float32Array
  }
}

const COLUMNS = `${CALL_ROW}, arm, trial_id AS trialId, washout, length_feature_hash AS lengthFeatureHash, length_row AS lengthRow,
  text_features AS words, prefix_blocks AS prefixBlocks`
const CANDIDATES = 'feature_hash AS featureHash, total, instances, features, costs'

/** Rows of one read transaction: some 20 ms, so that the log's WAL file can be folded back in between. */
const PAGE_ROWS = 2_000

type Stored = Omit<StoredRow, 'words' | 'prefixBlocks' | 'candidates' | 'lengthRow'> & {
  readonly lengthRow: Uint8Array | null
  readonly words: Uint8Array | null
  readonly prefixBlocks: Uint8Array | null
  readonly featureHash?: string | null
  readonly total?: number
  readonly instances?: string
  readonly features?: Uint8Array
  readonly costs?: Uint8Array
}

/** The calls of a time range in order of arrival, page by page, each page in a read transaction of its own. `decisions`: with what their decisions saw. */
export function* readStoredCalls(reader: Reader, { fromUnixMs, toUnixMs, decisions }: TimeRange & { readonly decisions: boolean }) {
  const sql = decisions
    ? `SELECT ${COLUMNS}, ${CANDIDATES} FROM call LEFT JOIN candidate ON candidate.call_id = call.call_id`
    : `SELECT ${COLUMNS} FROM call`
  let fromId = firstIdAt(fromUnixMs)
  const toId = firstIdAt(toUnixMs)
  while (true) {
    const page = reader.read((query) =>
      query.all<Stored>(`${sql} WHERE call.call_id >= ? AND call.call_id < ? ORDER BY call.call_id LIMIT ${PAGE_ROWS}`, [fromId, toId]),
    )
    for (const row of page) yield asRow(row)
    const last = page.at(-1)
    if (last === undefined || page.length < PAGE_ROWS) return
    fromId = last.callId + 1
  }
}

const NOTHING = new Uint32Array(0)

function asRow({ words, prefixBlocks, lengthRow, featureHash, total, instances, features, costs, ...row }: Stored): StoredRow {
  return {
    ...row,
    ...(lengthRow === null ? {} : { lengthRow: new Float16Array(lengthRow.slice().buffer) }),
    words: words === null ? NOTHING : hashesOf(words),
    prefixBlocks: prefixBlocks === null ? NOTHING : hashesOf(prefixBlocks),
    ...(featureHash && features && costs && instances && total !== undefined
      ? {
          candidates: {
            featureHash,
            total,
            instanceIds: JSON.parse(instances) as number[],
            features: floatsOf(features),
            costs: floatsOf(costs),
          },
        }
      : {}),
  }
}

/** How many calls a range holds and when the first and last of them came; zeros where there are none. */
export interface StoredExtent {
  readonly calls: number
  readonly completed: number
  readonly firstUnixMs: number
  readonly lastUnixMs: number
  /** Names of the pools that were called, the most called first. */
  readonly pools: readonly string[]
}

/** What a time range holds. */
export function readExtent(query: Query, { fromUnixMs, toUnixMs }: TimeRange): StoredExtent {
  const sql = `SELECT pool, count(*) AS calls, sum(outcome = 'completed') AS completed, min(arrived_unix_ms) AS firstUnixMs,
    max(arrived_unix_ms) AS lastUnixMs FROM call WHERE call_id >= ? AND call_id < ? GROUP BY pool ORDER BY calls DESC, pool`
  const found = query.all<Omit<StoredExtent, 'pools'> & { readonly pool: string }>(sql, [firstIdAt(fromUnixMs), firstIdAt(toUnixMs)])
  return {
    calls: found.reduce((sum, one) => sum + one.calls, 0),
    completed: found.reduce((sum, one) => sum + one.completed, 0),
    firstUnixMs: found.length === 0 ? 0 : Math.min(...found.map((one) => one.firstUnixMs)),
    lastUnixMs: Math.max(0, ...found.map((one) => one.lastUnixMs)),
    pools: found.map(({ pool }) => pool),
  }
}

/** Names of all instances ever seen, by id. */
export function readInstanceNames(query: Query): ReadonlyMap<number, string> {
  const rows = query.all<{ id: number; name: string }>('SELECT instance_id AS id, name FROM instance')
  return new Map(rows.map(({ id, name }) => [id, name]))
}
