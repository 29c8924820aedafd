import { percent } from './percent.ts'

/**
 * Does the learned part still live in the world it was trained in? Per day: how far the features have moved (population stability index), how far what was
 * promised is from what came (residuals of predicted E2E and length), and whether stated probabilities still hold (calibration).
 */

/** Deciles of a feature over the calls a model was trained on; plain JSON, kept with the model's card. */
export interface FeatureReference {
  readonly column: string
  /** Nine inner edges, ascending; equal ones where many calls share a value. */
  readonly edges: readonly number[]
  /** Share of the training calls in each of the ten bins, and of those where it was unknown. */
  readonly shares: readonly number[]
  readonly unknownRatio: number
}

/** Ten bins and the unknown one. */
const BINS = 10
/** An empty bin must not make the index infinite: it counts as half a call in a thousand. */
const SHARE_LEAST = 5e-4

/** The reference of one feature from its values; NaN is unknown. */
export function describeFeature(column: string, values: Float64Array): FeatureReference {
  const known = values.filter((value) => !Number.isNaN(value)).sort()
  const edges = Array.from({ length: BINS - 1 }, (_, i) => known[Math.floor(((i + 1) * known.length) / BINS)] ?? 0)
  const { shares, unknownRatio } = binned(edges, values)
  return { column, edges, shares, unknownRatio }
}

/**
 * Population stability index: Σ (p − q)·ln(p ÷ q) over the bins, unknown included; below 0.1 is stable, above 0.25 another population (Siddiqi, 2006, "Credit Risk
 * Scorecards"; the bounds are convention).
 */
export function stabilityIndex(reference: FeatureReference, values: Float64Array): number {
  const now = binned(reference.edges, values)
  const term = (was: number, is: number): number => {
    const [p, q] = [Math.max(SHARE_LEAST, is), Math.max(SHARE_LEAST, was)]
    return (p - q) * Math.log(p / q)
  }
  return reference.shares.reduce(
    (sum, was, i) => sum + term(was * (1 - reference.unknownRatio), (now.shares[i] as number) * (1 - now.unknownRatio)),
    term(reference.unknownRatio, now.unknownRatio),
  )
}

function binned(edges: readonly number[], values: Float64Array): { readonly shares: number[]; readonly unknownRatio: number } {
  const counts = new Float64Array(BINS)
  let known = 0
  for (const value of values) {
    if (Number.isNaN(value)) continue
    known++
    let bin = 0
    while (bin < edges.length && value >= (edges[bin] as number)) bin++
    counts[bin] = (counts[bin] as number) + 1
  }
  return {
    shares: Array.from(counts, (count) => count / Math.max(1, known)),
    unknownRatio: values.length === 0 ? 0 : 1 - known / values.length,
  }
}

/** A stretch of calls, a day mostly, as drift is told from it. */
export interface DriftDay {
  readonly calls: number
  /** By column: the values that decisions saw. */
  readonly features: ReadonlyMap<string, Float64Array>
  /** ln(measured ÷ predicted) of E2E and of output tokens; calls without both are left out. */
  readonly e2eResiduals: Float64Array
  readonly lengthResiduals: Float64Array
  /** Share of answers that lay inside the predictor's central 80 % interval; NaN where none was stated. */
  readonly coverage80: number
}

/** What a model may count on: from its training and its first day. */
export interface DriftReference {
  readonly features: readonly FeatureReference[]
  readonly e2eResidual: { readonly median: number; readonly spread: number }
  readonly lengthResidual: { readonly median: number; readonly spread: number }
}

export interface DriftReport {
  readonly calls: number
  /** By column, the most moved first. */
  readonly features: readonly { readonly column: string; readonly index: number }[]
  /** Median shift of the residuals against the reference, ln, and their spread over the reference's. */
  readonly e2eShift: number
  readonly e2eSpreadRatio: number
  readonly lengthShift: number
  readonly coverage80: number
  readonly level: 'none' | 'watch' | 'alarm'
  /** The learned part is out of its depth: the best rule should serve until a night has learned the new world. */
  readonly fallsBack: boolean
  readonly words: string
}

/** A reference from a day that the model knows. */
export function describeDay(day: DriftDay): DriftReference {
  return {
    features: [...day.features].map(([column, values]) => describeFeature(column, values)),
    e2eResidual: spreadOf(day.e2eResiduals),
    lengthResidual: spreadOf(day.lengthResiduals),
  }
}

