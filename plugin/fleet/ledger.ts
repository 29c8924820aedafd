import type { DispatchView, LedgerView } from './instance.ts'

/** The prediction behind a call's expected length, which may change its mind while the answer grows. */
export interface OutputOutlook {
  /** Mean tokens still to come once `outputTokens` have come and the answer has not ended; 0 where no more were thought possible. */
  remaining(outputTokens: number): number
}

/** The outlook is asked again each time an answer has grown by this share: within one of its log-spaced buckets it hardly changes. */
const OUTLOOK_GROWTH = 1.25

/** What the router knows of a call at the moment it is dispatched to an instance. Tokens are rounded up to whole ones. */
export interface DispatchEntry {
  readonly callId: number
  /** Prompt tokens, the estimate; ≥ 0. */
  readonly promptTokens: number
  /** The part of the prompt that the instance has to compute; all of it by default. */
  readonly uncachedPromptTokens?: number
  /** Absent where nobody predicted: such a call adds nothing to `outputTokensLeft` and is counted in `unpredicted`. */
  readonly predictedOutputTokens?: number
  /** What is left to come of the answer, asked again as it grows; absent: always predicted − produced. */
  readonly outlook?: OutputOutlook
  /** The answer is streamed, so that a silent stream tells something; a whole answer is silent until its end. */
  readonly stream: boolean
}

/** One dispatch in flight. The ledger that made it owns it; everybody else only reads. */
export interface Dispatch extends DispatchView {
  readonly callId: number
  /** Uncached prompt tokens that were waiting at the instance when this call joined, its own included. */
  readonly prefillTokensAhead: number
  /** When the instance last showed a sign of this call: its dispatch, its first token, its last chunk. */
  readonly lastSignMs: number
  readonly open: boolean
  readonly outlook: OutputOutlook | undefined
  /** Produced tokens at which the outlook is asked next. */
  readonly askedAgainTokens: number
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

/**
 * What this router dispatched to one instance and has not seen end: exact after any interleaving, because every sum is of whole
 * tokens and every dispatch is taken out with the same numbers that it was put in with (I1, I2, I12). Every operation is O(1).
 */
export class Ledger implements LedgerView {
  readonly #open = new Set<Writable<Dispatch>>()
  #prefillTokensPending = 0
  #promptTokens = 0
  #outputTokensLeft = 0
  #outputTokensDone = 0
  #placed = 0
  #unpredicted = 0
  #awaitingFirstToken = 0
  #awaitingWhole = 0
  #lastSignMs = Number.NEGATIVE_INFINITY

  get inFlight(): number {
    return this.#open.size
  }
  get prefillTokensPending(): number {
    return this.#prefillTokensPending
  }
  get promptTokens(): number {
    return this.#promptTokens
  }
  get outputTokensLeft(): number {
    return this.#outputTokensLeft
  }
  get outputTokensDone(): number {
    return this.#outputTokensDone
  }
  get placed(): number {
    return this.#placed
  }
  get awaitingFirstToken(): number {
    return this.#awaitingFirstToken
  }
  get awaitingWhole(): number {
    return this.#awaitingWhole
  }
  /** Dispatches since process start that have ended: `placed − inFlight`. */
  get ended(): number {
    return this.#placed - this.#open.size
  }
  /** Calls in flight whose output nobody predicted; they add nothing to `outputTokensLeft`. */
  get unpredicted(): number {
    return this.#unpredicted
  }
  /** When any call last got a token from the instance; −Infinity before the first. */
  get lastSignMs(): number {
    return this.#lastSignMs
  }
  /** The calls in flight, oldest dispatch first. */
  open(): Iterable<Dispatch> {
    return this.#open
  }

  /** Books a call. Throws where its tokens are no numbers ≥ 0: one NaN would poison every sum for good. */
  dispatch(entry: DispatchEntry, nowMs: number): Dispatch {
    const promptTokens = wholeTokens(entry.promptTokens, 'promptTokens')
    const uncached = wholeTokens(entry.uncachedPromptTokens ?? promptTokens, 'uncachedPromptTokens')
    const predicted = entry.predictedOutputTokens
    const predictedOutputTokens = predicted === undefined ? Number.NaN : wholeTokens(predicted, 'predictedOutputTokens')
    this.#placed++
    this.#promptTokens += promptTokens
    this.#prefillTokensPending += uncached
    this.#awaitingFirstToken++
    if (!entry.stream) this.#awaitingWhole++
    if (predicted === undefined) this.#unpredicted++
    else this.#outputTokensLeft += predictedOutputTokens
    const dispatch: Writable<Dispatch> = {
      callId: entry.callId,
      stream: entry.stream,
      promptTokens,
      uncachedPromptTokens: uncached,
      predictedOutputTokens,
      prefillTokensAhead: this.#prefillTokensPending,
      dispatchedMs: nowMs,
      firstTokenMs: Number.NaN,
      lastSignMs: nowMs,
      outputTokens: 0,
      open: true,
      outlook: entry.outlook,
      askedAgainTokens: entry.outlook ? 1 : Number.POSITIVE_INFINITY,
    }
    this.#open.add(dispatch)
    return dispatch
  }

