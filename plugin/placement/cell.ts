import { CANDIDATE_COLUMNS } from './features.ts'
import type { Candidates } from './policy.ts'

const WIDTH = CANDIDATE_COLUMNS.length

/** One value of candidate `index`: `cell(candidates, i, AT.inFlight)`. */
export function cell(candidates: Candidates, index: number, at: number): number {
  return candidates.rows[index * WIDTH + at] as number
}

/** Uncached tokens of the call's own prompt on that candidate, by the prefix blocks it is believed to hold. */
export function uncachedTokens(promptTokens: number, matchRatio: number): number {
  return promptTokens * (1 - matchRatio)
}

/** Least, most, mean and standard deviation (of the population) of one column. */
export interface Spread {
  readonly least: number
  readonly most: number
  readonly mean: number
  readonly deviation: number
}

/** The spread of a column whose values are all known, over at least one candidate. */
export function spreadOf(candidates: Candidates, at: number): Spread {
  let least = Number.POSITIVE_INFINITY
  let most = Number.NEGATIVE_INFINITY
  let sum = 0
  let squares = 0
  const { count } = candidates
  for (let i = 0; i < count; i++) {
    const value = cell(candidates, i, at)
    if (value < least) least = value
    if (value > most) most = value
    sum += value
    squares += value * value
  }
  const mean = sum / count
  return { least, most, mean, deviation: Math.sqrt(Math.max(0, squares / count - mean * mean)) }
}
