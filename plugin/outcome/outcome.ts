/**
 * How a placed call ended. An outcome is not a boolean: who failed decides what is learned from it. 'unknown': a gateway that places by API
 * never told; nothing is learned.
 */
export type OutcomeKind = 'completed' | 'instance error' | 'client gone' | 'timed out' | 'unknown'

export interface Outcome {
  readonly kind: OutcomeKind
  /** HTTP status the instance answered with; undefined where none came. */
  readonly status?: number
  /** Short machine-readable cause for anything but 'completed', e.g. 'connect', 'reset', 'stalled', 'status 500', 'aborted', 'engine error'. */
  readonly error?: string
  /** From dispatch of the final attempt's call arrival to the first token, ms; undefined where no token came or none was streamed. */
  readonly ttftMs?: number
  /** Mean time per output token after the first, ms; undefined below two tokens. */
  readonly tpotMs?: number
  /** From arrival to the last byte, ms. */
  readonly e2eMs: number
  /** As the instance's usage tells; undefined where it told none. */
  readonly promptTokens?: number
  readonly cachedPromptTokens?: number
  /** From usage where told, else counted from the stream's chunks. */
  readonly outputTokens?: number
  /** 'usage' when the instance told, 'chunks' when counted. */
  readonly tokensFrom?: 'usage' | 'chunks'
  /** The length is cut (max_tokens reached, caller gone, error): a lower bound, not a length. */
  readonly censored: boolean
  readonly finishReason?: string
}
