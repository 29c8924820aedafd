import { LOGGED_CANDIDATES_MAX } from './features.ts'
import type { Candidates, Distribution } from './policy.ts'

/**
 * The order in which other candidates would be tried: least cost first, fewest in flight where the policy weighs nothing, at most `most` of them;
 * the first is the runner-up. O(count × most).
 */
export function rankOthers(parts: {
  readonly candidates: Candidates
  readonly out: Distribution
  readonly chosen: number
  readonly most: number
}): number[] {
  const { candidates, out, chosen, most } = parts
  const ranked: number[] = []
  const weigh = (i: number): number => {
    const cost = out.costs[i] as number
    return Number.isNaN(cost) ? (candidates.instances[i]?.ledger.inFlight ?? 0) : cost
  }
  for (let i = 0; i < candidates.count; i++) {
    if (i === chosen) continue
    let at = ranked.length
    while (at > 0 && weigh(ranked[at - 1] as number) > weigh(i)) at--
    if (at >= most) continue
    ranked.splice(at, 0, i)
    if (ranked.length > most) ranked.pop()
  }
  return ranked
}

/**
 * Which candidates are logged: all up to LOGGED_CANDIDATES_MAX; beyond, the chosen, the runner-up and a systematic sample of the rest. The chosen comes
 * first, the runner-up second. `offset` (any non-negative integer, e.g. the call id) shifts the sample from call to call.
 */
export function sampleLogged(count: number, chosen: number, runnerUp: number | undefined, offset: number): number[] {
  const picked = runnerUp === undefined ? [chosen] : [chosen, runnerUp]
  const rest = count - picked.length
  const wanted = Math.min(rest, LOGGED_CANDIDATES_MAX - picked.length)
  if (wanted <= 0) return picked
  const step = rest / wanted
  const start = rest > wanted ? offset % Math.ceil(step) : 0
  for (let k = 0; k < wanted; k++) {
    let index = Math.min(rest - 1, Math.floor(k * step) + start) % rest
    for (const taken of chosen < (runnerUp ?? -1) ? [chosen, runnerUp] : [runnerUp, chosen])
      if (taken !== undefined && index >= taken) index++
    picked.push(index)
  }
  return picked
}
