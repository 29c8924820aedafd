import type { Call } from './call/call.ts'
import type { Outcome } from './outcome/outcome.ts'
import type { OutputSpan } from './placement/candidates.ts'
import type { LengthDistribution } from './prediction/distribution.ts'
import type { RouterParts } from './router-place.ts'
import type { Known } from './router-rows.ts'
import type { LiveTicket } from './router-ticket.ts'

/** What is estimated of a call before it is placed, and what its end teaches the estimators. */
export type KnowParts = Pick<RouterParts, 'tokens' | 'lengths' | 'events'>

/** Estimates of tokens in and out. A broken estimator costs accuracy, never the call. */
export function knowCall(parts: KnowParts, pool: string, call: Call, adapter: string | undefined): Known {
  const withAdapter = adapter === undefined ? {} : { adapter }
  try {
    const promptTokens = parts.tokens.estimate(pool, call)
    const prediction = parts.lengths.predict(pool, call, promptTokens)
    const outputSpan = prediction.distribution && spanOf(prediction.distribution)
    const { outputTokens, version } = prediction
    const known = { promptTokens, predictedOutputTokens: outputTokens, lengthVersion: version, prediction, ...withAdapter }
    return outputSpan ? { ...known, outputSpan } : known
  } catch {
    parts.events.count('length prediction failed')
    return { promptTokens: Math.ceil(call.promptBytes / 4), predictedOutputTokens: Number.NaN, lengthVersion: 'none', ...withAdapter }
  }
}

function spanOf(distribution: LengthDistribution): OutputSpan {
  return { p50Tokens: distribution.quantile(0.5), p90Tokens: distribution.quantile(0.9), spreadLn: distribution.spreadLn }
}

/** Estimators learn from how a call ended. */
export function learnOutcome(parts: KnowParts, ticket: LiveTicket, outcome: Outcome): void {
  try {
    const pool = ticket.pool.name
    // An attempt at another pool, by a gateway's own fallback, tells nothing of this one's tokeniser and lengths.
    if (ticket.instance.pool !== pool) return
    if (outcome.tokensFrom === 'usage' && outcome.promptTokens) parts.tokens.learn(pool, ticket.call, outcome.promptTokens)
    const { outputTokens, censored } = outcome
    // Of an answer that an instance or a caller broke off it is known that it would have been longer; of one without tokens, nothing.
    if (outputTokens !== undefined && (outcome.kind === 'completed' || outputTokens > 0))
      parts.lengths.learn(pool, ticket.call, { outputTokens, censored }, ticket.input.known.prediction)
  } catch {
    parts.events.count('learning from an outcome failed')
  }
}
