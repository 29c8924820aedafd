import { EngineCore } from './engine/core.ts'
import { DECODING, NO_HASHES, NONE, SequenceTable } from './engine/sequences.ts'
import { type EngineCounters, emittedOf, type Scheduling } from './engine/state.ts'
import type { Profile } from './profiles.ts'

/** The profile, and what deviates from it. */
export interface EngineOptions extends Partial<Omit<Profile, 'name' | 'label'>> {
  readonly profile: Profile
  /** Calls that may wait; one more is refused as 'full'. Unbounded by default, as in vLLM. */
  readonly maxQueued?: number
  /** 'fcfs' by default. */
  readonly scheduling?: Scheduling
}

export interface EngineCall {
  /** Unique among the calls now in the engine. */
  readonly id: number
  readonly promptTokens: number
  /** How many tokens it will produce, at least 1; cut at the engine's longest context. */
  readonly outputTokens: number
  /** Chained hashes of the prompt's full 16-token blocks (and of the output's, where known), safe integers. */
  readonly blockHashes?: ArrayLike<number>
  /** Lower goes first under priority scheduling; 0 by default. */
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
 * One engine driven step by step, with every token told: the twin's own core (`EngineCore`) behind calls known by id. Pure state: no
 * clock, no dice. `step()` computes one step at once and says how long it takes; the virtual instance waits that long.
 */
export class Engine {
  readonly #table = new SequenceTable()
  readonly #core: EngineCore
  readonly #maxQueued: number
  readonly #slots = new Map<number, number>()
  readonly #ids: number[] = []
  /** Longest context, prompt and output together, in tokens. */
  readonly maxContextTokens: number

  constructor(options: EngineOptions) {
    const { profile, maxQueued = Number.POSITIVE_INFINITY, scheduling = 'fcfs', ...deviations } = options
    this.#core = new EngineCore({ table: this.#table, profile: { ...profile, ...deviations }, scheduling })
    this.#maxQueued = maxQueued
    this.maxContextTokens = this.#core.maxContextTokens
  }

  /** Nothing runs and nothing waits. */
  get idle(): boolean {
    return this.#core.idle
  }

  /** Puts a call at the end of the waiting queue. Throws when its id is in the engine already or it asks for no output. */
  submit(call: EngineCall): Submitted {
    if (this.#slots.has(call.id)) throw new Error(`call ${call.id} is in the engine already`)
    if (!(call.outputTokens >= 1 && call.promptTokens >= 1))
      throw new Error(`call ${call.id} needs a prompt and an output of at least one token`)
    if (call.promptTokens >= this.maxContextTokens) return 'too long'
    if (this.#core.state.waiting.length >= this.#maxQueued) return 'full'
    const slot = this.#table.claim()
    this.#table.promptTokens[slot] = call.promptTokens
    this.#table.outputTokens[slot] = call.outputTokens
    this.#table.priority[slot] = call.priority ?? 0
    this.#table.blockHashes[slot] = call.blockHashes ?? NO_HASHES
    this.#core.submit(slot)
    this.#slots.set(call.id, slot)
    this.#ids[slot] = call.id
    return 'queued'
  }

  /** Takes a call out wherever it stands, at any time; false when it is not in the engine. */
  abort(id: number): boolean {
    const slot = this.#slots.get(id)
    if (slot === undefined) return false
    this.#core.abort(slot)
    this.#leave(slot)
    return true
  }

  /** Computes one step: schedules, takes the time by the step law, emits. */
  step(): StepResult {
    const busy = this.#core.begin(0)
    const preempted = this.#core.state.preempted.map((slot) => this.#ids[slot] as number)
    if (!busy) return { durationMs: 0, emitted: [], preempted }
    this.#core.cut(0)
    const durationMs = this.#core.endMs
    const emitted = this.#emissions()
    this.#core.complete()
    for (const slot of this.#core.events.finished) this.#leave(slot)
    return { durationMs, emitted, preempted }
  }

  /** Counts, blocks and totals as they are now. */
  stats(): EngineStats {
    const { running, waiting, kv, counters } = this.#core.state
    return {
      ...counters,
      running: running.length,
      waiting: waiting.length,
      kvBlocks: kv.total,
      kvBlocksUsed: kv.used,
      kvBlocksIdle: kv.idle,
    }
  }

  #leave(slot: number): void {
    this.#slots.delete(this.#ids[slot] as number)
    this.#table.release(slot)
  }

  /** Who gets a token at the end of the step under way, which is the run's only one. */
  #emissions(): Emission[] {
    const { state } = this.#core
    const emitted: Emission[] = []
    for (let slot = state.running.head; slot !== NONE; slot = this.#table.next[slot] as number)
      if (this.#emits(slot)) emitted.push(this.#emission(slot))
    return emitted
  }

  #emits(slot: number): boolean {
    const { state } = this.#core
    const table = this.#table
    if (table.state[slot] === DECODING) return state.decodes && (!state.uneven || (table.scheduled[slot] as number) > 0)
    const scheduled = isChunkOfStep(this.#core, slot) ? (table.scheduled[slot] as number) : 0
    const target = (table.promptTokens[slot] as number) + (table.emittedLag[slot] as number)
    return scheduled > 0 && (table.computedLag[slot] as number) + scheduled === target
  }

  #emission(slot: number): Emission {
    const table = this.#table
    const tokens = emittedOf(this.#core.state, slot) + 1
    return {
      id: this.#ids[slot] as number,
      tokens: 1,
      first: tokens === 1,
      finished: tokens === table.outputTokens[slot],
      cachedTokens: table.cachedTokens[slot] as number,
    }
  }
}

function isChunkOfStep({ state }: EngineCore, slot: number): boolean {
  for (let i = 0; i < state.chunkCount; i++) if (state.chunks[i] === slot) return true
  return false
}

/** An engine of `options.profile`, with whatever else `options` sets in place of the profile's own. */
export function createEngine(options: EngineOptions): Engine {
  return new Engine(options)
}
