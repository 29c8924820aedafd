import type { InstanceView } from '../fleet/instance.ts'
import { type EngineShape, peakPrefillTokensPerMs } from '../impact/engine-shape.ts'
import { createArgmin } from './argmin.ts'
import { cell } from './cell.ts'
import { AT } from './features.ts'
import { InstanceMemory } from './instance-memory.ts'
import type { Policy } from './policy.ts'

/** Seconds that a KV cache half full weighs, as in the rule this reproduces. */
const KV_SECONDS = 0.15
/** k ÷ (1 − k) has no end: a cache beyond this counts as this full. */
const KV_RATIO_MAX = 0.999

/**
 * `least-load` (SGLang Model Gateway): argmin of (queued tokens at the last poll + dispatched since) ÷ throughput + 0.15 · k ÷ (1 − k) seconds, k = KV use at the
 * poll. Queued tokens are the ledger's prompts without a first token when a scrape is first seen; throughput is the instance's peak prefill rate.
 */
export function createLeastLoad(parts: { readonly shapeOf: (instance: InstanceView) => EngineShape }): Policy {
  const polls = new InstanceMemory(() => ({ takenMs: Number.NEGATIVE_INFINITY, queuedTokens: 0 }))
  return createArgmin(
    'least-load',
    (candidates, costs) => {
      const { count, instances, nowMs } = candidates
      for (let i = 0; i < count; i++) {
        const instance = instances[i] as InstanceView
        const poll = polls.of(instance)
        const takenMs = nowMs - cell(candidates, i, AT.scrapeAge)
        // A scrape seen before differs by rounding alone; where none tells anything, the ledger is all there is.
        if (!(takenMs <= poll.takenMs + 1)) {
          poll.takenMs = takenMs
          poll.queuedTokens = cell(candidates, i, AT.prefillTokensPending)
        }
        const kv = Math.min(KV_RATIO_MAX, cell(candidates, i, AT.kvUsage))
        const kvSeconds = Number.isNaN(kv) ? 0 : (KV_SECONDS * kv) / (1 - kv)
        costs[i] = poll.queuedTokens / (1_000 * peakPrefillTokensPerMs(parts.shapeOf(instance))) + kvSeconds
      }
    },
    {
      onPlaced: (instance, _call, { promptTokens }) => {
        polls.of(instance).queuedTokens += promptTokens
      },
    },
  )
}
