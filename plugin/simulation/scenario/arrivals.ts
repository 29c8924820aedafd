import type { Rng } from '../../rng.ts'

/** Times between arrivals in ms, one after another, without end. */
export type Gaps = () => number

/** Poisson arrivals. */
export function poissonGaps(callsPerS: number, rng: Rng): Gaps {
  return () => (rng.exponential() / callsPerS) * 1000
}

/**
 * Bursts: gamma-distributed gaps with the given coefficient of variation (1 is Poisson; real traces have 0.5 to 13). Marsaglia and Tsang,
 * 2000, "A simple method for generating gamma variables"; a shape below 1 by their boost of a shape above.
 */
export function gammaGaps({ callsPerS, cv }: { readonly callsPerS: number; readonly cv: number }, rng: Rng): Gaps {
  const shape = 1 / (cv * cv)
  const scaleMs = 1000 / (callsPerS * shape)
  return () => gamma(shape, rng) * scaleMs
}

function gamma(shape: number, rng: Rng): number {
  if (shape < 1) return gamma(shape + 1, rng) * (1 - rng.next()) ** (1 / shape)
  const d = shape - 1 / 3
  const c = 1 / Math.sqrt(9 * d)
  for (;;) {
    const x = rng.normal()
    const v = (1 + c * x) ** 3
    if (v <= 0) continue
    const u = 1 - rng.next()
    if (Math.log(u) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v
  }
}

/** Weibull gaps of the given shape (below 1: bursts), scaled to the rate: mean = scale · Γ(1 + 1/shape). */
export function weibullGaps({ callsPerS, shape }: { readonly callsPerS: number; readonly shape: number }, rng: Rng): Gaps {
  const scaleMs = 1000 / callsPerS / Math.exp(logGamma(1 + 1 / shape))
  return () => scaleMs * rng.exponential() ** (1 / shape)
}

/** ln Γ(x) for x > 0 (Lanczos, 1964, with g = 5 and six terms as in Numerical Recipes, section 6.1): 1e-10 relative. */
function logGamma(x: number): number {
  const terms = [76.18009172947146, -86.50532032941678, 24.01409824083091, -1.231739572450155, 0.1208650973866179e-2, -0.5395239384953e-5]
  const t = x + 5.5 - (x + 0.5) * Math.log(x + 5.5)
  const series = terms.reduce((sum, term, i) => sum + term / (x + i + 1), 1.000000000190015)
  return -t + Math.log((2.5066282746310007 * series) / x)
}
