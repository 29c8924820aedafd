import { freshDoubles } from '../call/cells.ts'
import { BUCKETS, EDGE_LN, FIRST_EDGE_TOKENS, positionOf, tokensAt } from '../call/length-axis.ts'

export { BUCKETS, positionOf, tokensAt } from '../call/length-axis.ts'

/**
 * How long an answer will be, as a distribution over log-spaced buckets of tokens: the cumulative probability at each edge, taken as linear
 * between edges on the logarithmic axis (see call/length-axis.ts).
 */

/** ln tokens at a position of the bucket axis. */
export function lnAt(position: number): number {
  return Math.log(FIRST_EDGE_TOKENS) + position * EDGE_LN
}

/** Buckets per unit of ln tokens. */
export const POSITIONS_PER_LN = 1 / EDGE_LN

/** Mean tokens of a bucket whose mass is even on the logarithmic axis. */
const BUCKET_MEANS = Float64Array.from({ length: BUCKETS }, (_, k) => (tokensAt(k + 1) - tokensAt(k)) / EDGE_LN)

/** Cumulative probabilities at the BUCKETS + 1 edges, from 0 to 1. */
export type Cumulative = Float64Array

/** What a caller asks of a distribution of output lengths, tokens. */
export class LengthDistribution {
  readonly cumulative: Cumulative

  constructor(cumulative: Cumulative) {
    this.cumulative = cumulative
  }

  /** Mean tokens. */
  get mean(): number {
    let mean = 0
    for (let k = 0; k < BUCKETS; k++) mean += this.mass(k) * (BUCKET_MEANS[k] as number)
    return mean
  }

  /** Mean of ln tokens: the point that ranks and corrections work on. */
  get meanLn(): number {
    let mean = 0
    for (let k = 0; k < BUCKETS; k++) mean += this.mass(k) * (k + 0.5)
    return lnAt(mean)
  }

  /** Standard deviation of ln tokens. */
  get spreadLn(): number {
    let [first, second] = [0, 0]
    for (let k = 0; k < BUCKETS; k++) {
      first += this.mass(k) * (k + 0.5)
      second += this.mass(k) * (k + 0.5) ** 2
    }
    return Math.sqrt(Math.max(1e-6, second - first * first)) * EDGE_LN
  }

  /** Probability of bucket k. */
  mass(k: number): number {
    return (this.cumulative[k + 1] as number) - (this.cumulative[k] as number)
  }

  /** Probability of at most this many tokens. */
  atMost(tokens: number): number {
    return cumulativeAt(this.cumulative, positionOf(tokens + 0.5))
  }

  /** Probability of more than this many tokens. */
  above(tokens: number): number {
    return 1 - this.atMost(tokens)
  }

  /** Tokens that the answer stays below with this probability. */
  quantile(probability: number): number {
    return tokensAt(positionAt(this.cumulative, probability))
  }

  /** Mean tokens still to come once `done` have come; 0 where no more were thought possible. */
  remaining(done: number): number {
    return this.given(done)?.meanBeyond(done) ?? 0
  }

  /** The distribution of the whole length, knowing that more than `done` tokens come; undefined where that was thought impossible. */
  given(done: number): LengthDistribution | undefined {
    if (done <= 0) return this
    const from = cumulativeAt(this.cumulative, positionOf(done + 0.5))
    if (from >= 1 - 1e-9) return undefined
    const out = freshDoubles(BUCKETS + 1)
    for (let k = 0; k <= BUCKETS; k++) out[k] = Math.max(0, ((this.cumulative[k] as number) - from) / (1 - from))
    return new LengthDistribution(out)
  }

  /** The same, cut at a limit of tokens: what would go beyond ends there. */
  cut(limitTokens: number): LengthDistribution {
    const position = positionOf(Math.max(1, limitTokens) + 0.5)
    const out = freshDoubles(BUCKETS + 1)
    for (let k = 0; k <= BUCKETS; k++) out[k] = k >= position ? 1 : (this.cumulative[k] as number)
    return new LengthDistribution(out)
  }

  private meanBeyond(done: number): number {
    let mean = 0
    for (let k = 0; k < BUCKETS; k++) mean += this.mass(k) * Math.max(0.5, (BUCKET_MEANS[k] as number) - done)
    return mean
  }
}

/** The cumulative probability at any position. */
export function cumulativeAt(cumulative: Cumulative, position: number): number {
  if (position <= 0) return 0
  if (position >= BUCKETS) return 1
  const k = Math.floor(position)
  const low = cumulative[k] as number
  return low + (position - k) * ((cumulative[k + 1] as number) - low)
}

function positionAt(cumulative: Cumulative, probability: number): number {
  let k = 0
  while (k < BUCKETS - 1 && (cumulative[k + 1] as number) < probability) k++
  const low = cumulative[k] as number
  const mass = (cumulative[k + 1] as number) - low
  return k + (mass > 0 ? Math.min(1, Math.max(0, (probability - low) / mass)) : 0.5)
}

/** Bucket probabilities as cumulative ones, scaled to end at 1; written to `cumulative`, whose first value must be 0. */
export function accumulate(masses: ArrayLike<number>, cumulative: Cumulative = freshDoubles(BUCKETS + 1)): Cumulative {
  for (let k = 0; k < BUCKETS; k++) cumulative[k + 1] = (cumulative[k] as number) + (masses[k] as number)
  const all = cumulative[BUCKETS] as number
  for (let k = 1; k < BUCKETS; k++) cumulative[k] = (cumulative[k] as number) / all
  cumulative[BUCKETS] = 1
  return cumulative
}

/** The distribution of a · (x − centre) + centre + shift, positions throughout: moved and widened; written to `out`, whose first value must be 0. */
export function moved(
  cumulative: Cumulative,
  by: { readonly shift: number; readonly scale?: number; readonly centre?: number },
  out: Cumulative = freshDoubles(BUCKETS + 1),
): Cumulative {
  const { shift, scale = 1, centre = 0 } = by
  for (let k = 1; k < BUCKETS; k++) out[k] = cumulativeAt(cumulative, (k - centre - shift) / scale + centre)
  out[BUCKETS] = 1
  return out
}

/** Positions between which an answer of n tokens lies. */
export function answerSpan(tokens: number): { readonly low: number; readonly high: number } {
  const low = positionOf(Math.max(tokens, 1) - 0.5)
  return { low, high: Math.max(low + 1e-6, positionOf(Math.max(tokens, 1) + 0.5)) }
}

/** Shares in the buckets of what lies evenly between two positions, added to `out`. */
export function spreadSpan({ low, high }: { readonly low: number; readonly high: number }, out: Float64Array | Float32Array): void {
  for (let k = Math.max(0, Math.min(BUCKETS - 1, Math.floor(low))); k < BUCKETS && k < high; k++) {
    const share = (Math.min(high, k + 1) - Math.max(low, k)) / (high - low)
    if (share > 0) out[k] = (out[k] as number) + share
  }
}
