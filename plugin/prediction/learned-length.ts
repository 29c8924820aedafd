import type { Call } from '../call/call.ts'
import { Circuit } from './circuit.ts'
import type { LengthDistribution } from './distribution.ts'
import { type Forecast, type LengthHistory, type LengthKey, lengthKeyOf } from './length-history.ts'
import { LengthEvaluator, type LengthModel, type LoggedRow, ROW_WIDTH, writeRow } from './length-model.ts'
import type { LengthAnswer, LengthPrediction, LengthPredictor } from './length-predictor.ts'

/** A prediction that takes longer is late: the bar is 50 µs, and a hundred times that would be felt by every call. */
const LATE_MS = 5

/** What a model saw of a call and said of it. */
export interface Seen {
  /** What the model read, as it is logged and trained on (I7). */
  readonly row: LoggedRow
  readonly forecast: Forecast
  /** The model that said it: another one learns nothing of its errors. */
  readonly model: LengthModel
}

/** An answered call of the log, as far as lengths are concerned. */
export interface AnsweredCall extends LengthAnswer {
  readonly key: LengthKey
  /** Absent where nothing was read or logged: then only histograms learn. */
  readonly row: LoggedRow | undefined
  readonly words: ArrayLike<number>
}

/** The learned predictor; `swap` puts another model in its place between two predictions. */
export interface LearnedLength extends LengthPredictor {
  readonly version: string
  readonly history: LengthHistory
  /** Takes effect with the next prediction. `history` is what the new model's own errors were on past answers; histograms alone where absent. */
  swap(model: LengthModel | undefined, history?: LengthHistory): void
}

export interface LearnedLengthParts {
  readonly model: LengthModel | undefined
  readonly history: LengthHistory
  readonly nowMs: () => number
  readonly count: (what: string) => void
}

/** An embedding writes no answer: one token stands for its pass through the engine. */
const NO_ANSWER: LengthPrediction = { outputTokens: 1, version: 'none', source: 'no answer text' }

/**
 * Predicts by the model in the light of the application's history. Where there is no model, or no text was read, or it fails, or was late
 * several times in a row, the application's histogram serves, then the pool's; each such call is counted by its reason.
 */
export function createLearnedLength({ model: first, history: firstHistory, nowMs, count }: LearnedLengthParts): LearnedLength {
  const evaluator = new LengthEvaluator()
  const row = new Float32Array(ROW_WIDTH)
  const circuit = new Circuit()
  let model = first
  let history = firstHistory

  const strike = (what: string, atMs: number): void => {
    count(what)
    if (circuit.strike(atMs)) count('length model set aside')
  }
  const byModel = (pool: string, call: Call, promptTokens: number): LengthPrediction | undefined => {
    const startMs = nowMs()
    if (!model || circuit.isOpen(startMs) || !call.reading) return undefined
    try {
      const logged = writeRow(call, { reading: call.reading, promptTokens }, row)
      const base = evaluator.evaluate(model, row, call.textFeatures)
      const forecast = history.forecast(lengthKeyOf(pool, call), base, { model, row })
      const endMs = nowMs()
      if (endMs - startMs > LATE_MS) strike('length model late', endMs)
      else circuit.passed()
      return said(limited(forecast.distribution, call), {
        version: model.version,
        source: 'model',
        seen: { row: logged, forecast, model },
      })
    } catch {
      strike('length model failed', startMs)
      return undefined
    }
  }
  return {
    get version() {
      return model?.version ?? 'none'
    },
    get history() {
      return history
    },
    predict(pool, call, promptTokens = call.promptBytes / 4) {
      if (call.api === 'openai-embeddings') return NO_ANSWER
      const learned = byModel(pool, call, promptTokens)
      if (learned) return learned
      const known = history.alone(lengthKeyOf(pool, call))
      if (model) count(known ? `length from ${known.from} history` : 'length unknown')
      if (!known) return { outputTokens: Number.NaN, version: 'none', source: 'nothing known' }
      return said(limited(known.distribution, call), { version: 'history', source: `${known.from} history` })
    },
    learn(pool, call, answer, prediction) {
      if (!(answer.outputTokens >= 0) || call.api === 'openai-embeddings') return
      const seen = prediction?.seen
      history.learn(lengthKeyOf(pool, call), answer, seen?.model === model ? seen?.forecast : undefined)
    },
    swap(next, nextHistory) {
      if (nextHistory) history = nextHistory
      else if (next !== model) history.forgetErrors()
      model = next
      circuit.reset()
    },
  }
}

/** Teaches a history one answered call of the log: first predicted, then learned, as it was or would have been when the call came. */
export function relearn(
  answered: AnsweredCall,
  parts: { readonly model: LengthModel | undefined; readonly history: LengthHistory; readonly evaluator: LengthEvaluator },
): void {
  const { model, history, evaluator } = parts
  const { key, row, words } = answered
  if (!model || row?.length !== ROW_WIDTH) {
    history.learn(key, answered)
    return
  }
  const read = Float32Array.from(row)
  const forecast = history.forecast(key, evaluator.evaluate(model, read, words), { model, row: read })
  history.learn(key, answered, forecast)
}

/** No answer is longer than the caller allows. */
function limited(distribution: LengthDistribution, { request }: Call): LengthDistribution {
  return request.maxTokens === undefined ? distribution : distribution.cut(request.maxTokens)
}

function said(
  distribution: LengthDistribution,
  more: Required<Pick<LengthPrediction, 'version' | 'source'>> & Pick<LengthPrediction, 'seen'>,
): LengthPrediction {
  return { outputTokens: distribution.mean, distribution, ...more }
}
