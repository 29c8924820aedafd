import { clearWork, emptyWork, stepMs } from '../../impact/step.ts'
import { KV_BLOCK_TOKENS, type Profile } from '../profiles.ts'
import { completeRun, emptyEvents, type RunEvents } from './complete.ts'
import { FinishHeap } from './finish-heap.ts'
import { KvMemory } from './kv-memory.ts'
import { scheduleV0, scheduleV1 } from './schedule.ts'
import { emptyList, NONE, NOWHERE, type SequenceTable, unlink, WAITING } from './sequences.ts'
import { blocksAtStep, type EngineState, enqueue, leaveRunning, type Scheduling } from './state.ts'
import { laterBlocks } from './uneven.ts'

export interface CoreOptions {
  readonly table: SequenceTable
  readonly profile: Omit<Profile, 'name' | 'label'>
  readonly scheduling: Scheduling
}

/**
 * A continuous-batching engine that jumps: the steps between two events (an arrival, an end, a preemption) take times that form an
 * arithmetic series, since each adds one token to each decoding call, so a run of any number of them costs the same. Between two runs it
 * holds exactly the state that a step-by-step engine holds. No clock: whoever drives it says when a run begins and completes it at its end.
 *
 * The driver: `begin` at a boundary; on an arrival or abort within the run `cut` it at the end of the step under way; `complete` at `endMs`.
 */
export class EngineCore {
  readonly state: EngineState
  /** What the last completed run brought; valid until the next `complete`. */
  readonly events: RunEvents = emptyEvents()
  readonly #aborted: number[] = []
  #startMs = 0
  #firstMs = 0
  #growthMs = 0
  #steps = 0
  #slowdown = 1

  constructor({ table, profile, scheduling }: CoreOptions) {
    const admissionBlocks = Math.floor(profile.kvBlocks * profile.admissionKvRatio)
    this.state = {
      table,
      law: profile.law,
      order: profile.order,
      scheduling,
      kv: new KvMemory(profile.kvBlocks),
      seats: profile.seats,
      budgetTokens: profile.budgetTokens,
      prefixCache: profile.prefixCache,
      admissionBlocks,
      running: emptyList(),
      waiting: emptyList(),
      finishing: new FinishHeap(table),
      decodeSteps: 0,
      contextTokens: 0,
      phases: new Int32Array(KV_BLOCK_TOKENS),
      partial: NONE,
      admissions: 0,
      submissions: 0,
      work: emptyWork(),
      chunks: new Int32Array(16),
      chunkCount: 0,
      decodes: false,
      uneven: false,
      preempted: [],
      counters: { steps: 0, preemptions: 0, prefixQueryTokens: 0, prefixHitTokens: 0, promptTokens: 0, generationTokens: 0 },
    }
  }

  /** Longest context, prompt and output together, in tokens. */
  get maxContextTokens(): number {
    return this.state.admissionBlocks * KV_BLOCK_TOKENS - 1
  }

  /** A run of steps is under way. */
  get busy(): boolean {
    return this.#steps > 0
  }

  /** Steps of the run under way. */
  get steps(): number {
    return this.#steps
  }

  /** Nothing runs and nothing waits. */
  get idle(): boolean {
    return this.state.running.length + this.state.waiting.length === 0
  }

  /** When the run under way ends. */
  get endMs(): number {
    return this.#boundaryMs(this.#steps)
  }

  /** Steps take `factor` times as long from the next run on. */
  slowDown(factor: number): void {
    this.#slowdown = factor
  }

  /**
   * Puts a slot, whose prompt, output, hashes and priority the caller has written to the table, at the end of the waiting queue. The prompt
   * must be shorter than `maxContextTokens`; the output is cut there.
   */
  submit(slot: number): void {
    const { state } = this
    const { table } = state
    const prompt = table.promptTokens[slot] as number
    table.outputTokens[slot] = Math.min(table.outputTokens[slot] as number, this.maxContextTokens - prompt)
    table.computedLag[slot] = 0
    table.emittedLag[slot] = 0
    table.preemptions[slot] = 0
    table.cachedTokens[slot] = 0
    table.namedBlocks[slot] = 0
    table.gone[slot] = 0
    table.submitOrder[slot] = state.submissions++
    enqueue(state, slot)
  }

  /**
   * Takes a call out: at once where no step is under way or it waits; else at the end of the run, which should be cut, and it then stands
   * among the events' `aborted`. True when it is out.
   */
  abort(slot: number): boolean {
    const { state } = this
    const { table } = state
    if (table.state[slot] === WAITING) unlink(table, state.waiting, slot)
    else if (this.busy) {
      table.gone[slot] = 1
      this.#aborted.push(slot)
      return false
    } else leaveRunning(state, slot)
    table.state[slot] = NOWHERE
    return true
  }

