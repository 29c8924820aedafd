import type { Call } from './call/call.ts'
import type { OutputSpan } from './placement/candidates.ts'
import type { LengthDistribution } from './prediction/distribution.ts'
import type { RouterParts } from './router-place.ts'
import type { Known } from './router-rows.ts'

/** What is estimated of a call before it is placed. */
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
