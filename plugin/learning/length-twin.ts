import type { Call } from '../call/call.ts'
import { createLearnedLength } from '../prediction/learned-length.ts'
import { LengthHistory } from '../prediction/length-history.ts'
import type { LengthModel } from '../prediction/length-model.ts'
import type { LengthPrediction, LengthPredictor } from '../prediction/length-predictor.ts'
import type { Rng } from '../rng.ts'
import type { TwinPredictor } from '../simulation/fleet/router-parts.ts'
import { sealOutput } from '../simulation/fleet/truth.ts'
import type { PredictedLength, TwinCall } from '../simulation/fleet/twin-call.ts'
import { poissonGaps } from '../simulation/scenario/arrivals.ts'
import { type LengthCase, promptTokensOf } from './length-rows.ts'

/** The length predictor of the router inside the twin: real prompts, its real errors, and history that learns when the simulated calls end. */

const POOL = 'twin'
/** Predictions here are timed by nobody: the twin has no clock that could be late. */
const TIMELESS = { nowMs: () => 0, count: () => undefined }

/** A predictor for one run; `modelOf` names the model for a call, so that none is asked about rows it was trained on. */
export function createTwinLengths(modelOf: (call: Call) => LengthModel): TwinPredictor {
  const history = new LengthHistory()
  const predictors = new Map<LengthModel, LengthPredictor>()
  return inTwin((call) => {
    const model = modelOf(call)
    const known = predictors.get(model) ?? createLearnedLength({ model, history, ...TIMELESS })
    predictors.set(model, known)
    return known
  })
}

/** Any of the router's predictors in the twin. */
export function inTwin(predictorOf: (call: Call) => LengthPredictor): TwinPredictor {
  const open = new Map<number, LengthPrediction>()
  return {
    predict(call) {
      const prediction = predictorOf(call).predict(POOL, call, Math.ceil(call.promptBytes / 4))
      open.set(call.callId, prediction)
      return predictedOf(prediction)
    },
    learn(call, outputTokens) {
      predictorOf(call).learn(POOL, call, { outputTokens, censored: false }, open.get(call.callId))
      open.delete(call.callId)
    },
  }
}

/** Nobody predicts. */
export const NO_LENGTHS: TwinPredictor = { predict: () => ({ tokens: Number.NaN }), learn: () => undefined }

function predictedOf({ outputTokens, distribution }: LengthPrediction): PredictedLength {
  if (!distribution) return { tokens: outputTokens }
  const span = { p50Tokens: distribution.quantile(0.5), p90Tokens: distribution.quantile(0.9), spreadLn: distribution.spreadLn }
  return { tokens: outputTokens, span, outlook: distribution }
}

/** Calls of real prompts, drawn with replacement, Poisson arrivals. Ids count from 0; `of` gives the row behind each. */
export function realCalls(
  cases: readonly LengthCase[],
  plan: { readonly calls: number; readonly callsPerS: number; readonly rng: Rng },
): { readonly calls: readonly TwinCall[]; readonly of: readonly LengthCase[] } {
  const contents = plan.rng.stream('contents')
  const gapMs = poissonGaps(plan.callsPerS, plan.rng.stream('arrivals'))
  let atMs = 0
  const of = Array.from({ length: plan.calls }, () => cases[contents.int(cases.length)] as LengthCase)
  const calls = of.map((one, callId) => {
    atMs += gapMs()
    return {
      atMs,
      promptTokens: promptTokensOf(one.call),
      outputTokens: sealOutput(Math.max(1, one.outputTokens)),
      predictedTokens: Number.NaN,
      call: { ...one.call, callId, stream: true },
      blockHashes: [],
    }
  })
  return { calls, of }
}
