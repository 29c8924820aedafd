import { sealOutput } from '../fleet/truth.ts'
import { callerOf, describeCall, type TwinCall } from '../fleet/twin-call.ts'
import { KV_BLOCK_TOKENS } from '../profiles.ts'

/** A call that was really served, as the log tells it. */
export interface ServedCall {
  readonly arrivedUnixMs: number
  readonly application: string
  readonly tenant: string
  readonly task: string | null
  readonly promptTokens: number
  readonly maxTokens: number | null
  /** Instance that served it; null for none. */
  readonly instance: string | null
  readonly predictedOutputTokens: number | null
  readonly outcome: string
  readonly ttftMs: number | null
  readonly tpotMs: number | null
  readonly e2eMs: number
  readonly outputTokens: number | null
  /** Hashes of the prompt's 256-byte blocks. */
  readonly prefixBlocks: ArrayLike<number>
}

/** An instance of the log. */
export interface ServedInstance {
  readonly name: string
  readonly speed: number
  /** NaN where it never told. */
  readonly kvTokens: number
}

/** Output taken where neither the answer nor a prediction was logged: the mean of public chat traces. */
const UNKNOWN_OUTPUT_TOKENS = 200
/** KV blocks in one block of the router (256 bytes of text at four bytes per token). */
const BLOCKS_PER_PREFIX = 4
const NO_HASHES: readonly number[] = []

/**
 * The stored calls as a workload. A caller who left leaves again after as long; an answer of unknown length has the length that was predicted; a call that
 * failed is one that another policy might have served.
 */
export function asTwinCalls(calls: readonly ServedCall[], startUnixMs: number): TwinCall[] {
  return calls.map((call, i) => {
    const promptTokens = Math.max(1, Math.round(call.promptTokens))
    const predicted = call.predictedOutputTokens ?? Number.NaN
    const complete = call.outcome === 'completed' && call.outputTokens !== null
    const likely = Number.isNaN(predicted) ? (call.outputTokens ?? call.maxTokens ?? UNKNOWN_OUTPUT_TOKENS) : predicted
    const output = complete ? (call.outputTokens as number) : Math.max(likely, call.outputTokens ?? 1)
    const caller = { ...callerOf(call.application, call.task ?? undefined), tenant: call.tenant }
    return {
      atMs: Math.max(0, call.arrivedUnixMs - startUnixMs),
      promptTokens,
      outputTokens: sealOutput(Math.max(1, Math.round(output))),
      predictedTokens: predicted,
      call: describeCall({
        id: i + 1,
        atMs: call.arrivedUnixMs,
        promptTokens,
        caller,
        prefixBlocks: BigUint64Array.from({ length: call.prefixBlocks.length }, (_, k) => BigInt(call.prefixBlocks[k] as number) + 1n),
        ...(call.maxTokens === null ? {} : { maxTokens: call.maxTokens }),
      }),
      blockHashes: call.prefixBlocks.length === 0 ? NO_HASHES : hashesOf(call.prefixBlocks, promptTokens),
      ...(call.outcome === 'client gone' ? { leavesAfterMs: call.e2eMs } : {}),
    }
  })
}

/** Hashes of 16-token blocks from those of 256-byte blocks: each stands for four. */
function hashesOf(prefixBlocks: ArrayLike<number>, promptTokens: number): Float64Array {
  const blocks = Math.min(Math.floor(promptTokens / KV_BLOCK_TOKENS), prefixBlocks.length * BLOCKS_PER_PREFIX)
  return Float64Array.from(
    { length: blocks },
    (_, i) => (prefixBlocks[Math.floor(i / BLOCKS_PER_PREFIX)] as number) * BLOCKS_PER_PREFIX + (i % BLOCKS_PER_PREFIX),
  )
}