  /** The first token came: the prompt is prefilled. False where that was known, or the dispatch ended (a late chunk). */
  firstToken(dispatch: Dispatch, nowMs: number): boolean {
    if (!dispatch.open || !Number.isNaN(dispatch.firstTokenMs)) return false
    const own = this.#own(dispatch)
    own.firstTokenMs = nowMs
    own.lastSignMs = nowMs
    this.#lastSignMs = nowMs
    this.#prefillTokensPending -= own.uncachedPromptTokens
    this.#awaitingFirstToken--
    if (!own.stream) this.#awaitingWhole--
    return true
  }

  /** `outputTokens` have been produced in total. Counts that do not grow are a sign of life and change no sum. */
  progress(dispatch: Dispatch, outputTokens: number, nowMs: number): void {
    if (!dispatch.open) return
    this.firstToken(dispatch, nowMs)
    const own = this.#own(dispatch)
    own.lastSignMs = nowMs
    this.#lastSignMs = nowMs
    const produced = Math.floor(outputTokens)
    if (!(produced > own.outputTokens)) return
    if (!Number.isNaN(own.predictedOutputTokens)) {
      const leftBefore = leftOf(own.predictedOutputTokens, own.outputTokens)
      if (produced >= own.askedAgainTokens) askAgain(own, produced)
      this.#outputTokensLeft += leftOf(own.predictedOutputTokens, produced) - leftBefore
    }
    this.#outputTokensDone += produced - own.outputTokens
    own.outputTokens = produced
  }

  /** Takes an ended call out. Throws the second time (I2). */
  release(dispatch: Dispatch): void {
    const own = this.#own(dispatch)
    this.#open.delete(own)
    own.open = false
    this.#promptTokens -= own.promptTokens
    this.#outputTokensDone -= own.outputTokens
    if (Number.isNaN(own.firstTokenMs)) {
      this.#prefillTokensPending -= own.uncachedPromptTokens
      this.#awaitingFirstToken--
      if (!own.stream) this.#awaitingWhole--
    }
    if (!Number.isNaN(own.predictedOutputTokens)) {
      this.#outputTokensLeft -= leftOf(own.predictedOutputTokens, own.outputTokens)
    } else this.#unpredicted--
  }

  #own(dispatch: Dispatch): Writable<Dispatch> {
    if (!this.#open.has(dispatch)) {
      throw new Error(`call ${dispatch.callId} is not in this ledger: ${dispatch.open ? "another instance's" : 'it was released before'}`)
    }
    return dispatch
  }
}

function askAgain(own: Writable<Dispatch>, produced: number): void {
  own.askedAgainTokens = nextAskedTokens(produced)
  if (own.outlook) own.predictedOutputTokens = expectedTokens(own.outlook, produced) ?? own.predictedOutputTokens
}

/** Produced tokens at which an outlook is asked again after `outputTokens`. */
export function nextAskedTokens(outputTokens: number): number {
  return Math.ceil(outputTokens * OUTLOOK_GROWTH)
}

/** What an answer that has come this far is expected to become, whole tokens; undefined where the outlook gives no number. Long answers turn out longer than first said. */
export function expectedTokens(outlook: OutputOutlook, outputTokens: number): number | undefined {
  const left = outlook.remaining(outputTokens)
  return left >= 0 && left <= Number.MAX_SAFE_INTEGER ? outputTokens + Math.ceil(left) : undefined
}

function leftOf(predictedOutputTokens: number, outputTokens: number): number {
  return Math.max(0, predictedOutputTokens - outputTokens)
}

function wholeTokens(tokens: number, what: string): number {
  if (!(tokens >= 0 && tokens <= Number.MAX_SAFE_INTEGER)) throw new Error(`${what} must be a number ≥ 0, got ${tokens}`)
  return Math.ceil(tokens)
}
