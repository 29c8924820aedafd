import type { HeldCall } from './rule.ts'

/** Time constant of the start rate: some dozens of starts at any load worth holding at, and short against a minute's overload. Chosen. */
const MEMORY_MS = 20_000

/**
 * How long a call that comes now would wait if all were served in turn: tokens that wait ÷ tokens that were started per ms of late (Little, 1961, in
 * tokens instead of calls, since an order by size leaves the large ones waiting). 0 while nobody waits or nothing was started yet.
 */
export class Backlog {
  #heldTokens = 0
  #started = 0
  #countedMs = Number.NaN
  #sinceMs = Number.NaN

  joined(tokens: number): void {
    this.#heldTokens += tokens
  }

  left(tokens: number): void {
    this.#heldTokens = Math.max(0, this.#heldTokens - tokens)
  }

  started(tokens: number, nowMs: number): void {
    if (Number.isNaN(this.#sinceMs)) this.#sinceMs = this.#countedMs = nowMs
    this.#started = this.#started * Math.exp((this.#countedMs - nowMs) / MEMORY_MS) + tokens
    this.#countedMs = nowMs
  }

  waitMs(nowMs: number): number {
    if (this.#heldTokens === 0 || !(this.#started > 0)) return 0
    // The rate is a mean over the memory, or over all that has passed where that is less; half a second at least.
    const windowMs = Math.max(500, MEMORY_MS * (1 - Math.exp((this.#sinceMs - nowMs) / MEMORY_MS)))
    const now = this.#started * Math.exp((this.#countedMs - nowMs) / MEMORY_MS)
    return (this.#heldTokens * windowMs) / Math.max(1, now)
  }
}

/** Output taken for granted where nobody predicted it, as in the rules. */
const UNPREDICTED_OUTPUT_TOKENS = 256

/** Tokens that a held call is the work of. */
export function tokensOf({ promptTokens, predictedOutputTokens }: HeldCall): number {
  return promptTokens + (predictedOutputTokens > 0 ? predictedOutputTokens : UNPREDICTED_OUTPUT_TOKENS)
}
