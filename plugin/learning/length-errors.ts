import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import type { OutputOutlook } from '../fleet/ledger.ts'
import type { OutputSpan } from '../placement/candidates.ts'
import type { LengthErrors } from '../simulation/scenario/length-errors.ts'
import type { Judged } from './measures.ts'
import { BASE_FOLDER } from './model-folder.ts'

/**
 * The errors that a length model makes, kept beside it as a table of what it said and what came, so that the twin can meet them on calls of any
 * workload: of a call of d tokens it says what it said of one of about that length, scaled by the ratio of the two. Unlike a log-normal σ this keeps that long
 * answers are foretold too short, how often it is far off, and how sure it said it was.
 */
export const ERRORS_FILE = 'errors.json'

/** Rows kept: enough for every length, small in a repository. */
const ROWS_MAX = 2_000
/** A row is drawn among this many of the nearest lengths. */
const NEIGHBOURS = 60

const errorsFile = z.object({
  kind: z.literal('length errors'),
  version: z.string(),
  how: z.string(),
  columns: z.tuple([z.literal('outputTokens'), z.literal('mean'), z.literal('p50'), z.literal('p90'), z.literal('spreadLn')]),
  rows: z.array(z.tuple([z.number(), z.number(), z.number(), z.number(), z.number()])).min(NEIGHBOURS),
})

export type ErrorsFile = z.infer<typeof errorsFile>

/** The table of judged rows, by true length; every so-manieth where there are more than ROWS_MAX. */
export function describeErrors(judged: readonly Judged[], parts: { readonly version: string; readonly how: string }): ErrorsFile {
  const sorted = judged.toSorted((a, b) => a.outputTokens - b.outputTokens)
  const step = Math.max(1, sorted.length / ROWS_MAX)
  const kept = Array.from({ length: Math.min(ROWS_MAX, sorted.length) }, (_, i) => sorted[Math.floor(i * step)] as Judged)
  return {
    kind: 'length errors',
    ...parts,
    columns: ['outputTokens', 'mean', 'p50', 'p90', 'spreadLn'],
    rows: kept.map(({ outputTokens, distribution }) => [
      Math.max(1, outputTokens),
      rounded(distribution.mean),
      rounded(distribution.quantile(0.5)),
      rounded(distribution.quantile(0.9)),
      rounded(distribution.spreadLn),
    ]),
  }
}

/** The table as text, one row a line. */
export function encodeErrors({ rows, ...head }: ErrorsFile): string {
  const text = JSON.stringify({ ...head, rows: [] })
  return `${text.slice(0, -2)}\n${rows.map((row) => JSON.stringify(row)).join(',\n')}\n]}\n`
}

/** The errors of the model in a folder, the shipped one by default. Throws where there are none or they are damaged. */
export function readLengthErrors(folder: string = BASE_FOLDER): LengthErrors {
  const path = join(folder, ERRORS_FILE)
  if (!existsSync(path)) throw new Error(`there is no ${ERRORS_FILE} in ${folder}: train the model again`)
  return sampledErrors(errorsFile.parse(JSON.parse(readFileSync(path, 'utf8'))))
}

/** Draws from a table of errors. */
export function sampledErrors({ rows }: Pick<ErrorsFile, 'rows'>): LengthErrors {
  const lengths = Float64Array.from(rows, ([outputTokens]) => outputTokens)
  const least = Math.max(0, lengths.length - NEIGHBOURS)
  return {
    draw(outputTokens, rng) {
      const row = rows[Math.min(least, Math.max(0, lowerBound(lengths, outputTokens) - NEIGHBOURS / 2)) + rng.int(NEIGHBOURS)]
      const [length, mean, p50, p90, spreadLn] = row as ErrorsFile['rows'][number]
      const scale = outputTokens / length
      const span = { p50Tokens: p50 * scale, p90Tokens: p90 * scale, spreadLn }
      return { tokens: Math.max(1, mean * scale), span, outlook: new SpanOutlook(span) }
    },
  }
}

function lowerBound(sorted: Float64Array, value: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((sorted[middle] as number) < value) low = middle + 1
    else high = middle
  }
  return low
}

/** What is left of a log-normal length with this median and spread: E[X | X > n] − n = e^(μ+σ²/2)·Φ((μ+σ²−ln n)/σ) ÷ Φ((μ−ln n)/σ) − n. */
class SpanOutlook implements OutputOutlook {
  readonly #medianLn: number
  readonly #spread: number

  constructor({ p50Tokens, spreadLn }: OutputSpan) {
    this.#medianLn = Math.log(Math.max(1, p50Tokens))
    this.#spread = Math.max(0.05, spreadLn)
  }

  remaining(outputTokens: number): number {
    const [median, spread] = [this.#medianLn, this.#spread]
    const passed = (median - Math.log(outputTokens)) / spread
    const tail = normalBelow(passed)
    // So far beyond that the ratio is of two vanishing numbers.
    if (tail < 1e-6) return 0
    return Math.max(0, (Math.exp(median + spread ** 2 / 2) * normalBelow(passed + spread)) / tail - outputTokens)
  }
}

/** Φ, by Zelen and Severo's polynomial (Abramowitz and Stegun, 1964, 26.2.17): error below 7.5e-8. */
function normalBelow(z: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(z))
  const series = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
  const above = (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)) * series
  return z >= 0 ? 1 - above : above
}

const rounded = (value: number): number => Number(value.toPrecision(4))
