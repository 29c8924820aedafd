import { firstIdAt } from '../../call/id.ts'
import { unpackCumulative } from '../../call/length-axis.ts'
import { floatsOf, shortsOf } from '../blob.ts'
import type { Query } from './reader.ts'
import type { TimeRange } from './traffic.ts'

/** What drift is told from, of one answered call. Null is unknown. */
export interface DriftRow {
  /** From arrival, ms. */
  readonly e2eMs: number
  readonly placedMs: number
  /** From the placement, ms. */
  readonly predictedE2eMs: number | null
  readonly outputTokens: number | null
  readonly predictedOutputTokens: number | null
  readonly censored: number
  /** Cumulative probabilities at the edges of the length axis; absent where none were logged. */
  readonly cumulative?: Float64Array
  readonly featureHash: string | null
  /** Call row, then the chosen candidate's, then the others'. */
  readonly features?: Float32Array
}

type Stored = Omit<DriftRow, 'cumulative' | 'features'> & { readonly packed: Uint8Array | null; readonly features: Uint8Array | null }

/** A prime: what is left of an id by it says nothing of the time or the order of its call. */
const SCATTER = 1_000_003

/** Answered calls of a time range, at most about `rowsMax` of them, drawn evenly; and how many answered calls there are. */
export function readDriftRows(
  query: Query,
  { fromUnixMs, toUnixMs, rowsMax }: TimeRange & { readonly rowsMax: number },
): { readonly calls: number; readonly rows: DriftRow[] } {
  const ids = [firstIdAt(fromUnixMs), firstIdAt(toUnixMs)]
  const where = `call.call_id >= ? AND call.call_id < ? AND outcome = 'completed'`
  const calls = query.get<{ calls: number }>(`SELECT count(*) AS calls FROM call WHERE ${where}`, ids)?.calls ?? 0
  const every = Math.max(1, Math.ceil(calls / rowsMax))
  const rows = query.all<Stored>(
    `SELECT e2e_ms AS e2eMs, placed_ms AS placedMs, predicted_e2e_ms AS predictedE2eMs, output_tokens AS outputTokens,
       predicted_output_tokens AS predictedOutputTokens, censored, predicted_length AS packed, feature_hash AS featureHash, features
     FROM call LEFT JOIN candidate ON candidate.call_id = call.call_id WHERE ${where} AND (call.call_id % ${SCATTER}) % ? = 0`,
    [...ids, every],
  )
  return { calls, rows: rows.map(asRow) }
}

function asRow({ packed, features, ...row }: Stored): DriftRow {
  const cumulative = packed === null ? undefined : unpackCumulative(shortsOf(packed))
  return { ...row, ...(cumulative ? { cumulative } : {}), ...(features === null ? {} : { features: floatsOf(features) }) }
}
