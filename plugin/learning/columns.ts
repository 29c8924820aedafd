/** Moments and bounds of the columns of rows of one width. */
export interface Columns {
  readonly mean: Float32Array
  /** 0 for a column that is constant over the rows. */
  readonly spread: Float32Array
  readonly low: Float32Array
  readonly high: Float32Array
}

/** A value further than this many standard deviations from the mean is held there: one odd prompt must not swing a linear model. */
const HELD_SPREADS = 4
const CONSTANT = 1e-6

/** Reads rows once for the means and once for the spreads. */
export function describeColumns(rows: readonly Float32Array[]): Columns {
  const width = rows[0]?.length ?? 0
  const sums = new Float64Array(width)
  for (const row of rows) for (let k = 0; k < width; k++) sums[k] = (sums[k] as number) + (row[k] as number)
  const mean = Float32Array.from(sums, (sum) => sum / rows.length)
  const squares = new Float64Array(width)
  for (const row of rows)
    for (let k = 0; k < width; k++) squares[k] = (squares[k] as number) + ((row[k] as number) - (mean[k] as number)) ** 2
  const spread = Float32Array.from(squares, (sum) => {
    const deviation = Math.sqrt(sum / rows.length)
    return deviation < CONSTANT ? 0 : deviation
  })
  const bound = (side: number): Float32Array => mean.map((value, k) => value + side * HELD_SPREADS * (spread[k] as number))
  return { mean, spread, low: bound(-1), high: bound(1) }
}

/** Writes the first `width` columns of a row, held within bounds and standardised, to `out` from `at`; constant ones as 0. */
export function standardise(row: Float32Array, columns: Columns, width: number, out: Float32Array | Float64Array, at = 0): void {
  const { mean, spread, low, high } = columns
  for (let k = 0; k < width; k++) {
    const deviation = spread[k] as number
    const held = Math.min(high[k] as number, Math.max(low[k] as number, row[k] as number))
    out[at + k] = deviation === 0 ? 0 : (held - (mean[k] as number)) / deviation
  }
}
