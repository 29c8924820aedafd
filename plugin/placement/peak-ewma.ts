import { createArgmin } from './argmin.ts'
import { cell } from './cell.ts'
import { AT } from './features.ts'
import { InstanceMemory } from './instance-memory.ts'
import type { Policy } from './policy.ts'

/** Finagle's default decay. */
const DECAY_MS = 10_000

/**
 * `peak-ewma` (Finagle, Kong): a peak-sensitive moving average of the time per output token × (in flight + 1), argmin. A sample above the average replaces
 * it at once; below, it pulls it down by 1 − e^(−Δt/10 s); without samples it decays towards 0, so that a slow instance is tried again. One that never
 * answered counts as 0.
 */
export function createPeakEwma(): Policy {
  const averages = new InstanceMemory(() => ({ msPerToken: 0, atMs: Number.NEGATIVE_INFINITY }))
  return createArgmin(
    'peak-ewma',
    (candidates, costs) => {
      const { count, instances, nowMs } = candidates
      for (let i = 0; i < count; i++) {
        const { msPerToken, atMs } = averages.of(instances[i])
        costs[i] = msPerToken * Math.exp(-(nowMs - atMs) / DECAY_MS) * (cell(candidates, i, AT.inFlight) + 1)
      }
    },
    {
      onSettled: (instance, _call, { completed, nowMs, e2eMs, outputTokens }) => {
        const sample = e2eMs / outputTokens
        if (!completed || !Number.isFinite(sample)) return
        const average = averages.of(instance)
        const kept = Math.exp(-(nowMs - average.atMs) / DECAY_MS)
        const decayed = average.msPerToken * kept
        average.msPerToken = sample > decayed ? sample : decayed + sample * (1 - kept)
        average.atMs = nowMs
      },
    },
  )
}
