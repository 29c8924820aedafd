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
 * Calls believed to wait in the instance. Streamed calls without a first token bound it from above at once, and so do those that waited at the scrape with all
 * dispatched since; the lower one counts. Whole answers show no first token, so that of them only the scrape's own count tells; without a scrape
 * they are taken to run.
 *   min(streams awaiting, scraped + since), at least what the scrape says now, at most all that are unanswered or foreign
 */
export function believedWaiting({ ledger, scrape }: InstanceView): number {
  const streams = ledger.awaitingFirstToken - ledger.awaitingWhole
  const { waiting, waitingMost, foreignInFlight } = scrape
  if (Number.isNaN(waiting)) return streams
  const unanswered = ledger.awaitingFirstToken + (Number.isNaN(foreignInFlight) ? 0 : foreignInFlight)
  return Math.min(unanswered, Math.max(Math.min(streams, waitingMost), waiting))
}
