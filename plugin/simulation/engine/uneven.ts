import { KV_BLOCK_TOKENS } from '../profiles.ts'
import { targetOf } from './admit.ts'
import { DECODING, NONE } from './sequences.ts'
import { blocksAtStep, computedOf, type EngineState, enqueue, goesBefore, growChunk, leaveRunning, scheduleChunk } from './state.ts'

/**
 * Schedules the running calls one by one, for the step in which not all of them fit: budget and blocks go in running order, and who does
 * not get blocks preempts the last one (under priority scheduling the least important one). True when somebody was preempted.
 */
export function scheduleUneven(state: EngineState): boolean {
  const { table, running } = state
  const before = state.preempted.length
  state.uneven = true
  state.decodes = true
  for (let slot = running.head; slot !== NONE; slot = table.next[slot] as number) table.scheduled[slot] = 0
  let budget = state.budgetTokens
  let slot = running.head
  while (slot !== NONE && budget > 0) {
    const decodes = table.state[slot] === DECODING
    const wanted = decodes ? 1 : targetOf(state, slot) - (table.computedLag[slot] as number)
    const tokens = state.order === 'v0' ? wanted : Math.min(wanted, budget)
    const room = makeRoom(state, slot, tokens)
    if (!room.granted) break
    table.scheduled[slot] = tokens
    budget += room.refundTokens - (state.order === 'v0' ? 0 : tokens)
    slot = table.next[slot] as number
  }
  bookScheduled(state)
  return state.preempted.length > before
}

/** Grows the call, preempting while blocks run short; tokens that preempted calls had been given in this step come back. */
function makeRoom(state: EngineState, slot: number, tokens: number): { readonly granted: boolean; readonly refundTokens: number } {
  let refundTokens = 0
  while (!grow(state, slot, tokens)) {
    const victim = state.scheduling === 'priority' ? leastImportant(state) : state.running.tail
    if (victim === NONE) throw new Error(`blocks ran short with nothing running (${state.kv.used} of ${state.kv.total} used)`)
    refundTokens += state.table.scheduled[victim] as number
    preempt(state, victim)
    if (victim === slot) return { granted: false, refundTokens }
  }
  return { granted: true, refundTokens }
}

function grow(state: EngineState, slot: number, tokens: number): boolean {
  if (state.table.state[slot] !== DECODING) return growChunk(state, slot, tokens)
  return computedOf(state, slot) % KV_BLOCK_TOKENS !== 0 || state.kv.take(1)
}

function leastImportant({ table, running }: EngineState): number {
  let worst = running.head
  for (let slot = running.head; slot !== NONE; slot = table.next[slot] as number) if (goesBefore(table, worst, slot)) worst = slot
  return worst
}

/** Frees a running call, back into the waiting queue, to be recomputed. */
function preempt(state: EngineState, slot: number): void {
  const { table } = state
  const grown = table.state[slot] === DECODING && (table.scheduled[slot] as number) > 0 && computedOf(state, slot) % KV_BLOCK_TOKENS === 0
  // It had been given a block for the token that now is not computed.
  if (grown) state.kv.release(1, NOTHING)
  const chunked = table.state[slot] !== DECODING && (table.scheduled[slot] as number) > 0
  if (chunked) table.computedLag[slot] = (table.computedLag[slot] as number) + (table.scheduled[slot] as number)
  leaveRunning(state, slot)
  table.scheduled[slot] = 0
  table.computedLag[slot] = 0
  table.preemptions[slot] = (table.preemptions[slot] as number) + 1
  state.counters.preemptions++
  state.preempted.push(slot)
  enqueue(state, slot)
}

const NOTHING: readonly number[] = []

/** The step's sums, and its chunks, of those who were given tokens. */
function bookScheduled(state: EngineState): void {
  const { table, running, work } = state
  for (let slot = running.head; slot !== NONE; slot = table.next[slot] as number) {
    const tokens = table.scheduled[slot] as number
    if (tokens === 0) continue
    if (table.state[slot] === DECODING) {
      work.tokens += 1
      work.decoding += 1
      work.contextTokens += computedOf(state, slot) + 1
    } else scheduleChunk(state, slot, tokens)
  }
}

/**
 * After an uneven step: decoding calls that sat it out stay where they are, while the step counter moves on for the others.
 * To be called before the counter is moved.
 */
export function postponeIdle(state: EngineState): void {
  const { table, running, phases } = state
  for (let slot = running.head; slot !== NONE; slot = table.next[slot] as number) {
    if (table.state[slot] !== DECODING || (table.scheduled[slot] as number) > 0) continue
    const lag = table.computedLag[slot] as number
    phases[lag & (KV_BLOCK_TOKENS - 1)] = (phases[lag & (KV_BLOCK_TOKENS - 1)] as number) - 1
    phases[(lag - 1) & (KV_BLOCK_TOKENS - 1)] = (phases[(lag - 1) & (KV_BLOCK_TOKENS - 1)] as number) + 1
    table.computedLag[slot] = lag - 1
    table.emittedLag[slot] = (table.emittedLag[slot] as number) - 1
    table.finishStep[slot] = (table.finishStep[slot] as number) + 1
    state.contextTokens -= 1
    state.finishing.postponed(slot)
  }
}

/** Blocks that the decoding calls will have taken for the `steps` decode steps that follow the first of the run under way. */
export function laterBlocks(state: EngineState, steps: number): number {
  let blocks = Math.floor(steps / KV_BLOCK_TOKENS) * state.finishing.length
  for (let i = steps - (steps % KV_BLOCK_TOKENS); i < steps; i++) blocks += blocksAtStep(state, state.decodeSteps + 1 + i)
  return blocks
}
