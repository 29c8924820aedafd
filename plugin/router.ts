import type { Call } from './call/call.ts'
import type { InstanceView } from './fleet/instance.ts'
import type { Outcome } from './outcome/outcome.ts'
import type { Placement } from './placement/policy.ts'

export type { InstanceView, Placement }

/** The loop: `place(call)` gives a ticket, `ticket.settle(outcome)` ends it. Gateways know nothing more of placement. */
export interface Router {
  /**
   * Places one call. Later than at once only where the call is held. Throws PlacementError when the model is unknown or no instance may
   * take the call; anything else that breaks inside is answered by the fallback policy and counted.
   */
  place(call: Call, options: PlaceOptions): Promise<Ticket>
  /** What `place` would decide now, without a trace in ledger, log or the dice of real calls. Throws PlacementError as `place` does. */
  preview(call: Call, options: PlaceOptions): Preview
  /** Pool that serves this model name or alias; undefined when none does. */
  poolFor(model: string): PoolFacts | undefined
  /** Union of the model names served, for /v1/models. */
  models(): readonly { readonly id: string; readonly pool: string }[]
  /** Can place: at least one instance of at least one pool may take calls. */
  ready(): boolean
}

export interface PoolFacts {
  readonly name: string
  /** The model name to send to the instance, where the caller used an alias. */
  readonly upstreamModel: string
  /** Ask the instance for usage on streams and take the extra chunk out again. */
  readonly requestUsage: boolean
  /** `x-virtual-*` headers may be forwarded: the pool's instances are virtual ones. */
  readonly virtual: boolean
}

export interface PlaceOptions {
  /** Which door: 'openai', 'envoy', 'litellm', 'api'. */
  readonly gateway: string
  /** Monotonic time of arrival, ms; now when absent. */
  readonly arrivedMs?: number
  /** Aborted when the caller leaves; frees a hold. */
  readonly signal?: AbortSignal
  /** Only instances whose "host:port" is in here may take the call. */
  readonly subset?: readonly string[]
  /** The gateway does not see the answer pass by, only its end: silence then tells nothing of the instance. */
  readonly unwatched?: true
  /** The gateway sends the call to one of the subset in any case: where none may take it, the best of those that may not. */
  readonly insists?: true
}

/** What is expected of a call on the instance chosen, from its recent calls; absent where nothing is known. */
export interface Expected {
  readonly promptTokens: number
  readonly outputTokens?: number
  readonly ttftMs?: number
  readonly e2eMs?: number
}

/** A decision that nobody obeys. */
export interface Preview {
  readonly pool: PoolFacts
  readonly placement: Placement
  readonly expected: Expected
  /** What was known of the call, by column name; NaN is unknown. */
  readonly callFeatures: Features
  /** The candidates as the policy saw them, the chosen first and the runner-up second; at most as many as the log keeps. */
  readonly weighed: readonly Weighed[]
}

/** Values by column name (placement/features.ts); NaN is unknown. */
export type Features = Readonly<Record<string, number>>

/** One candidate of a decision. `cost` is what the policy minimises, NaN where it weighs nothing. */
export interface Weighed {
  readonly instance: string
  readonly cost: number
  readonly features: Features
}

export interface Ticket {
  readonly call: Call
  readonly pool: PoolFacts
  readonly placement: Placement
  /** The instance of the current attempt. */
  readonly instance: InstanceView
  /** To be sent as the request field `priority`, lower first, where the pool's engine schedules by priority. */
  readonly enginePriority?: number | undefined
  readonly expected: Expected
  /** The response's first token came. Moves the call from prefill to decode in the ledger. `nowMs` is the monotonic clock. */
  firstToken(nowMs: number): void
  /** Tokens produced so far in total; cheap, call it per chunk. Also tells that the instance is alive. */
  progress(outputTokens: number, nowMs: number): void
  /**
   * The current attempt failed before any byte reached the caller. Gives the next instance to try and books the call there, or
   * undefined when fallbacks, the per-call limit or the retry budget are used up: then settle.
   */
  retry(failure: AttemptFailure, again?: Again): InstanceView | undefined
  /**
   * The gateway sent the current attempt to another endpoint than placed: the booking moves there, and nothing is held against the instance
   * that was left. False where no instance has that endpoint.
   */
  servedBy(endpoint: string): boolean
  /** Called when the instance makes no progress for longer than it explains (hung): abort the attempt, then retry or settle. */
  onStalled(abort: () => void): void
  /** Ends the call: once. A second settle throws (I2). */
  settle(outcome: Outcome): void
}

/** A further attempt that the gateway itself decided on. */
export interface Again {
  /** Only instances whose "host:port" is in here. */
  readonly subset?: readonly string[]
  /** It will try again in any case: neither limit nor budget stops it, and an instance tried before is better than none. */
  readonly insists: boolean
}

export interface AttemptFailure {
  /** 'full' (503 by queue limit, 429) is not broken: no ejection. */
  readonly kind: 'connect' | 'reset' | 'full' | 'status' | 'aborted' | 'stalled' | 'timed out'
  readonly status?: number
  readonly error: string
}

/** Why no placement was possible; gateways render it in their API's own error shape. */
export class PlacementError extends Error {
  readonly kind: 'unknown model' | 'no instance' | 'subset empty' | 'shed' | 'client gone'
  /** When trying again may work, in ms. */
  readonly retryAfterMs: number | undefined
  constructor(kind: PlacementError['kind'], message: string, retryAfterMs?: number) {
    super(message)
    this.name = 'PlacementError'
    this.kind = kind
    this.retryAfterMs = retryAfterMs
  }
}
