import type { Rng } from '../../rng.ts'
import { sealOutput } from '../fleet/truth.ts'
import { callerOf, describeCall, type TwinCall } from '../fleet/twin-call.ts'
import { KV_BLOCK_TOKENS } from '../profiles.ts'
import type { TraceCall } from '../traces.ts'
import { type ErrorPlan, predictionOf } from './length-errors.ts'

/** Tokens behind one hash id of a trace (Mooncake's), and behind one prefix block of the router (256 bytes). */
const HASH_ID_TOKENS = 512
const PREFIX_BLOCK_TOKENS = 64
const HASHES_PER_ID = HASH_ID_TOKENS / KV_BLOCK_TOKENS
const BLOCKS_PER_ID = HASH_ID_TOKENS / PREFIX_BLOCK_TOKENS

/** Length of a resampled block of a trace; the named scenarios' own. */
const RESAMPLED_MS = 60_000

/** The calls of a trace with an index for prediction errors; times as in the trace divided by `speed`. */
export function traceCalls(trace: readonly TraceCall[], plan: { readonly speed: number; readonly rng: Rng } & ErrorPlan): TwinCall[] {
  const errors = plan.rng.stream('prediction errors')
  return trace.map((call, i) => {
    const { promptTokens, outputTokens, hashIds } = call
    const full = hashIds
      ? { blockHashes: blockHashesOf(hashIds, promptTokens), prefixBlocks: prefixBlocksOf(hashIds, promptTokens) }
      : undefined
    return {
      atMs: call.atMs / plan.speed,
      promptTokens,
      outputTokens: sealOutput(outputTokens),
      ...predictionOf(outputTokens, plan, errors),
      call: describeCall({
        id: i + 1,
        atMs: call.atMs / plan.speed,
        promptTokens,
        caller: callerOf(call.application ?? 'trace', call.task),
        ...(full ? { prefixBlocks: full.prefixBlocks } : {}),
      }),
      blockHashes: full?.blockHashes ?? NO_HASHES,
    }
  })
}

const NO_HASHES: readonly number[] = []

/** Hashes of a prompt's full 16-token blocks from the ids of its 512-token blocks: equal ids are equal text. */
export function blockHashesOf(hashIds: readonly number[], promptTokens: number): Float64Array {
  const blocks = Math.min(Math.floor(promptTokens / KV_BLOCK_TOKENS), hashIds.length * HASHES_PER_ID)
  return Float64Array.from(
    { length: blocks },
    (_, i) => (hashIds[Math.floor(i / HASHES_PER_ID)] as number) * HASHES_PER_ID + (i % HASHES_PER_ID),
  )
}

function prefixBlocksOf(hashIds: readonly number[], promptTokens: number): BigUint64Array {
  const blocks = Math.min(Math.floor(promptTokens / PREFIX_BLOCK_TOKENS), hashIds.length * BLOCKS_PER_ID)
  return BigUint64Array.from({ length: blocks }, (_, i) =>
    BigInt((hashIds[Math.floor(i / BLOCKS_PER_ID)] as number) * BLOCKS_PER_ID + (i % BLOCKS_PER_ID) + 1),
  )
}

/** The later or the earlier half of a trace, by time, with times from 0. */
export function halfOf(trace: readonly TraceCall[], half: 'first' | 'second'): TraceCall[] {
  const middleMs = (trace.at(-1)?.atMs ?? 0) / 2
  const kept = trace.filter((call) => (half === 'first' ? call.atMs < middleMs : call.atMs >= middleMs))
  return kept.map((call) => ({ ...call, atMs: half === 'first' ? call.atMs : call.atMs - middleMs }))
}

/** As many whole 60-s blocks as the trace has, drawn with replacement, one after another. */
export function resampleBlocks(trace: readonly TraceCall[], rng: Rng): TraceCall[] {
  const count = Math.max(1, Math.floor(((trace.at(-1)?.atMs ?? 0) + 1) / RESAMPLED_MS))
  const blocks: TraceCall[][] = Array.from({ length: count }, () => [])
  for (const call of trace) blocks[Math.floor(call.atMs / RESAMPLED_MS)]?.push(call)
  const draw = rng.stream('blocks')
  return Array.from({ length: count }, (_, place) => {
    const block = draw.int(count)
    return (blocks[block] as TraceCall[]).map((call) => ({ ...call, atMs: call.atMs + (place - block) * RESAMPLED_MS }))
  }).flat()
}
