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

/** Takes from an outcome what estimates of later calls need. A broken estimator costs accuracy, never the call. */
export function learn(parts: Pick<RouterParts, 'tokens' | 'lengths' | 'events'>, ticket: LiveTicket, outcome: Outcome): void {
  try {
    const pool = ticket.pool.name
    // An attempt at another pool, by a gateway's own fallback, tells nothing of this one's tokeniser and lengths.
    if (ticket.instance.pool !== pool) return
    if (outcome.tokensFrom === 'usage' && outcome.promptTokens) parts.tokens.learn(pool, ticket.call, outcome.promptTokens)
    const { outputTokens, censored } = outcome
    // Of an answer that an instance or a caller broke off it is known that it would have been longer; of one without tokens, nothing.
    if (outputTokens !== undefined && (outcome.kind === 'completed' || outputTokens > 0))
      parts.lengths.learn(pool, ticket.call, { outputTokens, censored }, ticket.input.known.prediction)
  } catch {
    parts.events.count('learning from an outcome failed')
  }
}
