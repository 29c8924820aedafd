import { solveSymmetric } from '../call/solve.ts'
import type { Point } from './profile-law.ts'

/** A round of least squares, linearised: JᵀWJ by rows, and JᵀWr; the step that is subtracted solves `normal · step = gradient`. */
export interface NormalEquations {
  readonly normal: Float64Array
  readonly gradient: Float64Array
}

/**
 * The point after one step damped by `damping` (Marquardt, 1963), at which no coefficient is below 0: those that would be are held at 0, and the others are solved for again, since
 * they have to do the work of those that are held.
 */
export function moved(point: Point, { normal, gradient }: NormalEquations, damping: number): Point {
  const width = point.length
  const lower = normal.slice()
  for (let a = 0; a < width; a++) lower[a * width + a] = (normal[a * width + a] as number) * (1 + damping) + 1e-9
  const held = new Float64Array(width).fill(Number.NaN)
  let step = solveSymmetric(lower.slice(), gradient.slice())
  for (let round = 0; round < width; round++) {
    const below = step.findIndex((one, a) => Number.isNaN(held[a]) && (point[a] as number) - one < 0)
    if (below < 0) break
    step.forEach((one, a) => {
      if ((point[a] as number) - one < 0) held[a] = point[a] as number
    })
    step = solveHeld(lower, gradient, held)
  }
  // At most to a third or three times itself in one round.
  return Float64Array.from(point, (value, a) => {
    const reach = Math.max(0.3, 2 * value)
    return Math.max(0, value - Math.max(-reach, Math.min(0.67 * Math.max(value, 0.3), step[a] as number)))
  })
}

/** Solves for the step where some of its parts are given; NaN: free. */
function solveHeld(lower: Float64Array, gradient: Float64Array, held: Float64Array): Float64Array {
  const width = held.length
  const matrix = lower.slice()
  const right = gradient.slice()
  for (let a = 0; a < width; a++) {
    for (let b = 0; b < width; b++) {
      if (Number.isNaN(held[b]) === Number.isNaN(held[a]) && (a === b || Number.isNaN(held[a]))) continue
      if (Number.isNaN(held[a])) right[a] = (right[a] as number) - (lower[a * width + b] as number) * (held[b] as number)
      matrix[a * width + b] = 0
    }
    if (Number.isNaN(held[a])) continue
    matrix[a * width + a] = 1
    right[a] = held[a] as number
  }
  return solveSymmetric(matrix, right)
}
