/** What the guard of a canary is told of one call when it is placed. */
export interface GuardedCall {
  readonly callId: number
  /** Who placed it; control's calls behind a challenger's block are 'washout': they count as load only (see `guardedArm`). */
  readonly arm: 'control' | 'challenger' | 'washout'
  /** Number of the block. */
  readonly block: number
  readonly nowMs: number
  readonly heldMs: number
  /** What the decision took, holding left out, ms. */
  readonly decisionMs: number
  readonly instance: string
  /** The arm's own policy failed and another one placed the call. */
  readonly fellBack: boolean
  readonly promptTokens: number
  /** NaN unknown. */
  readonly predictedOutputTokens: number
}

/** A call as the guard keeps it. */
export interface KeptCall extends GuardedCall {
  readonly arrivedMs: number
  /** What is expected of it depends on these alone; see `OfferedLoad`. */
  readonly row: Float64Array
  /** How long the challenger had served when it was placed, what lay between its blocks left out, ms. */
  readonly servedMs: number
  firstTokenMs: number
  endedMs: number
  ok: boolean
}

/** Memory of the usual rate of work, ms. Chosen: longer than any block. */
const USUAL_MEMORY_MS = 600_000
/** How long the queues that a block inherits are felt, ms. Chosen. */
const INHERITED_MEMORY_MS = 60_000
const UNKNOWN_OUTPUT_TOKENS = 200
/** A prompt token costs about a tenth of an output token on the shipped profiles at usual batch sizes. */
const PROMPT_SHARE = 0.1
/** Speeds of the imagined fleets, as multiples of the usual rate of work: their backlogs tell light load from heavy whatever the true capacity is. */
const SPEEDS = [1, 1.05, 1.12, 1.25, 1.6, 2.5, 5] as const
export const ROW_WIDTH = 4 + SPEEDS.length

/**
 * Follows the load that callers offer, which no arm can change, as the backlogs of imagined fleets of several speeds that all of it is fed to; and the queues a
 * block found when it began, which its arm has not caused. At equal rows calls of both arms are comparable.
 */
export class OfferedLoad {
  readonly #backlogs = new Float64Array(SPEEDS.length)
  /** Work per ms, and the time that it is known for. */
  #usual = 0
  #knownMs = 0
  #atMs = Number.NaN
  #block = Number.NaN
  #blockMs = 0
  #inherited = 0

  /** Features of a call that is placed now with `inFlight` others on the fleet. */
  rowOf(call: GuardedCall, inFlight: number): Float64Array {
    const output = Number.isNaN(call.predictedOutputTokens) ? UNKNOWN_OUTPUT_TOKENS : Math.max(1, call.predictedOutputTokens)
    const work = output + PROMPT_SHARE * call.promptTokens
    const passedMs = Number.isNaN(this.#atMs) ? 0 : Math.max(0, call.nowMs - this.#atMs)
    this.#atMs = call.nowMs
    this.#remember(work, passedMs)
    if (call.block !== this.#block) {
      this.#block = call.block
      this.#blockMs = call.nowMs
      this.#inherited = Math.log1p(inFlight)
    }
    const row = new Float64Array(ROW_WIDTH)
    row[0] = 1
    row[1] = Math.log(output) - 5
    row[2] = Math.log1p(call.promptTokens) - 5
    row[3] = this.#inherited * Math.exp(-(call.nowMs - this.#blockMs) / INHERITED_MEMORY_MS)
    SPEEDS.forEach((speed, k) => {
      const rate = speed * this.#usual
      const backlog = Math.max(0, (this.#backlogs[k] as number) - rate * passedMs) + work
      this.#backlogs[k] = backlog
      row[4 + k] = rate > 0 ? Math.log1p(backlog / rate / 1_000) : 0
    })
    return row
  }

  #remember(work: number, passedMs: number): void {
    this.#knownMs += passedMs
    const memoryMs = Math.max(1_000, Math.min(USUAL_MEMORY_MS, this.#knownMs))
    this.#usual += work / memoryMs - this.#usual * (1 - Math.exp(-passedMs / memoryMs))
  }
}
