/** Mean with the half width of its 95 % interval. */
export interface Estimate {
  readonly mean: number
  readonly low: number
  readonly high: number
}

/** Student's t for 95 % two-sided by degrees of freedom 1…30; 1.96 beyond is within 4 %. */
const T95 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093, 2.086,
  2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
]

/** Mean of independent values and its 95 % interval by Student's t; of one value the interval is unknown (NaN). */
export function estimate(values: readonly number[]): Estimate {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  if (values.length < 2) return { mean, low: Number.NaN, high: Number.NaN }
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1)
  const half = (T95[values.length - 2] ?? 1.96) * Math.sqrt(variance / values.length)
  return { mean, low: mean - half, high: mean + half }
}

/** Paired gain: 1 − ours/theirs seed by seed, so that what a seed does to both cancels. */
export function pairedGain(ours: readonly number[], theirs: readonly number[]): Estimate {
  return estimate(ours.map((value, i) => 1 - value / (theirs[i] as number)))
}

/** Paired ratio ours/theirs seed by seed. */
export function pairedRatio(ours: readonly number[], theirs: readonly number[]): Estimate {
  return estimate(ours.map((value, i) => value / (theirs[i] as number)))
}

/** Plain mean. */
export function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
