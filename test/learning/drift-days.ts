import { firstIdAt } from '../../plugin/call/id.ts'
import type { CallRow } from '../../plugin/log/rows.ts'
import { createRng } from '../../plugin/rng.ts'
import { callRow } from '../log/row.ts'

const DAY_MS = 86_400_000
const A_DAY = 700

/** Calls of whole days from `firstUnixMs` on; each number says how many times longer than predicted that day's calls took. */
export function driftDays(firstUnixMs: number, factors: readonly number[]): CallRow[] {
  const rng = createRng(4)
  return factors.flatMap((factor, day) =>
    Array.from({ length: A_DAY }, (_, i) => {
      const arrivedUnixMs = firstUnixMs + day * DAY_MS + Math.floor(((i + 0.5) * DAY_MS) / A_DAY)
      const row = callRow(i)
      const e2eMs = 1_000 * factor * Math.exp(0.2 * rng.normal())
      return {
        ...row,
        call: { ...row.call, callId: firstIdAt(arrivedUnixMs), arrivedUnixMs },
        decision: { ...row.decision, placedMs: 0, predictedE2eMs: 1_000, predictedOutputTokens: 100 },
        attempts: [],
        outcome: {
          ...row.outcome,
          kind: 'completed' as const,
          e2eMs,
          outputTokens: Math.round(100 * Math.exp(0.3 * rng.normal())),
          censored: false,
        },
      }
    }),
  )
}
