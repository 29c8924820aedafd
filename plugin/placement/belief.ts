import type { InstanceView } from '../fleet/instance.ts'

/** KV tokens that the instance holds at most, as its scrape tells; NaN unknown. */
export function kvCapacityTokens({ scrape }: InstanceView): number {
  return scrape.kvBlocks * scrape.kvBlockTokens
}

/** KV tokens in use once all calls in flight are prefilled: prompts and output so far by the ledger, corrected by what the last scrape showed beyond it. */
export function believedKvTokens({ ledger, scrape }: InstanceView): number {
  const unseen = scrape.kvTokensUnseen
  return Math.max(0, ledger.promptTokens + ledger.outputTokensDone + (Number.isNaN(unseen) ? 0 : unseen))
}

/**
 * Calls believed to wait in the instance. Two bounds from above, the lower one counts: the ledger's calls without a first token and the foreign ones;
 * and those that waited at the scrape with all dispatched since. The first is immediate, the second sees through whole answers, which
 * show no first token.
 */
export function believedWaiting({ ledger, scrape }: InstanceView): number {
  const foreign = scrape.foreignInFlight
  const unanswered = ledger.awaitingFirstToken + (Number.isNaN(foreign) ? 0 : foreign)
  const most = scrape.waitingMost
  return Number.isNaN(most) ? unanswered : Math.min(unanswered, most)
}