/** Fewer calls in a day say nothing about drift. */
export const DRIFT_CALLS_LEAST = 500
const INDEX_WATCH = 0.1
const INDEX_ALARM = 0.25
/** Features beyond the alarm that make the population another one: a single one may be a new client. */
const FEATURES_ALARM = 3
const SHIFT_WATCH = Math.log(1.25)
const SHIFT_ALARM = Math.log(2)
const SPREAD_ALARM = 2
const COVERAGE_WATCH = 0.1
const COVERAGE_ALARM = 0.25

/**
 * Compares a day with what the model knows. `watch` is told; `alarm` is told loudly; and where what was promised does not come any more (E2E or lengths off by a factor of two,
 * or twice as scattered) the learned part should not decide: features alone may move without harm.
 */
export function judgeDrift(reference: DriftReference, day: DriftDay): DriftReport {
  const features = reference.features
    .flatMap((feature) => {
      const values = day.features.get(feature.column)
      return values ? [{ column: feature.column, index: stabilityIndex(feature, values) }] : []
    })
    .sort((a, b) => b.index - a.index)
  const e2e = spreadOf(day.e2eResiduals)
  const length = spreadOf(day.lengthResiduals)
  const figures = {
    e2eShift: shift(e2e.median, reference.e2eResidual.median),
    e2eSpreadRatio: e2e.spread / Math.max(0.05, reference.e2eResidual.spread),
    lengthShift: shift(length.median, reference.lengthResidual.median),
    coverage80: day.coverage80,
  }
  if (day.calls < DRIFT_CALLS_LEAST)
    return {
      calls: day.calls,
      features,
      ...figures,
      level: 'none',
      fallsBack: false,
      words: `${day.calls} calls are too few to tell drift (${DRIFT_CALLS_LEAST} at least)`,
    }
  const off = Number.isNaN(day.coverage80) ? 0 : Math.abs(day.coverage80 - 0.8)
  const moved = features.filter(({ index }) => index > INDEX_ALARM)
  const fails = [
    ...(Math.abs(figures.e2eShift) > SHIFT_ALARM ? [`E2E is ${times(figures.e2eShift)} what was predicted`] : []),
    ...(figures.e2eSpreadRatio > SPREAD_ALARM
      ? [`predicted E2E scatters ${figures.e2eSpreadRatio.toFixed(1)} times as far as it did`]
      : []),
    ...(Math.abs(figures.lengthShift) > SHIFT_ALARM ? [`answers are ${times(figures.lengthShift)} as long as predicted`] : []),
    ...(off > COVERAGE_ALARM ? [`${percent(day.coverage80)} of the answers lie in the interval that should hold 80 %`] : []),
  ]
  const watched = [
    ...moved.map(({ column, index }) => `${column} has moved (index ${index.toFixed(2)})`),
    ...features.filter(({ index }) => index > INDEX_WATCH && index <= INDEX_ALARM).map(({ column }) => `${column} moves`),
    ...(Math.abs(figures.e2eShift) > SHIFT_WATCH ? [`E2E is ${times(figures.e2eShift)} what was predicted`] : []),
    ...(Math.abs(figures.lengthShift) > SHIFT_WATCH ? [`answers are ${times(figures.lengthShift)} as long as predicted`] : []),
    ...(off > COVERAGE_WATCH ? [`the 80 % interval holds ${percent(day.coverage80)}`] : []),
  ]
  const level = fails.length > 0 || moved.length >= FEATURES_ALARM ? 'alarm' : watched.length > 0 ? 'watch' : 'none'
  const said = fails.length > 0 ? fails : watched
  return {
    calls: day.calls,
    features,
    ...figures,
    level,
    fallsBack: fails.length > 0,
    words: said.length > 0 ? said.slice(0, 4).join('; ') : 'the calls are like those that were learned from',
  }
}

/** Days in a row: one bad day alone may be an outage, so that a fall back needs two of the last three, and ends when two in a row are clean. */
export function fallBackState(reports: readonly Pick<DriftReport, 'fallsBack'>[]): { readonly fallsBack: boolean } {
  return { fallsBack: reports.slice(-3).filter((report) => report.fallsBack).length >= 2 }
}

function spreadOf(values: Float64Array): { readonly median: number; readonly spread: number } {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort()
  const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN
  // Half of the distance between the 16th and 84th percentile: a standard deviation where residuals are normal, whatever a few absurd ones are.
  return { median: at(0.5), spread: (at(0.84) - at(0.16)) / 2 }
}

const shift = (now: number, was: number): number => (Number.isNaN(now) || Number.isNaN(was) ? 0 : now - was)
const times = (ln: number): string => `${Math.exp(ln).toFixed(2)} times`
