import { addChunk, addDecode, type StepLaw, type StepWork } from '../../../plugin/impact/step.ts'
import { KV_BLOCK_TOKENS } from '../../../plugin/simulation/profiles.ts'
import type { KvBlocks } from './kv-blocks.ts'

/** One call inside an engine. */
export interface Sequence {
  readonly id: number
  readonly promptTokens: number
  readonly outputTokens: number
  readonly priority: number
  readonly submitOrder: number
  /** Chained content hashes of its full blocks, safe integers; empty when nothing can be shared. */
  readonly blockHashes: ArrayLike<number>
  /** Tokens whose KV is in memory; 0 again after a preemption. */
  computedTokens: number
  /** Output tokens produced so far. */
  emittedTokens: number
  /** Tokens computed in the step under way, 0 when it takes no part. */
  scheduledTokens: number
  /** Blocks held without identity, and the hashes of those held with one. */
  anonymousBlocks: number
  heldHashes: number[]
  /** Leading blocks already offered to the prefix cache. */
  namedBlocks: number
  /** Prompt tokens found in the prefix cache at the first admission. */
  cachedTokens: number
  preemptions: number
}

/** The state that the two schedulers work on. */
export interface EngineState {
  readonly law: StepLaw
  readonly kv: KvBlocks
  readonly seats: number
  readonly budgetTokens: number
  readonly prefixCache: boolean
  readonly scheduling: 'fcfs' | 'priority'
  /** Blocks that admission may fill. */
  readonly admissionBlocks: number
  /** In order of admission. */
  readonly running: Sequence[]
  readonly waiting: WaitingQueue
  readonly work: StepWork
  readonly counters: EngineCounters
}

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

/** First come, first served; a preempted call goes back to the head. */
export class WaitingQueue {
  #items: Sequence[] = []
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  peek(): Sequence | undefined {
    return this.#items[this.#head]
  }

  push(sequence: Sequence): void {
    this.#items.push(sequence)
  }

