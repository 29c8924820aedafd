import type { CallEnd, SimulationTotals } from '../fleet/simulation-options.ts'

/** What one run of one arm came to. Times in ms; only calls answered whole count in latencies. */
export interface Score {
  readonly calls: number
  readonly meanE2eMs: number
  readonly p50E2eMs: number
  readonly p95E2eMs: number
  readonly p99E2eMs: number
  readonly meanTtftMs: number
  readonly p50TtftMs: number
  readonly p95TtftMs: number
  readonly p99TtftMs: number
  /** Mean of the calls' own, of those with two tokens at least. */
  readonly meanTpotMs: number
  /** Mean and 99th percentile of the time a call was held. */
  readonly meanHeldMs: number
  readonly p99HeldMs: number
  readonly makespanMs: number
  readonly tokensPerS: number
  /** Calls without a whole answer. */
  readonly lost: number
  /** Share of all calls answered whole within both limits, 0..1. */
  readonly withinLimits: number
  readonly preemptions: number
  readonly prefixHitRatio: number
  /** Share of the calls by instance, in fleet order. */
  readonly shares: readonly number[]
}

/** When a call counts as served in time: its first token, and its last by the tokens it has. Common figures of interactive service. */
export interface Limits {
  readonly ttftMs: number
  readonly perTokenMs: number
}

export const LIMITS: Limits = { ttftMs: 2_000, perTokenMs: 100 }

/** A whole answer as its caller saw it, from arrival on. */
export interface Answer {
  /** Null where the caller saw no token before the end. */
  readonly ttftMs: number | null
  readonly e2eMs: number
  readonly outputTokens: number
}

/** Within both limits. */
export function isInTime({ ttftMs, e2eMs, outputTokens }: Answer, limits: Limits): boolean {
  return (ttftMs ?? 0) <= limits.ttftMs && e2eMs <= limits.ttftMs + limits.perTokenMs * outputTokens
}

/** Collects the ends of one run. */
export class ScoreSheet {
  readonly #e2eMs: number[] = []
  readonly #ttftMs: number[] = []
  readonly #heldMs: number[] = []
  readonly #byInstance: number[]
  #tpotSumMs = 0
  #tpotCount = 0
  #tokens = 0
  #lost = 0
  #inTime = 0
  readonly #limits: Limits

  constructor(instances: number, limits: Limits = LIMITS) {
    this.#limits = limits
    this.#byInstance = Array.from({ length: instances }, () => 0)
  }

  add(end: CallEnd): void {
    if (end.ending !== 'completed') {
      this.#lost++
      return
    }
    const { outputTokens } = end
    const [ttftMs, e2eMs] = [end.firstTokenMs - end.arrivedMs, end.endedMs - end.arrivedMs]
    this.#e2eMs.push(e2eMs)
    this.#ttftMs.push(ttftMs)
    this.#heldMs.push(end.placedMs - end.arrivedMs)
    this.#byInstance[end.instance] = (this.#byInstance[end.instance] ?? 0) + 1
    this.#tokens += end.outputTokens
    if (isInTime({ ttftMs, e2eMs, outputTokens }, this.#limits)) this.#inTime++
    if (end.outputTokens < 2) return
    this.#tpotSumMs += (end.endedMs - end.firstTokenMs) / (end.outputTokens - 1)
    this.#tpotCount++
  }

  score(totals: SimulationTotals): Score {
    const e2e = Float64Array.from(this.#e2eMs).sort()
    const ttft = Float64Array.from(this.#ttftMs).sort()
    const held = Float64Array.from(this.#heldMs).sort()
    const answered = Math.max(1, e2e.length)
    return {
      calls: totals.arrived,
      meanE2eMs: meanOf(e2e),
      p50E2eMs: percentile(e2e, 0.5),
      p95E2eMs: percentile(e2e, 0.95),
      p99E2eMs: percentile(e2e, 0.99),
      meanTtftMs: meanOf(ttft),
      p50TtftMs: percentile(ttft, 0.5),
      p95TtftMs: percentile(ttft, 0.95),
      p99TtftMs: percentile(ttft, 0.99),
      meanTpotMs: this.#tpotSumMs / Math.max(1, this.#tpotCount),
      meanHeldMs: meanOf(held),
      p99HeldMs: percentile(held, 0.99),
      makespanMs: totals.endedMs,
      tokensPerS: (1000 * this.#tokens) / totals.endedMs,
      lost: this.#lost,
      withinLimits: this.#inTime / Math.max(1, totals.arrived),
      preemptions: totals.preemptions,
      prefixHitRatio: totals.prefixQueryTokens > 0 ? totals.prefixHitTokens / totals.prefixQueryTokens : 0,
      shares: this.#byInstance.map((calls) => calls / answered),
    }
  }
}

/** Nearest-rank percentile of sorted values; NaN of none. */
export function percentile(sorted: ArrayLike<number>, share: number): number {
  return sorted.length === 0 ? Number.NaN : (sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] as number)
}

function meanOf(values: Float64Array): number {
  let sum = 0
  for (const value of values) sum += value
  return sum / values.length
}
