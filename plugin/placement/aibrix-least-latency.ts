import { createArgmin } from './argmin.ts'
import { InstanceMemory } from './instance-memory.ts'
import type { Policy } from './policy.ts'

/** Weight of the newest sample in every mean. Chosen: the means follow a change within some twenty calls, as a rate over a minute would. */
const NEWEST_RATIO = 0.05

/**
 * `aibrix-least-latency`: argmin of queue time + prefill per token · mean prompt + decode per token · mean output; the call's own length is ignored. A router
 * sees queue and prefill as one, the time to the first token, so that the first two terms are the instance's mean of it. An instance that
 * never answered counts as 0 and is tried first.
 */
export function createAibrixLeastLatency(): Policy {
  const means = new InstanceMemory(() => ({ ttftMs: Number.NaN, tpotMs: Number.NaN }))
  let outputTokensMean = Number.NaN
  return createArgmin(
    'aibrix-least-latency',
    ({ count, instances }, costs) => {
      for (let i = 0; i < count; i++) {
        const { ttftMs, tpotMs } = means.of(instances[i])
        costs[i] = known(ttftMs) + known(tpotMs) * known(outputTokensMean)
      }
    },
    {
      onSettled: (instance, _call, { completed, ttftMs, tpotMs, outputTokens }) => {
        if (!completed) return
        const own = means.of(instance)
        own.ttftMs = follow(own.ttftMs, ttftMs)
        own.tpotMs = follow(own.tpotMs, tpotMs)
        outputTokensMean = follow(outputTokensMean, outputTokens)
      },
    },
  )
}

function known(value: number): number {
  return Number.isNaN(value) ? 0 : value
}

function follow(mean: number, sample: number): number {
  if (Number.isNaN(sample)) return mean
  return Number.isNaN(mean) ? sample : mean + NEWEST_RATIO * (sample - mean)
}
