import type { Outcome } from './outcome/outcome.ts'
import type { Policy } from './placement/policy.ts'
import type { RouterParts } from './router-place.ts'
import type { LiveTicket } from './router-ticket.ts'

/** A policy that keeps state learns how its choice ended, in the instance's own time: what passed before its placement is taken off. */
export function tellPolicy(
  { clock, events }: Pick<RouterParts, 'clock' | 'events'>,
  policy: Policy | undefined,
  ticket: LiveTicket,
  outcome: Outcome,
): void {
  if (!policy?.onSettled) return
  const { decision, decisionRow, known } = ticket.input
  try {
    policy.onSettled(decision.instance, ticket.call, {
      nowMs: clock.nowMs(),
      completed: outcome.kind === 'completed' && ticket.attempts.length === 1,
      ttftMs: (outcome.ttftMs ?? Number.NaN) - decisionRow.placedMs,
      tpotMs: outcome.tpotMs ?? Number.NaN,
      e2eMs: outcome.e2eMs - decisionRow.placedMs,
      promptTokens: outcome.promptTokens ?? known.promptTokens,
      outputTokens: outcome.outputTokens ?? Number.NaN,
    })
  } catch {
    events.count('policy failed to take an outcome in')
  }
}
