/** Mean of independent values with its 95 % interval; null where one value alone gives none. */
export interface Interval {
  readonly mean: number
  readonly low: number | null
  readonly high: number | null
}

/** Student's t, two-sided 95 %, for 1 to 30 degrees of freedom; 1.96 beyond is within 4 %. */
const T95 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093, 2.086,
  2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
] as const
const T95_BEYOND = 1.96

/** Mean of `values` and its 95 % interval by Student's t. NaN of none. */
export function intervalOf(values: readonly number[]): Interval {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  if (values.length < 2) return { mean, low: null, high: null }
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1)
  const half = (T95[values.length - 2] ?? T95_BEYOND) * Math.sqrt(variance / values.length)
  return { mean, low: mean - half, high: mean + half }
}

/** 1 − ours ÷ theirs, sample by sample, so that what a sample does to both cancels; samples that either lacks (NaN) are left out. */
export function pairedGain(ours: readonly number[], theirs: readonly number[]): Interval {
  return intervalOf(
    ours.flatMap((value, i) => {
      const gain = 1 - value / (theirs[i] ?? Number.NaN)
      return Number.isFinite(gain) ? [gain] : []
    }),
  )
}
