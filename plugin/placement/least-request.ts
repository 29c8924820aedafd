import { createArgmin } from './argmin.ts'
import { AT, CANDIDATE_COLUMNS } from './features.ts'
import type { Policy } from './policy.ts'

/** `least-request` (join the shortest queue): argmin of calls in flight by the ledger, ties at random. */
export function createLeastRequest(): Policy {
  return createArgmin('least-request', ({ count, rows }, costs) => {
    for (let i = 0; i < count; i++) costs[i] = rows[i * CANDIDATE_COLUMNS.length + AT.inFlight] as number
  })
}

/**
 * `least-request-speed`: calls in flight, this one included, divided by the instance's speed times the operator's weight. Counting the call
 * itself sends the first call of an idle fleet to the fastest instance instead of to any.
 */
export function createLeastRequestSpeed(): Policy {
  return createArgmin('least-request-speed', ({ count, rows }, costs) => {
    for (let i = 0; i < count; i++) {
      const at = i * CANDIDATE_COLUMNS.length
      costs[i] = ((rows[at + AT.inFlight] as number) + 1) / ((rows[at + AT.speed] as number) * (rows[at + AT.weight] as number))
    }
  })
}
