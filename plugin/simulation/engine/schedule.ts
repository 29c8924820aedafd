import { admitHead, chunkAdmitted, targetOf } from './admit.ts'
import { NONE } from './sequences.ts'
import { blocksAtStep, blocksFor, decodingCount, type EngineState, growChunk, scheduleChunk } from './state.ts'
import { scheduleUneven } from './uneven.ts'

/**
 * Chooses what the next step computes, in vLLM v1's order, which decides the accuracy: running calls first, in order, each
 * min(remaining, budget); the last one is preempted when blocks run short; only if nobody was preempted, waiting calls are admitted in
 * chunks. Where the budget and the blocks suffice for all who run, who comes first does not matter, and they are booked as one sum.
 */
export function scheduleV1(state: EngineState): void {
  const decoding = decodingCount(state)
  const partialTokens = partialChunk(state, state.budgetTokens - decoding)
  const need = blocksAtStep(state, state.decodeSteps) + partialBlocks(state, partialTokens)
  if (decoding > state.budgetTokens || need > state.kv.available) {
    if (scheduleUneven(state)) return
  } else bookRunning(state, partialTokens)
  let budget = state.budgetTokens - state.work.tokens
  while (budget > 0 && admitHead(state)) {
    budget -= chunkAdmitted(state, budget)
    markPartial(state)
  }
}

/**
 * The older vLLM v0 order: a step is either the prefill of as many waiting calls as budget, seats and blocks allow, whole prompts
 * only, which stops all decodes; or, when none can start, one decode of all running calls. A prompt above the budget is prefilled alone.
 */
export function scheduleV0(state: EngineState): void {
  if (prefillWaiting(state)) return
  if (blocksAtStep(state, state.decodeSteps) > state.kv.available) scheduleUneven(state)
  else bookRunning(state, 0)
}

function prefillWaiting(state: EngineState): boolean {
  let budget = state.budgetTokens
  let started = false
  while (state.waiting.head !== NONE) {
    // Without the cache's help: v0 checked its budget before it looked for a cached prefix.
    if (started && targetOf(state, state.waiting.head) > budget) break
    if (!admitHead(state)) break
    budget -= chunkAdmitted(state, Number.POSITIVE_INFINITY)
    started = true
  }
  return started
}

function partialChunk(state: EngineState, budget: number): number {
  if (state.partial === NONE) return 0
  return Math.max(0, Math.min(targetOf(state, state.partial) - (state.table.computedLag[state.partial] as number), budget))
}

function partialBlocks(state: EngineState, tokens: number): number {
  if (tokens === 0) return 0
  const computed = state.table.computedLag[state.partial] as number
  return blocksFor(computed + tokens) - blocksFor(computed)
}

/** Everybody who runs takes part: the decoding ones as one sum, then the one whose prompt is not through. */
function bookRunning(state: EngineState, partialTokens: number): void {
  const { work, kv, partial } = state
  const decoding = decodingCount(state)
  state.decodes = decoding > 0
  kv.take(blocksAtStep(state, state.decodeSteps))
  work.tokens += decoding
  work.decoding += decoding
  work.contextTokens += state.contextTokens + decoding
  if (partialTokens === 0) return
  growChunk(state, partial, partialTokens)
  scheduleChunk(state, partial, partialTokens)
}

/** The sequence just admitted is the partial one where its chunk is not all of its prompt. */
function markPartial(state: EngineState): void {
  const slot = state.running.tail
  const { table } = state
  if ((table.computedLag[slot] as number) + (table.scheduled[slot] as number) < targetOf(state, slot)) state.partial = slot
}
