import { solveSymmetric } from '../call/solve.ts'
import { type Columns, standardise } from './columns.ts'

/** A linear model on raw (held) columns. */
export interface Linear {
  readonly bias: number
  readonly weights: Float32Array
}

/** Ridge regression (Hoerl and Kennard, 1970) on the first `width` columns, standardised; the penalty is in rows. */
export function trainRidge(
  table: { readonly rows: readonly Float32Array[]; readonly targets: Float64Array; readonly columns: Columns },
  options: { readonly width: number; readonly penaltyRows: number },
): Linear {
  const { rows, targets, columns } = table
  const { width, penaltyRows } = options
  const centre = targets.reduce((sum, target) => sum + target, 0) / targets.length
  const normal = new Float64Array(width * width)
  const moment = new Float64Array(width)
  const row = new Float64Array(width)
  for (const [i, raw] of rows.entries()) {
    standardise(raw, columns, width, row)
    const error = (targets[i] as number) - centre
    for (let a = 0; a < width; a++) {
      const value = row[a] as number
      if (value === 0) continue
      moment[a] = (moment[a] as number) + value * error
      const at = a * width
      for (let b = 0; b <= a; b++) normal[at + b] = (normal[at + b] as number) + value * (row[b] as number)
    }
  }
  for (let a = 0; a < width; a++) normal[a * width + a] = (normal[a * width + a] as number) + penaltyRows
  return unstandardise(solveSymmetric(normal, moment), columns, centre)
}

/** The same linear function on raw columns. */
function unstandardise(weights: Float64Array, { mean, spread }: Columns, centre: number): Linear {
  let bias = centre
  const raw = Float32Array.from(weights, (weight, k) => {
    const deviation = spread[k] as number
    if (deviation === 0) return 0
    bias -= (weight * (mean[k] as number)) / deviation
    return weight / deviation
  })
  return { bias, weights: raw }
}

/** Conjugate gradient steps: the residual is below a thousandth of the right side by then on the sets of the tests. */
const STEPS_MAX = 60

/**
 * Ridge regression on bags of hashed words, each word weighing 1 / √(words of its row), solved by conjugate gradients (Hestenes and
 * Stiefel, 1952): the matrix of 16,384 columns is never formed.
 */
export function trainWords(
  table: { readonly words: readonly Uint32Array[]; readonly targets: Float64Array },
  options: { readonly entries: number; readonly penaltyRows: number },
): Linear {
  const { words, targets } = table
  const { entries, penaltyRows } = options
  const mask = entries - 1
  const bias = targets.reduce((sum, target) => sum + target, 0) / targets.length
  const transposed = (values: (row: number) => number, out: Float64Array): void => {
    for (const [i, row] of words.entries()) {
      const value = values(i) / Math.sqrt(Math.max(1, row.length))
      for (const word of row) out[word & mask] = (out[word & mask] as number) + value
    }
  }
  const apply = (direction: Float64Array): Float64Array => {
    const out = direction.map((value) => value * penaltyRows)
    transposed((i) => {
      const row = words[i] as Uint32Array
      let sum = 0
      for (const word of row) sum += direction[word & mask] as number
      return sum / Math.sqrt(Math.max(1, row.length))
    }, out)
    return out
  }
  const right = new Float64Array(entries)
  transposed((i) => (targets[i] as number) - bias, right)
  return { bias, weights: Float32Array.from(conjugateGradient(apply, right)) }
}

function conjugateGradient(apply: (direction: Float64Array) => Float64Array, right: Float64Array): Float64Array {
  const solution = new Float64Array(right.length)
  const residual = Float64Array.from(right)
  let direction = Float64Array.from(right)
  let size = inner(residual, residual)
  const enough = size * 1e-6
  for (let step = 0; step < STEPS_MAX && size > enough; step++) {
    const applied = apply(direction)
    const length = size / inner(direction, applied)
    for (let k = 0; k < solution.length; k++) {
      solution[k] = (solution[k] as number) + length * (direction[k] as number)
      residual[k] = (residual[k] as number) - length * (applied[k] as number)
    }
    const next = inner(residual, residual)
    const kept = next / size
    direction = residual.map((value, k) => value + kept * (direction[k] as number))
    size = next
  }
  return solution
}

function inner(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let k = 0; k < a.length; k++) sum += (a[k] as number) * (b[k] as number)
  return sum
}
