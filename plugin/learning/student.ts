/** Quantile of Student's t by the expansion of Cornish and Fisher (Abramowitz and Stegun 26.7.5): within 0.2 % from 3 degrees of freedom on. */
export function studentQuantile(probability: number, freedom: number): number {
  const z = normalQuantile(probability)
  if (freedom === 1) return Math.tan(Math.PI * (probability - 0.5))
  if (freedom === 2) {
    const a = 2 * probability - 1
    return (a * Math.SQRT2) / Math.sqrt(1 - a * a)
  }
  const z3 = z ** 3
  const z5 = z ** 5
  const g1 = (z3 + z) / 4
  const g2 = (5 * z5 + 16 * z3 + 3 * z) / 96
  const g3 = (3 * z ** 7 + 19 * z5 + 17 * z3 - 15 * z) / 384
  const g4 = (79 * z ** 9 + 776 * z ** 7 + 1482 * z5 - 1920 * z3 - 945 * z) / 92_160
  return z + g1 / freedom + g2 / freedom ** 2 + g3 / freedom ** 3 + g4 / freedom ** 4
}

const A = [
  -3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.38357751867269e2, -3.066479806614716e1, 2.506628277459239,
] as const
const B = [-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1] as const
const C = [
  -7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734, 4.374664141464968, 2.938163982698783,
] as const
const D = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416] as const
const TAIL = 0.02425

/** Quantile of the standard normal for a probability in (0, 1), by Acklam's rational approximation: relative error below 1.2e-9. */
export function normalQuantile(probability: number): number {
  if (probability < TAIL) return tail(Math.sqrt(-2 * Math.log(probability)))
  if (probability > 1 - TAIL) return -tail(Math.sqrt(-2 * Math.log(1 - probability)))
  const q = probability - 0.5
  const r = q * q
  return (horner(A, r) * q) / (horner(B, r) * r + 1)
}

const tail = (q: number): number => horner(C, q) / (horner(D, q) * q + 1)

const horner = (coefficients: readonly number[], at: number): number => coefficients.reduce((sum, each) => sum * at + each, 0)
