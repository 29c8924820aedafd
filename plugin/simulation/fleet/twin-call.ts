import type { Call } from '../../call/call.ts'
import type { OutputOutlook } from '../../fleet/ledger.ts'
import type { OutputSpan } from '../../placement/candidates.ts'
import type { TrueOutputTokens } from './truth.ts'

/** What a predictor says of a call. */
export interface PredictedLength {
  /** Mean output tokens, NaN where nothing is known. */
  readonly tokens: number
  /** Absent where only a mean is known. */
  readonly span?: OutputSpan
  /** What is left to come while the answer grows; absent: always mean − produced. */
  readonly outlook?: OutputOutlook
}

/** One call of a simulated workload: what arrives, what a predictor says of it, and, sealed, what it will be. */
export interface TwinCall {
  /** Arrival from the start of the workload, ms; never decreasing from call to call. */
  readonly atMs: number
  readonly promptTokens: number
  readonly outputTokens: TrueOutputTokens
  /** Predicted mean of output tokens, NaN where nothing predicts. */
  readonly predictedTokens: number
  /** The same with its distribution, where there is more than a mean. */
  readonly predicted?: PredictedLength
  readonly call: Call
  /** Chained hashes of the prompt's full 16-token blocks, safe integers; empty when nothing can be shared. */
  readonly blockHashes: ArrayLike<number>
  /** The caller gives up this long after arrival; absent: never. */
  readonly leavesAfterMs?: number
}

/** Calls in order of time; undefined at the end. */
export interface CallStream {
  next(): TwinCall | undefined
}

/** A stream over calls in memory. */
export function streamOf(calls: readonly TwinCall[]): CallStream {
  let at = 0
  return { next: () => calls[at++] }
}

const NO_BLOCKS = new BigUint64Array(0)
const NO_FEATURES = new Uint32Array(0)

/** Request shape of a simulated call: plain text, one answer. */
const REQUEST: Call['request'] = {
  answers: 1,
  stops: 0,
  tools: 0,
  turns: 1,
  responseFormat: 'text',
  wantsStreamUsage: false,
  systemHash: 0,
}

/** Bytes of a prompt token as sent: the mean of English text, as in the router's own first estimate. */
const BYTES_PER_TOKEN = 4

/** A `Call` as the router would parse it from a request of this size; streamed. The simulation's own time stands for Unix time. */
export function describeCall(given: {
  readonly id: number
  readonly atMs: number
  readonly promptTokens: number
  readonly caller: Call['caller']
  readonly prefixBlocks?: BigUint64Array
  readonly maxTokens?: number
}): Call {
  return {
    callId: given.id,
    arrivedUnixMs: Math.floor(given.atMs),
    api: 'openai-chat',
    model: 'twin',
    stream: true,
    promptBytes: given.promptTokens * BYTES_PER_TOKEN,
    promptTokensExact: given.promptTokens,
    request: given.maxTokens === undefined ? REQUEST : { ...REQUEST, maxTokens: given.maxTokens },
    caller: given.caller,
    prefixBlocks: given.prefixBlocks ?? NO_BLOCKS,
    textFeatures: NO_FEATURES,
  }
}

/** A caller known by its application alone. */
export function callerOf(application: string, task?: string): Call['caller'] {
  return { application, tenant: application, priority: 0, ...(task === undefined ? {} : { task }) }
}
