import { clearWork, emptyWork, stepMs } from '../../../plugin/impact/step.ts'
import { KV_BLOCK_TOKENS, type Profile } from '../../../plugin/simulation/profiles.ts'
import { KvBlocks } from './kv-blocks.ts'
import { scheduleV0, scheduleV1 } from './schedule.ts'
import { book, type EngineCounters, type EngineState, free, nameFullBlocks, type Sequence, targetTokens, WaitingQueue } from './state.ts'

/** The profile, and what deviates from it. */
export interface EngineOptions extends Partial<Omit<Profile, 'name' | 'label'>> {
  readonly profile: Profile
  /** Calls that may wait; one more is refused as 'full'. Unbounded by default, as in vLLM. */
  readonly maxQueued?: number
  readonly scheduling?: 'fcfs' | 'priority'
}

export interface EngineCall {
  /** Unique among the calls now in the engine. */
  readonly id: number
  readonly promptTokens: number
  /** How many tokens it will produce, at least 1; cut at the engine's longest context. */
  readonly outputTokens: number
  /** Chained hashes of the prompt's full 16-token blocks (and of the output's, where known), safe integers. */
  readonly blockHashes?: ArrayLike<number>
  readonly priority?: number
}

/** 'too long': the prompt and one token do not fit into the KV memory at all. */
export type Submitted = 'queued' | 'full' | 'too long'

export interface Emission {
  readonly id: number
  /** New output tokens in this step. */
  readonly tokens: number
  /** It is the call's first token. */
  readonly first: boolean
  readonly finished: boolean
  /** Prompt tokens that came from the prefix cache when the call was admitted. */
  readonly cachedTokens: number
}

export interface StepResult {
  /** 0 when there is nothing to compute. */
  readonly durationMs: number
  /** Tokens that come out at the end of the step, in running order. */
  readonly emitted: readonly Emission[]
  readonly preempted: readonly number[]
}

/** A read of the engine between two steps. */
export interface EngineStats extends Readonly<EngineCounters> {
  readonly running: number
  readonly waiting: number
  readonly kvBlocks: number
  readonly kvBlocksUsed: number
  /** Cached blocks nobody uses now. */
  readonly kvBlocksIdle: number
}

/**
 * The reference for the twin's engine: the same rules, step by step and call by call, nothing summed up or jumped over.
 *
 * A continuous-batching engine, as pure state: no clock, no dice. `step()` computes one step at once and says how long it takes;
 * who calls it decides what time means (the twin adds it up, the virtual instance waits for it).
 */
export class PlainEngine {
  readonly #state: EngineState
  readonly #order: 'v0' | 'v1'
  readonly #maxQueued: number
  readonly #sequences = new Map<number, Sequence>()
  #submissions = 0
  /** Longest context, prompt and output together, in tokens. */
  readonly maxContextTokens: number

