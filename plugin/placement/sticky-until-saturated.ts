import type { InstanceView } from '../fleet/instance.ts'
import { type EngineShape, peakPrefillTokensPerMs } from '../impact/engine-shape.ts'
import { preferLeast } from './argmin.ts'
import { cell, uncachedTokens } from './cell.ts'
import { AT, CALL_AT } from './features.ts'
import type { Candidates, Policy } from './policy.ts'

/** A prefix match from here on makes an instance sticky, and it is left when its prefill backlog exceeds the others' by so much. */
const STICKY_RATIO = 0.8
const SATURATED_MS = 18_000
/**
 * A workload is prefill-bound when its mean prompt is so many times its mean output. Chosen: a decode step costs an instance about what ten prompt tokens
 * cost; Azure's code trace (73) is far above, its chat trace (5) below.
 */
const PREFILL_BOUND_FACTOR = 10
/** Weight of the newest call in both means. Chosen: an hour-to-hour change of workload, not a burst, turns the rule. */
const NEWEST_RATIO = 0.01

/**
 * `sticky-until-saturated` (llm-d, August 2026): keep the instances with a prefix match of 0.80 or more unless the time their in-flight uncached tokens take at peak
 * prefill rate exceeds the others' least by 18 s; among those kept, or all where none is, a prefill-bound workload takes the fewest uncached tokens in flight
 * with its own, a decode-bound one the fewest in flight. Others rank behind by a constant.
 */
export function createStickyUntilSaturated(parts: { readonly shapeOf: (instance: InstanceView) => EngineShape }): Policy {
  const means = { promptTokens: Number.NaN, outputTokens: Number.NaN }
  return {
    name: 'sticky-until-saturated',
    reason: 'lowest cost',
    distribute(candidates, _call, out) {
      const prefillBound = !(means.promptTokens <= PREFILL_BOUND_FACTOR * means.outputTokens)
      const own = candidates.callRow[CALL_AT.promptTokens] as number
      const kept = chooseSticky(candidates, parts.shapeOf)
      let most = 0
      for (let i = 0; i < candidates.count; i++) {
        const pending = cell(candidates, i, AT.prefillTokensPending) + uncachedTokens(own, cell(candidates, i, AT.prefixMatch))
        out.costs[i] = prefillBound ? pending : cell(candidates, i, AT.inFlight)
        most = Math.max(most, out.costs[i] as number)
      }
      if (kept) for (let i = 0; i < candidates.count; i++) if (!kept.has(i)) out.costs[i] = (out.costs[i] as number) + most + 1
      preferLeast(candidates.count, out)
    },
    onSettled: (_instance, _call, { completed, promptTokens, outputTokens }) => {
      if (!completed || Number.isNaN(outputTokens)) return
      means.promptTokens = follow(means.promptTokens, promptTokens)
      means.outputTokens = follow(means.outputTokens, outputTokens)
    },
  }
}

/** Indices of the instances to stay with; undefined where there is none. */
function chooseSticky(candidates: Candidates, shapeOf: (instance: InstanceView) => EngineShape): ReadonlySet<number> | undefined {
  const sticky: number[] = []
  const backlogMs = (i: number): number =>
    cell(candidates, i, AT.prefillTokensPending) / peakPrefillTokensPerMs(shapeOf(candidates.instances[i] as InstanceView))
  for (let i = 0; i < candidates.count; i++) if (cell(candidates, i, AT.prefixMatch) >= STICKY_RATIO) sticky.push(i)
  if (sticky.length === 0) return undefined
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < candidates.count; i++) least = Math.min(least, backlogMs(i))
  const kept = sticky.filter((i) => backlogMs(i) - least <= SATURATED_MS)
  return kept.length === 0 ? undefined : new Set(kept)
}

function follow(mean: number, sample: number): number {
  return Number.isNaN(mean) ? sample : mean + NEWEST_RATIO * (sample - mean)
}
