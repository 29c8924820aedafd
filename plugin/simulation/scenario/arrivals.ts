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
