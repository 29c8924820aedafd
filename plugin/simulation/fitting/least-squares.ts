/** A fitted linear form and how far it is off. */
export interface Fit {
  readonly coefficients: readonly number[]
  /** Mean and largest |fitted − measured| over the points, relative to the step each is a part of. */
  readonly meanError: number
  readonly worstError: number
  readonly points: number
}

/** One measured point: the factors of the coefficients, and the value in ms (> 0). */
export interface Point {
  readonly factors: readonly number[]
  readonly ms: number
  /** Duration of the whole step that it is a part of: errors are taken relative to this; `ms` itself where absent. */
  readonly ofMs?: number
}

/**
 * Coefficients ≥ 0 that minimise the relative error Σ((fitted − measured)/step)²: weighted normal equations, and while a coefficient comes out negative, the
 * most negative one is set to 0 and the rest fitted again (an active set; times cannot shrink with work).
 */
export function fitNonNegative(points: readonly Point[]): Fit {
  const width = points[0]?.factors.length ?? 0
  if (points.length < width) throw new Error(`${points.length} points cannot fix ${width} coefficients`)
  const active = Array.from({ length: width }, (_, i) => i)
  let solved: number[] = []
  while (active.length > 0) {
    solved = solveNormal(points, active)
    const worst = Math.min(...solved)
    if (worst >= 0) break
    active.splice(solved.indexOf(worst), 1)
  }
  const coefficients = Array.from({ length: width }, (_, i) => (active.includes(i) ? (solved[active.indexOf(i)] as number) : 0))
  return { coefficients, ...errorsOf(points, (factors) => dot(factors, coefficients)) }
}

/** Mean and largest relative error of a formula over points. */
export function errorsOf(points: readonly Point[], formula: (factors: readonly number[]) => number): Omit<Fit, 'coefficients'> {
  const errors = points.map(({ factors, ms, ofMs = ms }) => Math.abs(formula(factors) - ms) / ofMs)
  return {
    meanError: errors.reduce((sum, error) => sum + error, 0) / errors.length,
    worstError: Math.max(...errors),
    points: points.length,
  }
}

/** The two lines whose maximum is nearest to points (x, ms): every split of the sorted points is tried. */
export function fitTwoLines(
  points: readonly { readonly x: number; readonly ms: number }[],
): Fit & { readonly lines: readonly [Line, Line] } {
  const sorted = points.toSorted((a, b) => a.x - b.x).map(({ x, ms }) => ({ factors: [1, x], ms }))
  let best: (Fit & { readonly lines: readonly [Line, Line] }) | undefined
  for (let split = 3; split <= sorted.length - 3; split++) {
    const flat = fitNonNegative(sorted.slice(0, split)).coefficients as Line
    const steep = fitNonNegative(sorted.slice(split)).coefficients as Line
    const errors = errorsOf(sorted, (factors) => Math.max(dot(factors, flat), dot(factors, steep)))
    if (!best || errors.meanError < best.meanError) best = { coefficients: [...flat, ...steep], lines: [flat, steep], ...errors }
  }
  if (!best) throw new Error(`${points.length} points are too few for two lines`)
  return best
}

/** [base, slope] in ms. */
export type Line = readonly [number, number]

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * (b[i] as number), 0)
}

function solveNormal(points: readonly Point[], active: readonly number[]): number[] {
  const size = active.length
  const matrix = Array.from({ length: size }, () => new Array<number>(size + 1).fill(0))
  for (const { factors, ms, ofMs = ms } of points) {
    for (let i = 0; i < size; i++) {
      const row = matrix[i] as number[]
      const own = (factors[active[i] as number] as number) / ofMs
      for (let j = 0; j < size; j++) row[j] = (row[j] as number) + (own * (factors[active[j] as number] as number)) / ofMs
      row[size] = (row[size] as number) + (own * ms) / ofMs
    }
  }
  return eliminate(matrix)
}

/** Gauss with scaled columns and pivoting; a column that depends on others gets 0. */
function eliminate(matrix: number[][]): number[] {
  const size = matrix.length
  const scale = matrix.map((row, i) => Math.sqrt(row[i] as number) || 1)
  const scaled = matrix.map((row, i) => row.map((value, j) => value / (scale[i] as number) / (j < size ? (scale[j] as number) : 1)))
  for (let column = 0; column < size; column++) {
    let pivot = column
    for (let i = column; i < size; i++) if (Math.abs(at(scaled, i, column)) > Math.abs(at(scaled, pivot, column))) pivot = i
    const swapped = scaled[pivot] as number[]
    scaled[pivot] = scaled[column] as number[]
    scaled[column] = swapped
    if (Math.abs(at(scaled, column, column)) < 1e-12) continue
    for (let i = 0; i < size; i++) {
      if (i === column) continue
      const factor = at(scaled, i, column) / at(scaled, column, column)
      scaled[i] = (scaled[i] as number[]).map((value, j) => value - factor * at(scaled, column, j))
    }
  }
  return scaled.map((row, i) =>
    Math.abs(row[i] as number) < 1e-12 ? 0 : (row[size] as number) / (row[i] as number) / (scale[i] as number),
  )
}

function at(matrix: readonly (readonly number[])[], i: number, j: number): number {
  return matrix[i]?.[j] as number
}
