import type { LengthDistribution } from '../prediction/distribution.ts'
import type { Rng } from '../rng.ts'
import { levelOf } from './length.ts'

/** How good length predictions are. Every measure takes the rows it is over, so that it can be bootstrapped. */

export interface Judged {
  readonly task: string
  readonly set: string
  readonly outputTokens: number
  readonly distribution: LengthDistribution
  /** What rows are ranked by, ln tokens. */
  readonly point: number
  /** Where between its neighbours the answer's probability level is taken (randomised PIT). */
  readonly within: number
}

/** The paper's buckets: 0-250, 250-1000, 1000-4000 … */
const BUCKET_TOKENS = [250, 1_000, 4_000]
/** A task with fewer rows has no rank correlation worth the name. */
const TASK_ROWS_LEAST = 20

export const INTERVALS = [0.5, 0.8, 0.95] as const

/** Ranks from 0, ties by their mean. */
export function ranksOf(values: ArrayLike<number>): Float64Array {
  const order = Array.from(values, (_, i) => i).sort((a, b) => (values[a] as number) - (values[b] as number))
  const ranks = new Float64Array(order.length)
  for (let i = 0; i < order.length; ) {
    let j = i
    while (j < order.length && values[order[j] as number] === values[order[i] as number]) j++
    for (let k = i; k < j; k++) ranks[order[k] as number] = (i + j - 1) / 2
    i = j
  }
  return ranks
}

/** Spearman's rank correlation; 0 where either side is constant. */
export function spearman(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return pearson(ranksOf(a), ranksOf(b))
}

function pearson(a: Float64Array, b: Float64Array): number {
  const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length
  const [meanA, meanB] = [mean(a), mean(b)]
  let [both, ofA, ofB] = [0, 0, 0]
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [(a[i] as number) - meanA, (b[i] as number) - meanB]
    both += x * y
    ofA += x * x
    ofB += y * y
  }
  return ofA > 0 && ofB > 0 ? both / Math.sqrt(ofA * ofB) : 0
}

/** Rank correlation of points and lengths over all rows. */
export function pooledSpearman(rows: readonly Judged[]): number {
  return spearman(
    rows.map((row) => row.point),
    rows.map((row) => row.outputTokens),
  )
}

/** Mean over rows of the rank correlation inside their task. */
export function inTaskSpearman(rows: readonly Judged[]): number {
  let [sum, count] = [0, 0]
  for (const own of Map.groupBy(rows, (row) => row.task).values()) {
    if (own.length < TASK_ROWS_LEAST) continue
    sum += own.length * pooledSpearman(own)
    count += own.length
  }
  return count === 0 ? Number.NaN : sum / count
}

/** Share of rows told right to be above the median length or not. */
export function medianAccuracy(rows: readonly Judged[]): number {
  const sorted = Float64Array.from(rows, (row) => row.outputTokens).sort()
  const median = sorted[Math.floor(sorted.length / 2)] as number
  return shareOf(rows, (row) => row.distribution.atMost(median) < 0.5 === row.outputTokens > median)
}

/** The paper's buckets in words. */
export const BUCKET_NAMES: readonly string[] = ['below 250 tokens', '250 to 1,000', '1,000 to 4,000', 'above 4,000']

/** The paper's bucket of a length. */
export function bucketOf(tokens: number): number {
  return BUCKET_TOKENS.filter((edge) => tokens >= edge).length
}

/** Share of rows whose most probable bucket is the right one. */
export function bucketAccuracy(rows: readonly Judged[]): number {
  return shareOf(rows, (row) => likeliestBucket(row.distribution) === bucketOf(row.outputTokens))
}

/** The paper's bucket that is most probable. */
export function likeliestBucket(distribution: LengthDistribution): number {
  const below = [...BUCKET_TOKENS.map((edge) => distribution.atMost(edge - 1)), 1]
  const masses = below.map((value, i) => value - (below[i - 1] ?? 0))
  return masses.indexOf(Math.max(...masses))
}

/** Share of rows inside the central interval of a probability, by randomised PIT: exact for whole tokens too. */
export function coverage(rows: readonly Judged[], interval: number): number {
  return shareOf(rows, (row) => Math.abs(levelOf(row.distribution.cumulative, row.outputTokens, row.within) - 0.5) <= interval / 2)
}

/** Largest distance of the three coverages from what they should be, percentage points. */
export function coverageWorstPoints(rows: readonly Judged[]): number {
  return Math.max(...INTERVALS.map((interval) => Math.abs(coverage(rows, interval) - interval) * 100))
}

/** Median over rows of the larger of predicted ÷ true and true ÷ predicted (median predicted). */
export function medianFactor(rows: readonly Judged[]): number {
  const factors = Float64Array.from(rows, (row) =>
    Math.exp(Math.abs(Math.log(row.distribution.quantile(0.5) / Math.max(1, row.outputTokens)))),
  ).sort()
  return factors[Math.floor(factors.length / 2)] as number
}

function shareOf(rows: readonly Judged[], holds: (row: Judged) => boolean): number {
  let count = 0
  for (const row of rows) if (holds(row)) count++
  return count / rows.length
}

/** Value with its 95 % interval from bootstrap samples of the rows (Efron, 1979). */
export interface Measured {
  readonly value: number
  readonly low: number
  readonly high: number
}

/** Measures over all rows and over `samples` resamples. */
export function bootstrap(
  rows: readonly Judged[],
  measure: (rows: readonly Judged[]) => number,
  { rng, samples = 100 }: { readonly rng: Rng; readonly samples?: number },
): Measured {
  const values = Float64Array.from({ length: samples }, () => measure(rows.map(() => rows[rng.int(rows.length)] as Judged))).sort()
  const at = (share: number): number => values[Math.min(samples - 1, Math.floor(share * samples))] as number
  return { value: measure(rows), low: at(0.025), high: at(0.975) }
}

/** Every measure by its name. */
export const MEASURES: Readonly<Record<string, (rows: readonly Judged[]) => number>> = {
  spearman: pooledSpearman,
  inTaskSpearman,
  medianAccuracy,
  bucketAccuracy,
  medianFactor,
  coverage50: (rows) => coverage(rows, 0.5),
  coverage80: (rows) => coverage(rows, 0.8),
  coverage95: (rows) => coverage(rows, 0.95),
}
