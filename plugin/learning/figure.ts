import type { NightConfig } from '../config-night.ts'
import { FEWER_LATE } from '../log/control/verdict-words.ts'
import { type Answer, isInTime, LIMITS, type Limits } from '../simulation/scenario/score.ts'

/** What arms are compared by, lower is better: mean E2E, or the share of calls that are late where the objective is calls in time. */
export interface Figure {
  readonly kind: NightConfig['objective']['kind']
  /** How a gain of it is said: "12 % lower mean E2E". */
  readonly words: string
  /** When a call counts as late. */
  readonly limits: Limits
  /** Of one whole answer. */
  of(answer: Answer): number
}

/**
 * Added to every call's lateness, in the search's objective too: where nearly none is late under either arm, there is nothing to be gained, and no ratio of two
 * rare things.
 */
export const LATE_SPARE = 0.01

/** The figure of a night's objective. */
export function figureOf({ kind, ttftMs, perTokenMs }: Omit<NightConfig['objective'], 'tailWeight'>): Figure {
  const limits = { ttftMs, perTokenMs }
  if (kind === 'latency') return { kind, words: 'lower mean E2E', limits, of: ({ e2eMs }) => e2eMs }
  return { kind, words: FEWER_LATE, limits, of: (answer) => LATE_SPARE + (isInTime(answer, limits) ? 0 : 1) }
}

export const MEAN_E2E: Figure = figureOf({ kind: 'latency', ...LIMITS })
