import { createArgmin } from './argmin.ts'
import { cell } from './cell.ts'
import { AT } from './features.ts'
import type { Policy } from './policy.ts'

/**
 * `least-kv`: argmin of the believed share of KV memory in use once all calls in flight are prefilled; of the believed tokens where some capacity
 * is unknown.
 */
export function createLeastKv(): Policy {
  return createArgmin('least-kv', (candidates, costs) => {
    const { count } = candidates
    let known = true
    for (let i = 0; i < count; i++) known &&= cell(candidates, i, AT.kvTokensCapacity) > 0
    for (let i = 0; i < count; i++) {
      const tokens = cell(candidates, i, AT.kvTokensBelieved)
      costs[i] = known ? tokens / cell(candidates, i, AT.kvTokensCapacity) : tokens
    }
  })
}
