import type { Objective } from './policy-objective.ts'

/** What arms are compared by, lower is better: mean E2E, or the share of calls that are late where the objective is calls in time. */
export interface Figure {
  readonly kind: Objective['kind']
  /** How a gain of it is said: "12 % lower mean E2E". */
  readonly words: string
  /** When a call counts as late: its first token, and its last by its tokens on top. */
  readonly limits: { readonly ttftMs: number; readonly perTokenMs: number }
  /** Of one whole answer. */
  of(answer: Answer): number
}

export interface Answer {
  /** From arrival, ms; null where the caller saw none before the end. */
  readonly ttftMs: number | null
  readonly e2eMs: number
  readonly outputTokens: number
}

/**
 * Added to every call's lateness, as in the search's objective: where nearly none is late under either arm, there is nothing to be gained, and no ratio of two
 * rare things.
 */
export const LATE_SPARE = 0.01

/** The figure of an objective. */
export function figureOf({ kind, ttftLimitMs, perTokenLimitMs }: Pick<Objective, 'kind' | 'ttftLimitMs' | 'perTokenLimitMs'>): Figure {
  const limits = { ttftMs: ttftLimitMs, perTokenMs: perTokenLimitMs }
  if (kind === 'latency') return { kind, words: 'lower mean E2E', limits, of: ({ e2eMs }) => e2eMs }
  return {
    kind,
    words: 'fewer calls late',
    limits,
    of: ({ ttftMs, e2eMs, outputTokens }) =>
      LATE_SPARE + ((ttftMs ?? 0) > ttftLimitMs || e2eMs > ttftLimitMs + perTokenLimitMs * outputTokens ? 1 : 0),
  }
}