  /** Where its priority belongs. */
  insert(sequence: Sequence): void {
    let at = this.#items.length
    while (at > this.#head && goesBefore(sequence, this.#items[at - 1] as Sequence)) at--
    this.#items.splice(at, 0, sequence)
  }

  pushFront(sequence: Sequence): void {
    if (this.#head > 0) this.#items[--this.#head] = sequence
    else this.#items.unshift(sequence)
  }

  shift(): void {
    this.#head++
    // Compacting at half keeps the cost per call constant and the memory within twice the queue.
    if (this.#head > 64 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
  }

  /** Takes out one call wherever it stands; false when it is not here. */
  remove(sequence: Sequence): boolean {
    const index = this.#items.indexOf(sequence, this.#head)
    if (index < 0) return false
    this.#items.splice(index, 1)
    return true
  }
}

/** By priority, then by order of submission. */
export function goesBefore(a: Sequence, b: Sequence): boolean {
  return a.priority < b.priority || (a.priority === b.priority && a.submitOrder < b.submitOrder)
}

/** Tokens the call must have computed before it emits its next one. */
export function targetTokens(sequence: Sequence): number {
  return sequence.promptTokens + sequence.emittedTokens
}

/** Blocks needed for `tokens` tokens. */
export function blocksFor(tokens: number): number {
  return Math.ceil(tokens / KV_BLOCK_TOKENS)
}

/** Makes room for the call's next `tokens` tokens; false, and nothing changed, when blocks run short. */
export function grow(state: EngineState, sequence: Sequence, tokens: number): boolean {
  const after = sequence.computedTokens + tokens
  const need = blocksFor(after) - sequence.anonymousBlocks - sequence.heldHashes.length
  if (need > 0) {
    if (!state.kv.take(need)) return false
    sequence.anonymousBlocks += need
  }
  if (state.prefixCache) nameFullBlocks(state.kv, sequence, Math.floor(Math.min(after, sequence.promptTokens) / KV_BLOCK_TOKENS))
  return true
}

/** Offers the first full blocks to the prefix cache; those of the answer are named when the call ends. */
export function nameFullBlocks(kv: KvBlocks, sequence: Sequence, fullBlocks: number): void {
  const end = Math.min(fullBlocks, sequence.blockHashes.length)
  for (; sequence.namedBlocks < end; sequence.namedBlocks++) {
    const hash = sequence.blockHashes[sequence.namedBlocks] as number
    if (!kv.name(hash)) continue
    sequence.anonymousBlocks--
    sequence.heldHashes.push(hash)
  }
}

/** Gives back all memory of a call. */
export function free(state: EngineState, sequence: Sequence): void {
  state.kv.release(sequence.anonymousBlocks, sequence.heldHashes)
  sequence.anonymousBlocks = 0
  sequence.heldHashes = []
  sequence.namedBlocks = 0
  sequence.computedTokens = 0
  sequence.scheduledTokens = 0
}

/** Books the scheduled tokens of all running calls into the step under way, as decodes or as prefill chunks. */
export function book(state: EngineState): void {
  for (const sequence of state.running) {
    const tokens = sequence.scheduledTokens
    if (tokens === 0) continue
    const decodes = sequence.emittedTokens > 0 && tokens === 1 && sequence.computedTokens + 1 === targetTokens(sequence)
    if (decodes) addDecode(state.work, sequence.computedTokens + 1)
    else addChunk(state.work, { tokens, cachedTokens: sequence.computedTokens })
  }
}

/** Frees a running call, back into the waiting queue, to be recomputed. */
function preempt(state: EngineState, victim: Sequence): void {
  state.running.splice(state.running.indexOf(victim), 1)
  free(state, victim)
  victim.preemptions++
  state.counters.preemptions++
  if (state.scheduling === 'priority') state.waiting.insert(victim)
  else state.waiting.pushFront(victim)
}

/**
 * Makes room for `tokens` more tokens of a running call, preempting the last of the running list (under priority scheduling the least
 * important) while blocks run short. False when the call itself had to go.
 */
export function growOrPreempt(state: EngineState, sequence: Sequence, tokens: number, preempted: number[]): boolean {
  while (!grow(state, sequence, tokens)) {
    const victim =
      state.scheduling === 'priority'
        ? state.running.reduce<Sequence | undefined>((worst, one) => (worst && goesBefore(one, worst) ? worst : one), undefined)
        : state.running.at(-1)
    if (!victim) throw new Error(`blocks ran short with nothing running (${state.kv.used} of ${state.kv.total} used)`)
    preempt(state, victim)
    preempted.push(victim.id)
    if (victim === sequence) return false
  }
  return true
}

/**
 * Moves the head of the waiting queue into the running list when a seat and the blocks for its whole context and one more token are
 * there (vLLM's `scheduler_reserve_full_isl`). Its cached prefix counts as computed, all but the last token, which must be computed
 * to have something to emit from. False when it has to wait.
 */
export function admitHead(state: EngineState, sequence: Sequence): boolean {
  if (state.running.length >= state.seats) return false
  const target = targetTokens(sequence)
  const hits = state.prefixCache ? state.kv.countHits(sequence.blockHashes, Math.floor((target - 1) / KV_BLOCK_TOKENS)) : 0
  // Blocks of the hit that others hold already cost nothing; those that lie idle cost what a fresh block costs.
  const need = blocksFor(target + 1) - hits + (hits > 0 ? state.kv.countIdle(sequence.blockHashes, hits) : 0)
  if (state.kv.used + need > state.admissionBlocks) return false
  for (let i = 0; i < hits; i++) {
    const hash = sequence.blockHashes[i] as number
    state.kv.hold(hash)
    sequence.heldHashes.push(hash)
  }
  sequence.namedBlocks = hits
  sequence.computedTokens = hits * KV_BLOCK_TOKENS
  if (sequence.preemptions === 0) {
    sequence.cachedTokens = sequence.computedTokens
    state.counters.prefixQueryTokens += state.prefixCache ? sequence.promptTokens : 0
    state.counters.prefixHitTokens += sequence.cachedTokens
  }
  state.waiting.shift()
  state.running.push(sequence)
  return true
}
