import { shortsOf } from '../blob.ts'
import { firstIdAt } from './ids.ts'
import type { Query } from './reader.ts'

/** Answered calls as the length predictor and its training want them. */

/** The axis of logged distributions, for whoever reads the log and may not know calls (the admin): the same one, not a copy. */
export { BUCKETS, positionOf, tokensAt, unpackCumulative } from '../../call/length-axis.ts'

/** The distribution in a stored blob: 16-bit numbers. */
export const storedLength = shortsOf

/** One call that gave tokens. */
export interface AnsweredRow {
  readonly callId: number
  readonly pool: string
  readonly model: string
  readonly application: string
  readonly task: string | null
  readonly systemHash: number | null
  readonly outputTokens: number
  readonly censored: number
  readonly lengthFeatureHash: string | null
  /** Half-precision numbers of that feature list. */
  readonly lengthRow: Uint8Array | null
  readonly textFeatures: Uint8Array | null
}

const ANSWERED = `call_id AS callId, pool, model, application, task, system_hash AS systemHash, output_tokens AS outputTokens, censored,
  length_feature_hash AS lengthFeatureHash, length_row AS lengthRow, text_features AS textFeatures`
/** An instance that failed before its first token says nothing; embeddings have no answer. */
const WHERE = `output_tokens IS NOT NULL AND (outcome = 'completed' OR output_tokens > 0) AND api <> 'openai-embeddings'`

/** At most `limit` answered calls with ids beyond `afterId`, oldest first. */
export function readAnswered(query: Query, { afterId, limit }: { readonly afterId: number; readonly limit: number }): AnsweredRow[] {
  return query.all<AnsweredRow>(`SELECT ${ANSWERED} FROM call WHERE call_id > ? AND ${WHERE} ORDER BY call_id LIMIT ?`, [afterId, limit])
}

/** The id beyond which the last `count` calls lie, none of them from before `fromUnixMs`; 0 where there are fewer. */
export function lastCallsAfter(query: Query, { count, fromUnixMs }: { readonly count: number; readonly fromUnixMs: number }): number {
  const row = query.get<{ id: number }>('SELECT call_id AS id FROM call ORDER BY call_id DESC LIMIT 1 OFFSET ?', [count])
  return Math.max(row?.id ?? 0, firstIdAt(fromUnixMs) - 1)
}
