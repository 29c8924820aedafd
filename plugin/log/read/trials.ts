import { firstIdAt } from './ids.ts'
import type { Query } from './reader.ts'

/** One block of a canary with what its calls came to: the unit of the switchback estimate. Wash-out calls are not in it. */
export interface BlockScore {
  readonly block: number
  readonly arm: 'control' | 'challenger'
  readonly fromUnixMs: number
  readonly toUnixMs: number
  /** Calls decided in the block after its wash-out. */
  readonly calls: number
  readonly completed: number
  readonly errors: number
  readonly held: number
  /** Over completed calls; null where there were none. */
  readonly meanE2eMs: number | null
  readonly meanTtftMs: number | null
  /** Share of the completed calls that were late by the limits asked for; null where none were given. */
  readonly lateRatio: number | null
  /** Tokens asked and answered, sums over completed calls: how much work the block had. */
  readonly promptTokens: number
  readonly outputTokens: number
}

/** How a shadow agreed with what was done. */
export interface ShadowScore {
  readonly calls: number
  /** Calls the challenger placed in mind, and those of them that went to the same instance. */
  readonly placed: number
  readonly agreed: number
  /** Completed calls with a length from both, and each one's mean absolute error in ln tokens. */
  readonly lengths: number
  readonly championError: number | null
  readonly challengerError: number | null
}

/** When a call is late: its first token, and its last by its tokens on top; ms. */
export interface LateLimits {
  readonly ttftMs: number
  readonly perTokenMs: number
}

/** A call arrives at most so long before the block that it is decided in: longer than any is held. */
const HELD_MOST_MS = 600_000

/** Blocks of a trial in order, those that have begun; with `fromUnixMs` those that begin then or later. */
export function readBlocks(
  query: Query,
  trialId: number,
  { fromUnixMs = 0, limits }: { readonly fromUnixMs?: number; readonly limits?: LateLimits } = {},
): BlockScore[] {
  return query.all<BlockScore>(
    `SELECT b.block, b.arm, b.from_unix_ms AS fromUnixMs, b.to_unix_ms AS toUnixMs, count(c.call_id) AS calls,
      coalesce(sum(c.outcome = 'completed'), 0) AS completed,
      coalesce(sum(c.outcome IN ('instance error', 'timed out')), 0) AS errors,
      coalesce(sum(c.held_ms > 0), 0) AS held,
      avg(CASE WHEN c.outcome = 'completed' THEN c.e2e_ms END) AS meanE2eMs,
      avg(CASE WHEN c.outcome = 'completed' THEN c.ttft_ms END) AS meanTtftMs,
      avg(CASE WHEN c.outcome = 'completed' AND @ttftMs IS NOT NULL THEN
        coalesce(c.ttft_ms > @ttftMs, 0) OR c.e2e_ms > @ttftMs + @perTokenMs * coalesce(c.output_tokens, 0) END) AS lateRatio,
      coalesce(sum(CASE WHEN c.outcome = 'completed' THEN coalesce(c.prompt_tokens, c.prompt_tokens_estimate) END), 0) AS promptTokens,
      coalesce(sum(CASE WHEN c.outcome = 'completed' THEN c.output_tokens END), 0) AS outputTokens
     FROM switchback_block b LEFT JOIN (SELECT * FROM call WHERE trial_id = @trialId AND washout = 0 AND call_id >= @fromId) c ON c.block = b.block
     WHERE b.trial_id = @trialId AND b.from_unix_ms >= @fromUnixMs GROUP BY b.block ORDER BY b.block`,
    {
      trialId,
      fromUnixMs,
      ttftMs: limits?.ttftMs ?? null,
      perTokenMs: limits?.perTokenMs ?? null,
      fromId: firstIdAt(Math.max(0, fromUnixMs - HELD_MOST_MS)),
    },
  )
}

/** Blocks that are over are kept: each page reads the newest ones alone. */
export interface TrialBlocks {
  blocks(query: Query, trialId: number, nowUnixMs: number): readonly BlockScore[]
}

/** Longer than any call of a block lives: after it its scores stand still. */
const SETTLED_AFTER_MS = 3_600_000
/** Trials kept; a page speaks of one or two. */
const TRIALS_KEPT_MAX = 4

/** Blocks with an empty memory. */
export function createTrialBlocks(): TrialBlocks {
  const kept = new Map<number, readonly BlockScore[]>()
  return {
    blocks(query, trialId, nowUnixMs) {
      const before = kept.get(trialId) ?? []
      const fresh = readBlocks(query, trialId, { fromUnixMs: before.at(-1)?.toUnixMs ?? 0 })
      const all = [...before, ...fresh]
      kept.delete(trialId)
      if (kept.size >= TRIALS_KEPT_MAX) kept.delete(kept.keys().next().value ?? trialId)
      const open = all.findIndex(({ toUnixMs }) => toUnixMs >= nowUnixMs - SETTLED_AFTER_MS)
      kept.set(trialId, open < 0 ? all : all.slice(0, open))
      return all
    },
  }
}

/** What a trial's shadow said beside what was done. */
export function readShadow(query: Query, trialId: number): ShadowScore {
  const error = (tokens: string): string =>
    `avg(CASE WHEN outcome = 'completed' AND censored = 0 AND output_tokens > 0 AND predicted_output_tokens > 0 AND shadow_output_tokens > 0
      THEN abs(ln(${tokens} / output_tokens)) END)`
  return query.get<ShadowScore>(
    `SELECT count(*) AS calls, count(shadow_instance_id) AS placed, coalesce(sum(shadow_instance_id = instance_id), 0) AS agreed,
      coalesce(sum(outcome = 'completed' AND censored = 0 AND output_tokens > 0 AND predicted_output_tokens > 0
        AND shadow_output_tokens > 0), 0) AS lengths,
      ${error('predicted_output_tokens')} AS championError, ${error('shadow_output_tokens')} AS challengerError
     FROM call WHERE trial_id = ?`,
    [trialId],
  ) as ShadowScore
}

const RECENT_CALLS = 2_000

/** Nine of ten recent calls end within so many ms; a minute where there are none. */
export function readE2eP90(query: Query): number {
  const sql = `SELECT e2e_ms AS e2eMs FROM call WHERE outcome = 'completed' ORDER BY call_id DESC LIMIT ${RECENT_CALLS}`
  const sorted = Float64Array.from(query.all<{ e2eMs: number }>(sql), ({ e2eMs }) => e2eMs).sort()
  return sorted[Math.floor(0.9 * sorted.length)] ?? 60_000
}
