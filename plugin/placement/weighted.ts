import { createArgmin } from './argmin.ts'
import { AT, CANDIDATE_COLUMNS } from './features.ts'
import type { Candidates, Policy } from './policy.ts'

export interface Weights {
  readonly queue: number
  readonly kv: number
  readonly prefix: number
  readonly adapter: number
}

/** The Gateway API Inference Extension's default blend; no weight on adapters. */
export const GAIE_WEIGHTS: Weights = { queue: 2, kv: 2, prefix: 3, adapter: 0 }

/** The best blend that the BLIS study found. */
export const BLIS_WEIGHTS: Weights = { queue: 3, kv: 0, prefix: 4, adapter: 0 }

/**
 * `weighted`: max of queue·(max−w)/(max−min) + kv·(1−kvUsage) + prefix·match + adapter·loaded, ties at random; w is the waiting calls
 * that the scrape tells, and the queue term is 1 where all wait alike (Gateway API Inference Extension). An unknown value scores as the mean
 * of the known ones, so that a missing scrape neither attracts nor repels; the cost is the score, negated.
 */
export function createWeighted(weights: Weights = GAIE_WEIGHTS, name = 'weighted'): Policy {
  return createArgmin(name, (candidates, costs) => {
    costs.fill(0, 0, candidates.count)
    addQueue(candidates, costs, weights.queue)
    addScore({ candidates, costs, at: AT.kvUsage, weight: weights.kv, score: (kv) => 1 - kv })
    addScore({ candidates, costs, at: AT.prefixMatch, weight: weights.prefix, score: (match) => match })
    addScore({ candidates, costs, at: AT.adapterLoaded, weight: weights.adapter, score: (loaded) => loaded })
  })
}

function addQueue(candidates: Candidates, costs: Float64Array, weight: number): void {
  let least = Number.POSITIVE_INFINITY
  let most = Number.NEGATIVE_INFINITY
  for (let i = 0; i < candidates.count; i++) {
    const waiting = candidates.rows[i * CANDIDATE_COLUMNS.length + AT.waiting] as number
    if (waiting < least) least = waiting
    if (waiting > most) most = waiting
  }
  const score = (waiting: number): number => (most > least ? (most - waiting) / (most - least) : 1)
  addScore({ candidates, costs, at: AT.waiting, weight, score })
}

interface Term {
  readonly candidates: Candidates
  readonly costs: Float64Array
  readonly at: number
  readonly weight: number
  readonly score: (value: number) => number
}

function addScore({ candidates, costs, at, weight, score }: Term): void {
  if (weight === 0) return
  let sum = 0
  let known = 0
  for (let i = 0; i < candidates.count; i++) {
    const value = candidates.rows[i * CANDIDATE_COLUMNS.length + at] as number
    if (!Number.isNaN(value)) {
      sum += score(value)
      known++
    }
  }
  const unknown = known === 0 ? 0 : sum / known
  for (let i = 0; i < candidates.count; i++) {
    const value = candidates.rows[i * CANDIDATE_COLUMNS.length + at] as number
    costs[i] = (costs[i] as number) - weight * (Number.isNaN(value) ? unknown : score(value))
  }
}
