import { createArgmin } from './argmin.ts'
import { InstanceMemory } from './instance-memory.ts'
import type { Policy } from './policy.ts'

/** LiteLLM keeps this many latencies per deployment, and calls those alike that are within this share of the lowest mean. */
const SAMPLES = 10
const BUFFER_RATIO = 0

/**
 * `litellm-latency`: random among the deployments whose mean of the last 10 latencies is within the buffer of the lowest. A latency is the time to the first
 * token where one was streamed, else the time per output token; one without samples counts as 0 and is tried first.
 */
export function createLitellmLatency(bufferRatio = BUFFER_RATIO): Policy {
  const latencies = new InstanceMemory(() => [] as number[])
  return createArgmin(
    'litellm-latency',
    ({ count, instances }, costs) => {
      let lowest = Number.POSITIVE_INFINITY
      for (let i = 0; i < count; i++) {
        const samples = latencies.of(instances[i])
        costs[i] = samples.length === 0 ? 0 : samples.reduce((a, b) => a + b) / samples.length
        lowest = Math.min(lowest, costs[i] as number)
      }
      for (let i = 0; i < count; i++) if ((costs[i] as number) <= lowest * (1 + bufferRatio)) costs[i] = lowest
    },
    {
      onSettled: (instance, _call, { completed, ttftMs, e2eMs, outputTokens }) => {
        const latencyMs = Number.isNaN(ttftMs) ? e2eMs / outputTokens : ttftMs
        if (!completed || !(latencyMs >= 0)) return
        const samples = latencies.of(instance)
        samples.push(latencyMs)
        if (samples.length > SAMPLES) samples.shift()
      },
    },
  )
}
