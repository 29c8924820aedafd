import type { LengthCase } from '../../../plugin/learning/length-rows.ts'
import { bucketOf, type Judged } from '../../../plugin/learning/measures.ts'
import { trainWords } from '../../../plugin/learning/ridge.ts'
import { accumulate, answerSpan, BUCKETS, LengthDistribution, spreadSpan } from '../../../plugin/prediction/distribution.ts'

/** What a length predictor has to beat. Each answers a point (ln tokens) and a bucket per case. */
export interface Guess {
  readonly point: number
  readonly distribution: LengthDistribution
}

export type Baseline = (training: readonly LengthCase[], tested: readonly LengthCase[]) => readonly Guess[]

const WORD_ENTRIES = 65_536

const lnOf = (one: LengthCase): number => Math.log(Math.max(1, one.outputTokens))
const medianOf = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

/** All mass where the answers of these cases were, ranked by their median; its most probable bucket is their most frequent one. */
function empirical(cases: readonly LengthCase[]): Guess {
  const masses = new Float64Array(BUCKETS)
  for (const one of cases) spreadSpan(answerSpan(one.outputTokens), masses)
  return { point: medianOf(cases.map(lnOf)), distribution: new LengthDistribution(accumulate(masses)) }
}

/** The same for everybody: the most frequent bucket, the median. */
export const majority: Baseline = (training, tested) => {
  const all = empirical(training)
  return tested.map(() => all)
}

/** The same for every case of a task. */
export const perTask: Baseline = (training, tested) => {
  const all = empirical(training)
  const tasks = new Map([...Map.groupBy(training, (one) => one.of.task)].map(([task, own]) => [task, empirical(own)]))
  return tested.map((one) => tasks.get(one.of.task) ?? all)
}

/** A log-normal around a ridge's point, as wide as its residuals were. */
function around(point: number, spreadLn: number): Guess {
  const masses = new Float64Array(BUCKETS)
  for (let q = 0.5; q < 200; q++) spreadSpan(answerSpan(Math.exp(point + spreadLn * probit(q / 200))), masses)
  return { point, distribution: new LengthDistribution(accumulate(masses)) }
}

/** Quantile of the standard normal (Acklam's rational approximation in its simplest form, error below 0.005). */
function probit(p: number): number {
  const t = Math.sqrt(-2 * Math.log(Math.min(p, 1 - p)))
  const z = t - (2.30753 + 0.27061 * t) / (1 + 0.99229 * t + 0.04481 * t * t)
  return p < 0.5 ? -z : z
}

/** Ridge on hashed words and word pairs, all alike. */
export const hashedNgrams: Baseline = (training, tested) => {
  const targets = Float64Array.from(training, lnOf)
  const linear = trainWords({ words: training.map((one) => one.words), targets }, { entries: WORD_ENTRIES, penaltyRows: 0.3 })
  const of = ({ words }: LengthCase): number =>
    linear.bias + words.reduce((sum, word) => sum + linear.weights[word & (WORD_ENTRIES - 1)]!, 0) / Math.sqrt(Math.max(1, words.length))
  const spread = Math.sqrt(training.reduce((sum, one) => sum + (of(one) - lnOf(one)) ** 2, 0) / training.length)
  return tested.map((one) => around(of(one), spread))
}

/** Ridge on the same words weighed by inverse document frequency, rows of length 1: a word repeated in proportion stands for its weight. */
export const tfIdf: Baseline = (training, tested) => {
  const documents = new Map<number, number>()
  for (const { words } of training) for (const word of words) documents.set(word, (documents.get(word) ?? 0) + 1)
  // Rare words count twice or three times: the weight in whole numbers, so that the same solver serves.
  const weighed = ({ words }: LengthCase): Uint32Array =>
    Uint32Array.from(
      [...words].flatMap((word) => {
        const times = Math.round((Math.log((1 + training.length) / (1 + (documents.get(word) ?? 0))) + 1) / 2)
        return new Array<number>(Math.max(1, times)).fill(word)
      }),
    )
  const bags = new Map([...training, ...tested].map((one) => [one, { ...one, words: weighed(one) }]))
  const of = (list: readonly LengthCase[]): LengthCase[] => list.map((one) => bags.get(one)!)
  return hashedNgrams(of(training), of(tested))
}

/** Mean of the answers the application gave before, in order of arrival; the mean of all before it has any. */
export function runningMean(ordered: readonly LengthCase[], delayCalls: number): readonly Guess[] {
  const seen = new Map<string, { sum: number; count: number }>()
  const add = (key: string, value: number): void => {
    const one = seen.get(key) ?? { sum: 0, count: 0 }
    seen.set(key, { sum: one.sum + value, count: one.count + 1 })
  }
  return ordered.map((one, i) => {
    const ended = ordered[i - delayCalls - 1]
    if (ended) for (const key of ['', ended.of.task]) add(key, lnOf(ended))
    const known = seen.get(one.of.task) ?? seen.get('') ?? { sum: 4.5, count: 1 }
    return around(known.sum / known.count, 0.7)
  })
}

/** Guesses as judged rows. */
export function judgeGuesses(cases: readonly LengthCase[], guesses: readonly Guess[]): Judged[] {
  return cases.map((one, i) => {
    const { task, set } = one.of
    return { task, set, outputTokens: one.outputTokens, within: 0.5, ...guesses[i]! }
  })
}

/** Share of rows in the most frequent of the paper's buckets. */
export function majorityShare(cases: readonly LengthCase[]): number {
  const counts = Map.groupBy(cases, (one) => bucketOf(one.outputTokens))
  return Math.max(...[...counts.values()].map((own) => own.length)) / cases.length
}
