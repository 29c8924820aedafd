import type { Distribution, Policy } from './policy.ts'

/**
 * `obeyed` with another policy that is observed beside it: asked about every call, with its state, and nothing of what it says is followed. `count` is
 * told whether both want the same instance, so that an operator sees how much would change before anything does.
 */
export function createObserved(parts: {
  readonly obeyed: Policy
  readonly observed: Policy
  readonly count: (what: string) => void
}): Policy {
  const { obeyed, observed, count } = parts
  let scratch: Distribution = { costs: new Float64Array(64), probabilities: new Float64Array(64) }
  return {
    name: obeyed.name,
    reason: obeyed.reason,
    distribute(candidates, call, out) {
      obeyed.distribute(candidates, call, out)
      if (scratch.costs.length < candidates.count)
        scratch = { costs: new Float64Array(2 * candidates.count), probabilities: new Float64Array(2 * candidates.count) }
      try {
        observed.distribute(candidates, call, scratch)
        count(overlap(candidates.count, out, scratch) >= 0.5 ? 'observed policy agreed' : 'observed policy differed')
      } catch {
        count('observed policy failed')
      }
    },
    onPlaced(instance, call, placed) {
      obeyed.onPlaced?.(instance, call, placed)
      observed.onPlaced?.(instance, call, placed)
    },
    onSettled(instance, call, settled) {
      obeyed.onSettled?.(instance, call, settled)
      observed.onSettled?.(instance, call, settled)
    },
  }
}

/** How much of their probability two distributions have in common, 0 to 1: one less half the sum of the differences (total variation). */
function overlap(count: number, a: Distribution, b: Distribution): number {
  let shared = 0
  for (let i = 0; i < count; i++) shared += Math.min(a.probabilities[i] as number, b.probabilities[i] as number)
  return shared
}
