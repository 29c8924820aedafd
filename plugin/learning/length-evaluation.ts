import { LengthDistribution } from '../prediction/distribution.ts'
import { type Forecast, LengthHistory, lengthKeyOf } from '../prediction/length-history.ts'
import { LengthEvaluator, type LengthModel } from '../prediction/length-model.ts'
import type { Rng } from '../rng.ts'
import type { LengthPlan } from './length.ts'
import { trainLength } from './length.ts'
import type { LengthCase } from './length-rows.ts'
import type { Judged } from './measures.ts'

/** How length models are judged: on rows they were not trained on, alone or with history that learns as answers come. */

/** Predictions of a model alone. */
export function predictAlone(model: LengthModel, cases: readonly LengthCase[], rng: Rng): Judged[] {
  const evaluator = new LengthEvaluator()
  return cases.map((one) => judged(one, new LengthDistribution(evaluator.evaluate(model, one.row, one.words).cumulative), rng))
}

/** A case with what was predicted for it; a cut answer counts as what it was cut at. */
export function judged(one: LengthCase, distribution: LengthDistribution, rng: Rng): Judged {
  const { task, set } = one.of
  return { task, set, outputTokens: one.outputTokens, distribution, point: distribution.meanLn, within: rng.next() }
}

export interface InOrder {
  /** The model for each case: in cross-validation each set has its own. */
  readonly modelOf: (one: LengthCase) => LengthModel
  /** Answers come this many calls after their prediction: feedback arrives when a call ends. */
  readonly delayCalls: number
  /** History learns from the first so many answers only. */
  readonly warmCalls: number
  readonly rng: Rng
}

/** Predictions in order of arrival, each before its answer is learned. */
export function predictInOrder(cases: readonly LengthCase[], { modelOf, delayCalls, warmCalls, rng }: InOrder): Judged[] {
  const evaluator = new LengthEvaluator()
  const history = new LengthHistory()
  const waiting: { readonly one: LengthCase; readonly forecast: Forecast }[] = []
  let learned = 0
  return cases.map((one) => {
    const model = modelOf(one)
    const base = evaluator.evaluate(model, one.row, one.words)
    const forecast = history.forecast(lengthKeyOf(one.of.set, one.call), base, { model, row: one.row })
    waiting.push({ one, forecast })
    const ended = waiting.length > delayCalls ? waiting.shift() : undefined
    if (ended && learned < warmCalls) {
      learned++
      history.learn(lengthKeyOf(ended.one.of.set, ended.one.call), ended.one, ended.forecast)
    }
    return judged(one, forecast.distribution, rng)
  })
}

/** Models trained on all parts but one, by the part left out, and their predictions for it. */
export async function crossValidate<Part>(
  cases: readonly LengthCase[],
  parts: {
    readonly partOf: (one: LengthCase) => Part
    readonly plan: LengthPlan
    readonly rng: Rng
    readonly told?: (done: number) => void
  },
): Promise<{ readonly models: ReadonlyMap<Part, LengthModel>; readonly judged: Judged[] }> {
  const models = new Map<Part, LengthModel>()
  const found = new Map<LengthCase, Judged>()
  for (const [part, own] of Map.groupBy(cases, parts.partOf)) {
    const others = cases.filter((one) => parts.partOf(one) !== part)
    const model = await trainLength(others, { version: 'cross-validation', rng: parts.rng.stream(`part ${models.size}`), plan: parts.plan })
    models.set(part, model)
    for (const [i, one] of predictAlone(model, own, parts.rng.stream('within')).entries()) found.set(own[i] as LengthCase, one)
    parts.told?.(models.size)
  }
  return { models, judged: cases.map((one) => found.get(one) as Judged) }
}

/** Numbers of folds per case, drawn by chance. */
export function foldsOf(cases: readonly LengthCase[], folds: number, rng: Rng): ReadonlyMap<LengthCase, number> {
  return new Map(cases.map((one) => [one, rng.int(folds)]))
}
