import { addChunk, addDecode, type StepLaw, type StepWork } from '../../impact/step.ts'
import { KV_BLOCK_TOKENS } from '../profiles.ts'
import type { FinishHeap } from './finish-heap.ts'
import type { KvMemory } from './kv-memory.ts'
import { DECODING, insertAfter, NONE, PREFILLING, type SequenceTable, type SlotList, unlink, WAITING } from './sequences.ts'

/** Which waiting call goes first and which running one is preempted; vLLM's `--scheduling-policy`. */
export type Scheduling = 'fcfs' | 'priority'

/** Totals since the engine was made. */
export interface EngineCounters {
  steps: number
  preemptions: number
  /** Prompt tokens looked up in the prefix cache, and found there. */
  prefixQueryTokens: number
  prefixHitTokens: number
  promptTokens: number
  generationTokens: number
}

/** One engine between two steps or with a run of steps under way. Everything that the scheduler's functions work on. */
export interface EngineState {
  readonly table: SequenceTable
  readonly law: StepLaw
  readonly order: 'v0' | 'v1'
  readonly scheduling: Scheduling
  readonly kv: KvMemory
  readonly seats: number
  readonly budgetTokens: number
  readonly prefixCache: boolean
  /** Blocks that admission may fill. */
  readonly admissionBlocks: number
  /** In order of admission. */
  readonly running: SlotList
  readonly waiting: SlotList
  /** Decoding sequences by the step at which they finish. */
  readonly finishing: FinishHeap
  /** Decode steps so far; what lags are measured against. Set back to 0 whenever nobody decodes. */
  decodeSteps: number
  /** Σ computed tokens of the decoding sequences. */
  contextTokens: number
  /** Decoding sequences by (computed − decodeSteps) mod 16: who needs a new block when. */
  readonly phases: Int32Array
  /** The one running sequence whose prompt is not through, or NONE. */
  partial: number
  admissions: number
  submissions: number
  readonly work: StepWork
  /** Prefill chunks of the step under way, in running order. */
  chunks: Int32Array
  chunkCount: number
  /** Decoding sequences take part in the step under way; in v0 a prefill stops them all. */
  decodes: boolean
  /** The step under way was scheduled call by call: some may sit it out. */
  uneven: boolean
  readonly preempted: number[]
  readonly counters: EngineCounters
}

/** Sequences that decode. */
export function decodingCount(state: EngineState): number {
  return state.finishing.length
}

/** Tokens of the sequence whose KV is in memory. */
export function computedOf(state: EngineState, slot: number): number {
  const lag = state.table.computedLag[slot] as number
  return state.table.state[slot] === DECODING ? lag + state.decodeSteps : lag
}

/** Output tokens the sequence has produced. */
export function emittedOf(state: EngineState, slot: number): number {
  const lag = state.table.emittedLag[slot] as number
  return state.table.state[slot] === DECODING ? lag + state.decodeSteps : lag
}

/** Blocks needed for `tokens` tokens. */
export function blocksFor(tokens: number): number {
  return Math.ceil(tokens / KV_BLOCK_TOKENS)
}

/** Decoding sequences that need one more block for decode step number `step` (the next one is `decodeSteps`). */
export function blocksAtStep(state: EngineState, step: number): number {
  return state.phases[-step & (KV_BLOCK_TOKENS - 1)] as number
}

/** Makes room for the chunk; false, and nothing changed, when blocks run short. */
export function growChunk(state: EngineState, slot: number, tokens: number): boolean {
  const computed = state.table.computedLag[slot] as number
  const need = blocksFor(computed + tokens) - blocksFor(computed)
  if (need > 0 && !state.kv.take(need)) return false
  if (state.prefixCache) nameBlocks(state, slot, Math.min(computed + tokens, state.table.promptTokens[slot] as number))
  return true
}

/** Offers the sequence's full blocks among its first `tokens` tokens to the prefix cache. */
export function nameBlocks(state: EngineState, slot: number, tokens: number): void {
  const { table, kv } = state
  const hashes = table.blockHashes[slot] as ArrayLike<number>
  const end = Math.min(Math.floor(tokens / KV_BLOCK_TOKENS), hashes.length)
  const held = table.held[slot] as number[]
  let named = table.namedBlocks[slot] as number
  for (; named < end; named++) {
    const node = kv.name(hashes[named] as number)
    if (node !== NONE) held.push(node)
  }
  table.namedBlocks[slot] = named
}

