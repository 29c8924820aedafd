import { solveSymmetric } from '../call/solve.ts'

/** Rows of a regression of positive means: E[y] = exp(x·β), each row with the weight it counts. */
export interface MeanRows {
  readonly x: readonly Float64Array[]
  readonly y: Float64Array
  readonly weights: Float64Array
}

export interface MeanFit {
  readonly coefficients: Float64Array
  /** Standard errors that hold whatever the rows' spread is (HC3). */
  readonly errors: Float64Array
  /** Rows less coefficients. */
  readonly freedom: number
}

const ROUNDS_MAX = 50
const CONVERGED = 1e-10
/** Added to the diagonal, in units of it: columns that say the same must not stop the fit. */
const RIDGE = 1e-9

/**
 * Log-linear regression of means by quasi-Poisson scoring (Wedderburn, 1974), so that ratios of arithmetic means are estimated, not of geometric
 * ones; standard errors by the sandwich HC3 (MacKinnon and White, 1985). Throws where there are no more rows than columns.
 */
export function fitMeans({ x, y, weights }: MeanRows): MeanFit {
  const rows = x.length
  const width = x[0]?.length ?? 0
  if (rows <= width) throw new Error(`${rows} rows cannot fix ${width} coefficients`)
  let total = 0
  let weight = 0
  for (let i = 0; i < rows; i++) {
    total += (weights[i] as number) * (y[i] as number)
    weight += weights[i] as number
  }
  const beta = new Float64Array(width)
  beta[0] = Math.log(total / weight)
  const means = new Float64Array(rows)
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const gradient = new Float64Array(width)
    for (let i = 0; i < rows; i++) {
      const row = x[i] as Float64Array
      means[i] = Math.exp(dot(row, beta))
      const error = (weights[i] as number) * ((y[i] as number) - (means[i] as number))
      for (let a = 0; a < width; a++) gradient[a] = (gradient[a] as number) + (row[a] as number) * error
    }
    const step = solveSymmetric(information(x, weights, means), gradient)
    let most = 0
    for (let a = 0; a < width; a++) {
      beta[a] = (beta[a] as number) + Math.max(-2, Math.min(2, step[a] as number))
      most = Math.max(most, Math.abs(step[a] as number))
    }
    if (most < CONVERGED) break
  }
  for (let i = 0; i < rows; i++) means[i] = Math.exp(dot(x[i] as Float64Array, beta))
  return { coefficients: beta, errors: sandwich({ x, y, weights }, means), freedom: rows - width }
}

function information(x: readonly Float64Array[], weights: Float64Array, means: Float64Array): Float64Array {
  const width = x[0]?.length ?? 0
  const sum = new Float64Array(width * width)
  x.forEach((row, i) => {
    const scale = (weights[i] as number) * (means[i] as number)
    for (let a = 0; a < width; a++)
      for (let b = 0; b <= a; b++) sum[a * width + b] = (sum[a * width + b] as number) + scale * (row[a] as number) * (row[b] as number)
  })
  for (let a = 0; a < width; a++) sum[a * width + a] = (sum[a * width + a] as number) * (1 + RIDGE) + Number.MIN_VALUE
  return sum
}

function sandwich({ x, y, weights }: MeanRows, means: Float64Array): Float64Array {
  const width = x[0]?.length ?? 0
  const bread = inverse(information(x, weights, means), width)
  const meat = new Float64Array(width * width)
  x.forEach((row, i) => {
    const half = multiply(bread, row, width)
    const leverage = Math.min(0.99, (weights[i] as number) * (means[i] as number) * dot(row, half))
    const score = ((weights[i] as number) * ((y[i] as number) - (means[i] as number))) / (1 - leverage)
    for (let a = 0; a < width; a++)
      for (let b = 0; b < width; b++)
        meat[a * width + b] = (meat[a * width + b] as number) + score * score * (half[a] as number) * (half[b] as number)
  })
  return Float64Array.from({ length: width }, (_, a) => Math.sqrt(meat[a * width + a] as number))
}

function inverse(matrix: Float64Array, width: number): Float64Array {
  const result = new Float64Array(width * width)
  for (let a = 0; a < width; a++) {
    const unit = new Float64Array(width)
    unit[a] = 1
    result.set(solveSymmetric(matrix.slice(), unit), a * width)
  }
  return result
}

function multiply(matrix: Float64Array, row: Float64Array, width: number): Float64Array {
  return Float64Array.from({ length: width }, (_, a) => dot(matrix.subarray(a * width, (a + 1) * width), row))
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let k = 0; k < a.length; k++) sum += (a[k] as number) * (b[k] as number)
  return sum
}
