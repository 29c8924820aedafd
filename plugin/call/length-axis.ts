import { freshShorts } from './cells.ts'

/**
 * The axis on which output lengths are told: log-spaced buckets of tokens, from half a token to 32,768. An answer of n tokens is the interval
 * from n − ½ to n + ½. Known to whoever predicts, logs or shows a length.
 */

/** Buckets per factor of two: one is 26 % wide. */
const PER_OCTAVE = 3
const OCTAVES = 16
/** Log-spaced buckets. */
export const BUCKETS = PER_OCTAVE * OCTAVES
export const FIRST_EDGE_TOKENS = 0.5
/** Width of a bucket in ln tokens. */
export const EDGE_LN = Math.LN2 / PER_OCTAVE

/** Position on the bucket axis (0 at the first edge, BUCKETS at the last) of a number of tokens. */
export function positionOf(tokens: number): number {
  return Math.min(BUCKETS, Math.max(0, Math.log(tokens / FIRST_EDGE_TOKENS) / EDGE_LN))
}

/** Tokens at a position of the bucket axis. */
export function tokensAt(position: number): number {
  return FIRST_EDGE_TOKENS * Math.exp(position * EDGE_LN)
}

/** Where a probability of 1 stands in a packed distribution. */
const WHOLE = 65_535

/** A distribution as it is logged: the cumulative probability at each inner edge (1 to BUCKETS − 1), in 65,535ths. */
export function packCumulative(cumulative: ArrayLike<number>): Uint16Array {
  const packed = freshShorts(BUCKETS - 1)
  for (let i = 0; i < packed.length; i++) packed[i] = Math.round((cumulative[i + 1] as number) * WHOLE)
  return packed
}

/** The cumulative probabilities at all BUCKETS + 1 edges; undefined for bytes of another length. */
export function unpackCumulative(packed: Uint16Array): Float64Array | undefined {
  if (packed.length !== BUCKETS - 1) return undefined
  return Float64Array.from({ length: BUCKETS + 1 }, (_, i) => (i === 0 ? 0 : i === BUCKETS ? 1 : (packed[i - 1] as number) / WHOLE))
}