/** Gives back all memory of a running sequence of `computed` tokens. */
export function freeBlocks(state: EngineState, slot: number, computed: number): void {
  const held = state.table.held[slot] as number[]
  state.kv.release(blocksFor(computed) - held.length, held)
  held.length = 0
  state.table.namedBlocks[slot] = 0
}

/** Books a chunk into the step under way. The last token of a recomputed call is a decode like any other. */
export function scheduleChunk(state: EngineState, slot: number, tokens: number): void {
  const { table } = state
  const computed = table.computedLag[slot] as number
  const emitted = table.emittedLag[slot] as number
  const decodes = emitted > 0 && tokens === 1 && computed + 1 === (table.promptTokens[slot] as number) + emitted
  if (decodes) addDecode(state.work, computed + 1)
  else addChunk(state.work, { tokens, cachedTokens: computed })
  table.scheduled[slot] = tokens
  if (state.chunkCount === state.chunks.length) {
    const wide = new Int32Array(2 * state.chunks.length)
    wide.set(state.chunks)
    state.chunks = wide
  }
  state.chunks[state.chunkCount++] = slot
}

/** Joins the decoding ones, with `computed` tokens in memory and `emitted` produced. */
export function startDecoding(state: EngineState, slot: number, computed: number, emitted: number): void {
  const { table, decodeSteps } = state
  const lag = computed - decodeSteps
  table.state[slot] = DECODING
  table.computedLag[slot] = lag
  table.emittedLag[slot] = emitted - decodeSteps
  table.finishStep[slot] = decodeSteps + (table.outputTokens[slot] as number) - emitted
  state.contextTokens += computed
  state.phases[lag & (KV_BLOCK_TOKENS - 1)] = (state.phases[lag & (KV_BLOCK_TOKENS - 1)] as number) + 1
  state.finishing.push(slot)
}

/** Leaves the decoding ones; its counts become plain numbers again. */
export function stopDecoding(state: EngineState, slot: number): void {
  const { table, decodeSteps } = state
  const lag = table.computedLag[slot] as number
  state.finishing.remove(slot)
  state.phases[lag & (KV_BLOCK_TOKENS - 1)] = (state.phases[lag & (KV_BLOCK_TOKENS - 1)] as number) - 1
  state.contextTokens -= lag + decodeSteps
  table.computedLag[slot] = lag + decodeSteps
  table.emittedLag[slot] = (table.emittedLag[slot] as number) + decodeSteps
  table.state[slot] = PREFILLING
  if (state.finishing.length === 0) state.decodeSteps = 0
}

/** Takes a running sequence out of the running list, with its memory. */
export function leaveRunning(state: EngineState, slot: number): void {
  if (state.table.state[slot] === DECODING) stopDecoding(state, slot)
  if (state.partial === slot) state.partial = NONE
  unlink(state.table, state.running, slot)
  freeBlocks(state, slot, state.table.computedLag[slot] as number)
}

/** Puts a sequence into the waiting queue: at its end, at its head after a preemption, or where its priority belongs. */
export function enqueue(state: EngineState, slot: number): void {
  const { table, waiting } = state
  table.state[slot] = WAITING
  if (state.scheduling === 'fcfs') {
    insertAfter(table, waiting, slot, (table.preemptions[slot] as number) > 0 ? NONE : waiting.tail)
    return
  }
  let after = waiting.tail
  while (after !== NONE && goesBefore(table, slot, after)) after = table.previous[after] as number
  insertAfter(table, waiting, slot, after)
}

/** By priority, then by order of submission. */
export function goesBefore(table: SequenceTable, a: number, b: number): boolean {
  const difference = (table.priority[a] as number) - (table.priority[b] as number)
  return difference < 0 || (difference === 0 && (table.submitOrder[a] as number) < (table.submitOrder[b] as number))
}
