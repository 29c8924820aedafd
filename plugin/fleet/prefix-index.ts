import { BlockLru } from './block-lru.ts'

/**
 * Blocks of one call that are looked at and remembered: 256 KiB of prompt. Chosen: ten times the mean prompt of the longest trace in use
 * (Mooncake conversation, 12,035 tokens); what lies behind shares its fate with what lies before.
 */
export const PREFIX_BLOCKS_MAX = 1024

/** Which instance of one pool probably holds which prefix blocks, by what was sent there; instances are known by their slot. */
export class PrefixIndex {
  readonly #capacity: number
  readonly #bySlot: (BlockLru | undefined)[] = []

  /** `capacity`: blocks remembered per instance until `resize` tells better. */
  constructor(capacity: number) {
    this.#capacity = capacity
  }

  /**
   * Writes to `out[slot]` how many blocks of the prompt's beginning each instance probably holds, 0 for unknown ones. `out` is as long as
   * the largest slot + 1 at least.
   */
  matchBlocks(prefixBlocks: BigUint64Array, out: Uint16Array): void {
    const blocks = Math.min(prefixBlocks.length, PREFIX_BLOCKS_MAX)
    const words = wordsOf(prefixBlocks, blocks)
    const slots = Math.min(out.length, this.#bySlot.length)
    for (let slot = 0; slot < slots; slot++) out[slot] = this.#bySlot[slot]?.match(words, blocks) ?? 0
    out.fill(0, slots)
  }

  /** The instance was sent a prompt of these blocks, and holds them from now on. */
  record(slot: number, prefixBlocks: BigUint64Array): void {
    const blocks = Math.min(prefixBlocks.length, PREFIX_BLOCKS_MAX)
    if (blocks === 0) return
    this.#of(slot).touch(wordsOf(prefixBlocks, blocks), blocks)
  }

  /** The instance's KV cache holds this many blocks. */
  resize(slot: number, capacity: number): void {
    const lru = this.#of(slot)
    if (lru.capacity !== Math.floor(capacity)) lru.resize(capacity)
  }

  /** The instance left, or restarted with an empty cache. */
  forget(slot: number): void {
    this.#bySlot[slot] = undefined
  }

  /** Blocks remembered of one instance. */
  size(slot: number): number {
    return this.#bySlot[slot]?.size ?? 0
  }

  #of(slot: number): BlockLru {
    const known = this.#bySlot[slot]
    if (known) return known
    const made = new BlockLru(this.#capacity)
    while (this.#bySlot.length < slot) this.#bySlot.push(undefined)
    this.#bySlot[slot] = made
    return made
  }
}

function wordsOf(prefixBlocks: BigUint64Array, blocks: number): Uint32Array {
  return new Uint32Array(prefixBlocks.buffer, prefixBlocks.byteOffset, 2 * blocks)
}
