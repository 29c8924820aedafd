import type { Call } from '../call/call.ts'
import type { LengthDistribution } from './distribution.ts'
import { type Forecast, type LengthHistory, lengthKeyOf } from './length-history.ts'
import { LengthEvaluator, type LengthModel, ROW_WIDTH, writeRow } from './length-model.ts'
import type { LengthPrediction, LengthPredictor } from './running-length.ts'

/** A prediction that takes longer is late: the bar is 50 µs, and a hundred times that would be felt by every call. */
const LATE_MS = 5
/** Late or failing predictions in a row that open the circuit, and for how long the histograms then serve alone. */
const STRIKES_MAX = 3
const OPEN_MS = 10_000

/** The learned predictor; `swap` puts another model in its place between two predictions. */
export interface LearnedLength extends LengthPredictor {
  readonly version: string
  /** Takes effect with the next prediction; answers to calls predicted before still teach. */
  swap(model: LengthModel | undefined): void
}

export interface LearnedLengthParts {
  readonly model: LengthModel | undefined
  readonly history: LengthHistory
  readonly nowMs: () => number
  readonly count: (what: string) => void
}

/**
 * Predicts by the model in the light of the application's history. Where there is no model, or it fails, or was late three times in a row, the
 * application's histogram serves, then the pool's; each such call is counted by its reason.
 */
export function createLearnedLength({ model: first, history, nowMs, count }: LearnedLengthParts): LearnedLength {
  const evaluator = new LengthEvaluator()
  const row = new Float32Array(ROW_WIDTH)
  const forecasts = new WeakMap<Call, Forecast>()
  let model = first
  let strikes = 0
  let openUntilMs = Number.NEGATIVE_INFINITY

  const strike = (what: string, atMs: number): void => {
    count(what)
    if (++strikes < STRIKES_MAX) return
    strikes = 0
    openUntilMs = atMs + OPEN_MS
    count('length model set aside')
  }
  const byModel = (pool: string, call: Call, promptTokens: number): LengthPrediction | undefined => {
    const startMs = nowMs()
    if (!model || startMs < openUntilMs) return undefined
    try {
      writeRow(call, { reading: call.reading, promptTokens }, row)
      const base = evaluator.evaluate(model, row, call.textFeatures)
      const forecast = history.forecast(lengthKeyOf(pool, call), base, { model, row })
      forecasts.set(call, forecast)
      const endMs = nowMs()
      if (endMs - startMs > LATE_MS) strike('length model late', endMs)
      else strikes = 0
      return said(limited(forecast.distribution, call), model.version, 'model')
    } catch {
      strike('length model failed', startMs)
      return undefined
    }
  }
  return {
    get version() {
      return model?.version ?? 'none'
    },
    predict(pool, call, promptTokens = call.promptBytes / 4) {
      const learned = byModel(pool, call, promptTokens)
      if (learned) return learned
      const known = history.alone(lengthKeyOf(pool, call))
      if (model) count(known ? `length from ${known.from} history` : 'length unknown')
      if (!known) return { outputTokens: Number.NaN, version: 'none', source: 'nothing known' }
      return said(limited(known.distribution, call), 'history', `${known.from} history`)
    },
    learn(pool, call, outputTokens, censored = false) {
      if (!(outputTokens >= 0)) return
      history.learn(lengthKeyOf(pool, call), { outputTokens, censored }, forecasts.get(call))
      forecasts.delete(call)
    },
    swap(next) {
      model = next
      strikes = 0
      openUntilMs = Number.NEGATIVE_INFINITY
    },
  }
}

/** No answer is longer than the caller allows. */
function limited(distribution: LengthDistribution, { request }: Call): LengthDistribution {
  return request.maxTokens === undefined ? distribution : distribution.cut(request.maxTokens)
}

function said(distribution: LengthDistribution, version: string, source: LengthPrediction['source'] & string): LengthPrediction {
  return { outputTokens: distribution.mean, version, distribution, source }
}
