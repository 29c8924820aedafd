import { createArgmin, fillUnknown } from './argmin.ts'
import { cell } from './cell.ts'
import { AT } from './features.ts'
import type { Policy } from './policy.ts'

/** A waiting call counts as four running ones, as in vLLM's data-parallel load balancer. */
const WAITING_WEIGHT = 4

/** `vllm-dp`: argmin of 4 · waiting + running, by the scrape and what was dispatched since. */
export function createVllmDp(): Policy {
  return createArgmin('vllm-dp', (candidates, costs) => {
    for (let i = 0; i < candidates.count; i++) costs[i] = WAITING_WEIGHT * cell(candidates, i, AT.waiting) + cell(candidates, i, AT.running)
    fillUnknown(candidates.count, costs)
  })
}