  constructor(options: EngineOptions) {
    const { profile, maxQueued = Number.POSITIVE_INFINITY, scheduling = 'fcfs', ...deviations } = options
    const settings = { ...profile, ...deviations }
    const admissionBlocks = Math.floor(settings.kvBlocks * settings.admissionKvRatio)
    this.#order = settings.order
    this.#maxQueued = maxQueued
    this.maxContextTokens = admissionBlocks * KV_BLOCK_TOKENS - 1
    this.#state = {
      law: settings.law,
      kv: new KvBlocks(settings.kvBlocks),
      seats: settings.seats,
      budgetTokens: settings.budgetTokens,
      prefixCache: settings.prefixCache,
      scheduling,
      admissionBlocks,
      running: [],
      waiting: new WaitingQueue(),
      work: emptyWork(),
      counters: { steps: 0, preemptions: 0, prefixQueryTokens: 0, prefixHitTokens: 0, promptTokens: 0, generationTokens: 0 },
    }
  }

  /** Nothing runs and nothing waits. */
  get idle(): boolean {
    return this.#sequences.size === 0
  }

  /** Puts a call at the end of the waiting queue. Throws when its id is in the engine already or it asks for no output. */
  submit(call: EngineCall): Submitted {
    if (this.#sequences.has(call.id)) throw new Error(`call ${call.id} is in the engine already`)
    if (!(call.outputTokens >= 1 && call.promptTokens >= 1))
      throw new Error(`call ${call.id} needs a prompt and an output of at least one token`)
    if (call.promptTokens >= this.maxContextTokens) return 'too long'
    if (this.#state.waiting.length >= this.#maxQueued) return 'full'
    const sequence: Sequence = {
      id: call.id,
      promptTokens: call.promptTokens,
      outputTokens: Math.min(call.outputTokens, this.maxContextTokens - call.promptTokens),
      priority: call.priority ?? 0,
      submitOrder: this.#submissions++,
      blockHashes: call.blockHashes ?? [],
      computedTokens: 0,
      emittedTokens: 0,
      scheduledTokens: 0,
      anonymousBlocks: 0,
      heldHashes: [],
      namedBlocks: 0,
      cachedTokens: 0,
      preemptions: 0,
    }
    this.#sequences.set(call.id, sequence)
    if (this.#state.scheduling === 'priority') this.#state.waiting.insert(sequence)
    else this.#state.waiting.push(sequence)
    return 'queued'
  }

  /** Takes a call out wherever it stands, at any time; false when it is not in the engine. */
  abort(id: number): boolean {
    const sequence = this.#sequences.get(id)
    if (!sequence) return false
    this.#sequences.delete(id)
    if (this.#state.waiting.remove(sequence)) return true
    this.#state.running.splice(this.#state.running.indexOf(sequence), 1)
    free(this.#state, sequence)
    return true
  }

  /** Computes one step: schedules, takes the time by the step law, emits. */
  step(): StepResult {
    const state = this.#state
    const preempted: number[] = []
    clearWork(state.work)
    if (this.#order === 'v1') scheduleV1(state, preempted)
    else scheduleV0(state, preempted)
    book(state)
    if (state.work.tokens === 0) return { durationMs: 0, emitted: [], preempted }
    state.counters.steps++
    return { durationMs: stepMs(state.law, state.work), emitted: this.#advance(), preempted }
  }

  /** Counts, blocks and totals as they are now. */
  stats(): EngineStats {
    const { running, waiting, kv, counters } = this.#state
    return {
      ...counters,
      running: running.length,
      waiting: waiting.length,
      kvBlocks: kv.total,
      kvBlocksUsed: kv.used,
      kvBlocksIdle: kv.idle,
    }
  }

  /** Books the step's tokens: a call that has its whole context computed emits one token, in this same step. */
  #advance(): Emission[] {
    const { running, counters } = this.#state
    const emitted: Emission[] = []
    let kept = 0
    for (const sequence of running) {
      sequence.computedTokens += sequence.scheduledTokens
      const emits = sequence.scheduledTokens > 0 && sequence.computedTokens === targetTokens(sequence)
      sequence.scheduledTokens = 0
      if (emits) {
        sequence.emittedTokens++
        counters.generationTokens++
        const first = sequence.emittedTokens === 1
        if (first) counters.promptTokens += sequence.promptTokens
        const finished = sequence.emittedTokens === sequence.outputTokens
        emitted.push({ id: sequence.id, tokens: 1, first, finished, cachedTokens: sequence.cachedTokens })
        if (finished) {
          this.#sequences.delete(sequence.id)
          if (this.#state.prefixCache) nameFullBlocks(this.#state.kv, sequence, Math.floor(sequence.computedTokens / KV_BLOCK_TOKENS))
          free(this.#state, sequence)
          continue
        }
      }
      running[kept++] = sequence
    }
    running.length = kept
    return emitted
  }
}

/** An engine of `options.profile`, with whatever else `options` sets in place of the profile's own. */
export function createPlainEngine(options: EngineOptions): PlainEngine {
  return new PlainEngine(options)
}