  /** Schedules at a boundary and starts a run of steps; false when there is nothing to compute. */
  begin(nowMs: number): boolean {
    const { state } = this
    state.preempted.length = 0
    state.work.tokens = 0
    // A step in which the only ones that were asked had to go computes nothing and takes no time.
    for (let before = -1; state.work.tokens === 0 && state.preempted.length > before; ) {
      before = state.preempted.length
      schedule(state)
    }
    this.#startMs = nowMs
    this.#steps = 0
    if (state.work.tokens === 0) return false
    this.#firstMs = stepMs(state.law, state.work) * this.#slowdown
    const alone = state.chunkCount > 0 || state.uneven
    this.#growthMs = alone ? 0 : state.law.decode.perContextTokenMs * state.finishing.length * this.#slowdown
    this.#steps = alone ? 1 : stepsToEvent(state)
    return true
  }

  /** Shortens the run so that it ends with the step that is under way at `nowMs`; a step that ends right then is the last. */
  cut(nowMs: number): void {
    if (this.#steps <= 1) return
    const done = this.stepsBy(nowMs)
    this.#steps = done > 0 && this.#boundaryMs(done) === nowMs ? done : Math.min(this.#steps, done + 1)
  }

  /** Steps of the run that have ended by `nowMs`. */
  stepsBy(nowMs: number): number {
    const elapsedMs = nowMs - this.#startMs
    if (this.#steps === 0 || elapsedMs < this.#firstMs) return 0
    if (this.#steps === 1) return 1
    const half = this.#growthMs / 2
    const linear = this.#firstMs - half
    const guess = half === 0 ? elapsedMs / linear : (2 * elapsedMs) / (linear + Math.sqrt(linear * linear + 4 * half * elapsedMs))
    let steps = Math.min(this.#steps, Math.max(0, Math.floor(guess)))
    // The root is exact up to rounding; the boundary itself decides.
    while (steps < this.#steps && this.#boundaryMs(steps + 1) <= nowMs) steps++
    while (steps > 0 && this.#boundaryMs(steps) > nowMs) steps--
    return steps
  }

  /** Books the run under way; what came of it stands in `events`. */
  complete(): void {
    const steps = this.#steps
    this.#steps = 0
    completeRun(this.state, steps, this.events)
    this.events.aborted.length = 0
    if (this.#aborted.length === 0) return
    for (const slot of this.#aborted) {
      if (this.state.table.state[slot] !== NOWHERE) leaveRunning(this.state, slot)
      this.state.table.state[slot] = NOWHERE
      this.events.aborted.push(slot)
    }
    this.#aborted.length = 0
  }

  /** The decode step counter as of `nowMs`: a decoding sequence has emitted its `emittedLag` plus this. */
  decodeStepsBy(nowMs: number): number {
    const { state } = this
    const counts = this.#steps > 0 && state.decodes && state.chunkCount === 0 && !state.uneven
    return counts ? state.decodeSteps + this.stepsBy(nowMs) : state.decodeSteps
  }

  /** KV blocks held by calls at `nowMs`. */
  usedBlocksBy(nowMs: number): number {
    const { state } = this
    const single = this.#steps <= 1 || state.chunkCount > 0 || state.uneven
    return single ? state.kv.used : state.kv.used + laterBlocks(state, Math.min(this.stepsBy(nowMs), this.#steps - 1))
  }

  /** The engine died: everybody is out, nothing is cached. Gives the slots that were in it. */
  clear(): number[] {
    const { state } = this
    const { table } = state
    const slots: number[] = []
    for (const list of [state.running, state.waiting]) {
      for (let slot = list.head; slot !== NONE; slot = table.next[slot] as number) slots.push(slot)
      Object.assign(list, emptyList())
    }
    for (const slot of slots) {
      table.state[slot] = NOWHERE
      ;(table.held[slot] as number[]).length = 0
    }
    state.finishing.clear()
    state.phases.fill(0)
    state.kv.clear()
    state.decodeSteps = 0
    state.contextTokens = 0
    state.partial = NONE
    this.#steps = 0
    this.#aborted.length = 0
    return slots
  }

  #boundaryMs(steps: number): number {
    return this.#startMs + steps * this.#firstMs + (this.#growthMs * steps * (steps - 1)) / 2
  }
}

function schedule(state: EngineState): void {
  clearWork(state.work)
  state.chunkCount = 0
  state.decodes = false
  state.uneven = false
  if (state.order === 'v1') scheduleV1(state)
  else scheduleV0(state)
}

/** Decode steps until the first call finishes or blocks run short; at least 1. The first step's blocks are taken already. */
function stepsToEvent(state: EngineState): number {
  const decoding = state.finishing.length
  const toFinish = (state.table.finishStep[state.finishing.peek()] as number) - state.decodeSteps
  // Any 16 steps in a row take one block per decoding call.
  const cycles = Math.floor(state.kv.available / decoding)
  let steps = 1 + cycles * KV_BLOCK_TOKENS
  if (steps >= toFinish) return toFinish
  let left = state.kv.available - cycles * decoding
  for (; steps < toFinish; steps++) {
    left -= blocksAtStep(state, state.decodeSteps + steps)
    if (left < 0) break
  }
  return steps
}
