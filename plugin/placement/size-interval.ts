import { createArgmin } from './argmin.ts'
import { CALL_AT } from './features.ts'
import type { Policy } from './policy.ts'

/** Intervals are fitted anew this often. */
const REFIT_MS = 5_000
/** Sizes they are fitted on. Chosen: a minute at the rates of the scenarios. */
const SIZES_KEPT = 1_024
/** Output taken for granted where nobody predicted it. */
const UNPREDICTED_OUTPUT_TOKENS = 256

/**
 * `size-interval`: the axis of predicted sizes (prompt + predicted output tokens) is cut into as many intervals as there are candidates, each holding an
 * equal part of the recent work, and interval i belongs to candidate i in name order (SITA-E; Harchol-Balter, Crovella, Murta, 1999, "On choosing a
 * task assignment policy for a distributed server system"). Refitted every 5 s and whenever the number of candidates changes. The cost is how many
 * intervals off a candidate is.
 */
export function createSizeInterval(): Policy {
  const sizes = new Float64Array(SIZES_KEPT)
  let seen = 0
  let fitted: { count: number; atMs: number; cuts: Float64Array } = { count: 0, atMs: Number.NEGATIVE_INFINITY, cuts: new Float64Array(0) }
  return createArgmin(
    'size-interval',
    ({ count, callRow, nowMs }, costs) => {
      if (fitted.count !== count || nowMs - fitted.atMs >= REFIT_MS)
        fitted = { count, atMs: nowMs, cuts: cutEqualWork(sizes.slice(0, Math.min(seen, SIZES_KEPT)), count) }
      const size = sizeOf(callRow[CALL_AT.promptTokens] as number, callRow[CALL_AT.predictedOutputTokens] as number)
      let interval = 0
      while (interval < fitted.cuts.length && size > (fitted.cuts[interval] as number)) interval++
      for (let i = 0; i < count; i++) costs[i] = fitted.cuts.length === 0 ? 0 : Math.abs(i - interval)
    },
    {
      onPlaced: (_instance, _call, { promptTokens, predictedOutputTokens }) => {
        sizes[seen++ % SIZES_KEPT] = sizeOf(promptTokens, predictedOutputTokens)
      },
    },
  )
}

/** The `count` − 1 sizes that cut the given ones into parts of equal sum; none where there is nothing to cut. Sorts `sizes`. */
export function cutEqualWork(sizes: Float64Array, count: number): Float64Array {
  if (sizes.length === 0) return new Float64Array(0)
  sizes.sort()
  let total = 0
  for (const size of sizes) total += size
  const cuts = new Float64Array(count - 1)
  let done = 0
  let cut = 0
  for (const size of sizes) {
    done += size
    while (cut < cuts.length && done >= (total * (cut + 1)) / count) cuts[cut++] = size
  }
  return cuts
}

function sizeOf(promptTokens: number, predictedOutputTokens: number): number {
  return promptTokens + (Number.isNaN(predictedOutputTokens) ? UNPREDICTED_OUTPUT_TOKENS : predictedOutputTokens)
}
