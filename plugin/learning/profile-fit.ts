import { solveSymmetric } from '../call/solve.ts'
import { COEFFICIENTS, type Frame, type Point } from './profile-law.ts'
import { costOf, GROUPS, type Residuals, residualsAt } from './profile-residuals.ts'
import type { InstanceLog } from './profile-rows.ts'
import { moved, type NormalEquations } from './profile-step.ts'

/** A fitted point with what it leaves unexplained. */
export interface Fit {
  readonly frame: Frame
  readonly point: Point
  readonly cost: number
  /** Standard error of each coefficient, in the frame's units; NaN where the log cannot tell. */
  readonly errors: Float64Array
}

/** Rounds of the search; each plays the log twice per coefficient and a few times more. */
export const ROUNDS = 10
/**
 * Step of the numerical derivatives to either side, in units of the coefficient or, where larger, its own size: about a hundredth of a step's time, large beside the jitter that
 * scheduling gives the groups' means. Chosen with `npm run bench -- trust --only calibrated`: noise in the derivatives looks like curvature and stops the search in the long
 * valley where one coefficient stands in for another.
 */
const STEP = 0.12
/** How a search goes. */
export interface FitOptions {
  readonly rounds?: number
  /** What chance does to each residual (`spreadsAt`); by default all count alike, which is right far from the goal. */
  readonly spreads?: Float64Array
}

/**
 * Levenberg (1944) and Marquardt (1963) on the step law: the calls are played through the engine with the placements that were made, and derivatives are taken by playing
 * again. A microsecond can put a call into another step, so that single calls scatter whatever the coefficients are; residuals are therefore
 * trimmed means of ln(played ÷ logged) over groups of calls, for TTFT, decoding and E2E, and ln of the ratio of the means over stretches of time (`residualsAt`).
 */
export function fitPoint(frame: Frame, start: Point, logs: readonly InstanceLog[], { rounds = ROUNDS, spreads }: FitOptions = {}): Fit {
  let point = start.slice()
  let here = residualsAt(frame, point, logs, spreads)
  let cost = costOf(here)
  let damping = 1e-2
  let normal: Float64Array = new Float64Array(0)
  for (let round = 0; round < rounds; round++) {
    const step = normalEquations({ frame, point, logs, here, spreads })
    normal = step.normal
    let improved = false
    for (let attempt = 0; attempt < 5 && !improved; attempt++) {
      const trial = moved(point, step, damping)
      const there = residualsAt(frame, trial, logs, spreads)
      const trialCost = costOf(there)
      improved = trialCost < cost
      damping = improved ? Math.max(1e-4, damping / 5) : damping * 6
      if (!improved) continue
      const gained = 1 - trialCost / cost
      point = trial
      here = there
      cost = trialCost
      if (gained < 1e-4) return { frame, point, cost, errors: errorsOf(normal, here) }
    }
    if (!improved) break
  }
  return { frame, point, cost, errors: errorsOf(normal, here) }
}

interface Tried {
  readonly at: number
  readonly values: Float64Array
}

function normalEquations(given: {
  readonly frame: Frame
  readonly point: Point
  readonly logs: readonly InstanceLog[]
  readonly here: Residuals
  readonly spreads: Float64Array | undefined
}): NormalEquations {
  const { frame, point, logs, here, spreads } = given
  const width = COEFFICIENTS.length
  const slopes = Array.from({ length: width }, (_, a) => {
    const step = STEP * Math.max(point[a] as number, 1)
    const [above, below] = [1, -1].map((sign) => {
      const trial = point.slice()
      trial[a] = Math.max(0, (point[a] as number) + sign * step)
      return { at: trial[a] as number, values: trial[a] === point[a] ? here.values : residualsAt(frame, trial, logs, spreads).values }
    }) as [Tried, Tried]
    return above.values.map((value, i) => (value - (below.values[i] as number)) / (above.at - below.at))
  })
  const normal = new Float64Array(width * width)
  const gradient = new Float64Array(width)
  for (let i = 0; i < here.values.length; i++) {
    const weight = here.weights[i] as number
    if (weight === 0) continue
    for (let a = 0; a < width; a++) {
      const slope = (slopes[a] as Float64Array)[i] as number
      gradient[a] = (gradient[a] as number) + weight * slope * (here.values[i] as number)
      for (let b = 0; b <= a; b++)
        normal[a * width + b] = (normal[a * width + b] as number) + weight * slope * ((slopes[b] as Float64Array)[i] as number)
    }
  }
  for (let a = 0; a < width; a++) for (let b = 0; b < a; b++) normal[b * width + a] = normal[a * width + b] as number
  return { normal, gradient }
}

/** From the curvature and the unexplained rest; calls that share queues are not independent: a group counts as one. */
function errorsOf(normal: Float64Array, here: Residuals): Float64Array {
  const width = COEFFICIENTS.length
  const errors = new Float64Array(width).fill(Number.NaN)
  if (normal.length === 0) return errors
  const rest = costOf(here) / GROUPS
  for (let a = 0; a < width; a++) {
    const lower = normal.slice()
    for (let b = 0; b < width; b++) lower[b * width + b] = (lower[b * width + b] as number) * (1 + 1e-6) + 1e-9
    const unit = new Float64Array(width)
    unit[a] = 1
    errors[a] = Math.sqrt(Math.max(0, solveSymmetric(lower, unit)[a] as number) * rest)
  }
  return errors
}
