import type { Rng } from '../../rng.ts'
import type { PredictedLength, TwinCall } from '../fleet/twin-call.ts'

/** What a predictor says of calls whose true length only the workload knows: as wrong as predictors are. */
export interface LengthErrors {
  /** Its word on a call of `outputTokens`. */
  draw(outputTokens: number, rng: Rng): PredictedLength
}

/** What a predictor with log-normal error `sigma` says of a call of `outputTokens`: max(1, round(d·e^(σ·N(0,1)))). */
export function predictWithError(outputTokens: number, sigma: number, rng: Rng): number {
  return Math.max(1, Math.round(outputTokens * Math.exp(sigma * rng.normal())))
}

/** One predictor for a workload: these errors, or log-normal ones. */
export interface ErrorPlan {
  readonly sigma: number
  readonly errors?: LengthErrors | undefined
}

/** A call's prediction as a workload carries it. */
export function predictionOf(
  outputTokens: number,
  { sigma, errors }: ErrorPlan,
  rng: Rng,
): Pick<TwinCall, 'predictedTokens' | 'predicted'> {
  if (!errors) return { predictedTokens: predictWithError(outputTokens, sigma, rng) }
  const predicted = errors.draw(outputTokens, rng)
  return { predictedTokens: predicted.tokens, predicted }
}
