import { KV_BLOCK_TOKENS } from '../profiles.ts'
import { insertAfter, NONE, PREFILLING, unlink } from './sequences.ts'
import { blocksFor, type EngineState, growChunk, scheduleChunk } from './state.ts'

/**
 * Moves the head of the waiting queue into the running list when a seat and the blocks for its whole context and one more token are
 * there (vLLM's `scheduler_reserve_full_isl`). Its cached prefix counts as computed, all but the last token, which must be computed
 * to have something to emit from. False when it has to wait.
 */
export function admitHead(state: EngineState): boolean {
  const { table, kv } = state
  const slot = state.waiting.head
  if (slot === NONE || state.running.length >= state.seats) return false
  const target = targetOf(state, slot)
  const held = table.held[slot] as number[]
  const idle = state.prefixCache ? collectHits(state, slot, target) : 0
  // Blocks of the hit that others hold already cost nothing; those that lie idle cost what a fresh block costs.
  const need = blocksFor(target + 1) - held.length + idle
  if (kv.used + need > state.admissionBlocks) {
    held.length = 0
    return false
  }
  for (const node of held) kv.hold(node)
  table.namedBlocks[slot] = held.length
  table.computedLag[slot] = held.length * KV_BLOCK_TOKENS
  if (table.preemptions[slot] === 0) countHits(state, slot)
  unlink(table, state.waiting, slot)
  insertAfter(table, state.running, slot, state.running.tail)
  table.state[slot] = PREFILLING
  table.admitOrder[slot] = state.admissions++
  return true
}

/** Tokens a waiting or prefilling sequence must have computed before it emits its next one. */
export function targetOf({ table }: EngineState, slot: number): number {
  return (table.promptTokens[slot] as number) + (table.emittedLag[slot] as number)
}

/** Grows the sequence just admitted, at the running list's end, by its first chunk of at most `budget`. Gives the chunk's tokens. */
export function chunkAdmitted(state: EngineState, budget: number): number {
  const slot = state.running.tail
  const tokens = Math.min(targetOf(state, slot) - (state.table.computedLag[slot] as number), budget)
  if (!growChunk(state, slot, tokens)) throw new Error(`sequence ${slot} was admitted without room for ${tokens} tokens`)
  scheduleChunk(state, slot, tokens)
  return tokens
}

/** Writes the cached nodes of its beginning to the sequence's `held` and gives how many of them lie idle. */
function collectHits({ table, kv }: EngineState, slot: number, target: number): number {
  const hashes = table.blockHashes[slot] as ArrayLike<number>
  const held = table.held[slot] as number[]
  const end = Math.min(hashes.length, Math.floor((target - 1) / KV_BLOCK_TOKENS))
  let idle = 0
  for (let i = 0; i < end; i++) {
    const node = kv.find(hashes[i] as number)
    if (node === NONE) break
    if (kv.isIdle(node)) idle++
    held.push(node)
  }
  return idle
}

function countHits({ table, counters, prefixCache }: EngineState, slot: number): void {
  const cached = table.computedLag[slot] as number
  table.cachedTokens[slot] = cached
  counters.prefixQueryTokens += prefixCache ? (table.promptTokens[slot] as number) : 0
  counters.prefixHitTokens += cached
}
