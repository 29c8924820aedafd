import type { Dispatch, Ledger } from './ledger.ts'
import type { StallOptions } from './options.ts'
import type { ScrapeState } from './scrape-state.ts'

/** What is known of one instance's pace and last signs of life. */
export interface Pace {
  readonly ledger: Ledger
  readonly scrape: ScrapeState
  /** Recent means, NaN unknown. */
  readonly ttftMs: number
  readonly tpotMs: number
  readonly prefillMsPerToken: number
}

/**
 * The calls of an instance that hangs, which /health does not tell. A call hangs when neither it, nor any other call of ours there, nor
 * the engine's own counters showed a sign for longer than the work explains: the prompts still to be computed, or the usual pace
 * times a patience. Counters that move say slow, not hung. Without a counter that moves with every step (none scraped, or an
 * engine that counts only ends) we are blind: the limit is longer, and a call that is not streamed is not judged at all.
 */
export function findStalled(pace: Pace, options: StallOptions, nowMs: number): readonly Dispatch[] {
  const blind = !pace.scrape.tellsSteps
  const limits = limitsOf(pace, options, blind)
  const signMs = Math.max(pace.ledger.lastSignMs, pace.scrape.movedMs)
  if (nowMs - signMs < Math.min(limits.firstTokenMs, limits.chunkMs)) return NONE
  let stalled: Dispatch[] | undefined
  for (const dispatch of pace.ledger.open()) {
    if (blind && !dispatch.stream) continue
    const limitMs = Number.isNaN(dispatch.firstTokenMs) ? limits.firstTokenMs : limits.chunkMs
    if (nowMs - Math.max(dispatch.lastSignMs, signMs) < limitMs) continue
    stalled ??= []
    stalled.push(dispatch)
  }
  return stalled ?? NONE
}

const NONE: readonly Dispatch[] = []

function limitsOf(pace: Pace, options: StallOptions, blind: boolean): { readonly firstTokenMs: number; readonly chunkMs: number } {
  const { patienceFactor, blindFactor } = options
  const perToken = Math.max(options.prefillMsPerToken, known(patienceFactor * pace.prefillMsPerToken))
  const prefillMs = pace.ledger.prefillTokensPending * perToken
  const firstTokenMs = Math.max(options.firstTokenFloorMs, prefillMs)
  const chunkMs = Math.max(options.chunkFloorMs, prefillMs, known(patienceFactor * pace.tpotMs))
  if (!blind) return { firstTokenMs, chunkMs }
  return { firstTokenMs: blindFactor * Math.max(firstTokenMs, known(patienceFactor * pace.ttftMs)), chunkMs: blindFactor * chunkMs }
}

function known(value: number): number {
  return Number.isNaN(value) ? 0 : value
}
