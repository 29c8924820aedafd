import type { Call } from '../call/call.ts'
import type { LengthDistribution } from './distribution.ts'
import type { Seen } from './learned-length.ts'

/** Where a prediction comes from; anything but 'model' and 'no answer text' is a fallback and counted. */
export type LengthSource = 'model' | 'application history' | 'pool history' | 'no answer text' | 'nothing known'

/** How long an answer will be, before it is written. */
export interface LengthPrediction {
  /** Mean output tokens; NaN where nothing is known yet. */
  readonly outputTokens: number
  readonly version: string
  /** The whole distribution, where there is one. */
  readonly distribution?: LengthDistribution
  readonly source?: LengthSource
  /** What the model saw and said, for the log and to learn from the answer; only where a model predicted. */
  readonly seen?: Seen
}

/** An answer that came; of a `censored` one it is only known that it would have been at least as long. */
export interface LengthAnswer {
  readonly outputTokens: number
  readonly censored: boolean
}

export interface LengthPredictor {
  /** `promptTokens` is the estimate known before placement. */
  predict(pool: string, call: Call, promptTokens?: number): LengthPrediction
  /** The answer to a call came; `prediction` is what was said of it. */
  learn(pool: string, call: Call, answer: LengthAnswer, prediction?: LengthPrediction): void
}
