import { targetOf } from './admit.ts'
import { NONE, NOWHERE } from './sequences.ts'
import { decodingCount, type EngineState, leaveRunning, nameBlocks, startDecoding } from './state.ts'
import { laterBlocks, postponeIdle } from './uneven.ts'

/** What a run brought, all of it at the run's end, in running order. */
export interface RunEvents {
  /** Slots whose first token came. */
  readonly first: number[]
  /** Slots that produced their last token, and are out of the engine. */
  readonly finished: number[]
  /** Slots aborted during the run, out now. */
  readonly aborted: number[]
}

/** Nothing happened. */
export function emptyEvents(): RunEvents {
  return { first: [], finished: [], aborted: [] }
}

/** Books `steps` steps: every call that has its whole context computed emits one token per step. */
export function completeRun(state: EngineState, steps: number, events: RunEvents): void {
  events.first.length = 0
  events.finished.length = 0
  state.counters.steps += steps
  if (state.decodes) advanceDecodes(state, steps, events)
  for (let i = 0; i < state.chunkCount; i++) advanceChunk(state, state.chunks[i] as number, events)
}

function advanceDecodes(state: EngineState, steps: number, events: RunEvents): void {
  const { finishing, counters, table } = state
  if (state.uneven) {
    postponeIdle(state)
    counters.generationTokens += state.work.decoding - chunkDecodes(state)
  } else {
    if (steps > 1) state.kv.take(laterBlocks(state, steps - 1))
    counters.generationTokens += steps * decodingCount(state)
  }
  state.decodeSteps += steps
  state.contextTokens += steps * decodingCount(state)
  while (finishing.length > 0 && (table.finishStep[finishing.peek()] as number) <= state.decodeSteps)
    finish(state, finishing.peek(), events)
}

/** Chunks of one token that were booked as decodes: calls being recomputed. */
function chunkDecodes(state: EngineState): number {
  return state.chunkCount - state.work.chunks
}

function advanceChunk(state: EngineState, slot: number, events: RunEvents): void {
  const { table, counters } = state
  const computed = (table.computedLag[slot] as number) + (table.scheduled[slot] as number)
  table.computedLag[slot] = computed
  if (computed < targetOf(state, slot)) return
  if (state.partial === slot) state.partial = NONE
  const emitted = (table.emittedLag[slot] as number) + 1
  table.emittedLag[slot] = emitted
  counters.generationTokens++
  if (emitted === 1) {
    counters.promptTokens += table.promptTokens[slot] as number
    if (table.gone[slot] === 0) events.first.push(slot)
  }
  if (emitted === table.outputTokens[slot]) finish(state, slot, events)
  else startDecoding(state, slot, computed, emitted)
}

/** The call is out. Its answer's blocks are named only now: nobody can send an answer back before it has it. */
function finish(state: EngineState, slot: number, events: RunEvents): void {
  const { table } = state
  if (state.prefixCache) nameBlocks(state, slot, (table.promptTokens[slot] as number) + (table.outputTokens[slot] as number) - 1)
  leaveRunning(state, slot)
  table.state[slot] = NOWHERE
  if (table.gone[slot] === 0) events.finished.push(slot)
}
