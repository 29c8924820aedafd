/** Where a sequence is. */
export const NOWHERE = 0
export const WAITING = 1
export const PREFILLING = 2
export const DECODING = 3

/** No sequence. */
export const NONE = -1

/**
 * All sequences of one or several engines, as a struct of arrays: a sequence is a slot number, and a slot belongs to one engine at a
 * time. Nothing is allocated per step, and per call only while the table grows.
 *
 * A decoding sequence gains one token per decode step of its engine, so its counts are kept as their lag behind the engine's step
 * counter: computed = computedLag + steps. A step then costs the same however many decode.
 */
export class SequenceTable {
  promptTokens = new Int32Array(0)
  outputTokens = new Int32Array(0)
  state = new Uint8Array(0)
  /** Tokens whose KV is in memory, and output tokens produced; while decoding, their lag behind the engine's step counter. */
  computedLag = new Float64Array(0)
  emittedLag = new Float64Array(0)
  /** Value of the step counter at which it has produced everything. */
  finishStep = new Float64Array(0)
  /** Place in the running order. */
  admitOrder = new Float64Array(0)
  /** Place in the heap of finish steps. */
  heapAt = new Int32Array(0)
  /** Neighbours in the waiting or running list. */
  previous = new Int32Array(0)
  next = new Int32Array(0)
  /** Tokens computed in the step under way, for chunks and in steps taken call by call. */
  scheduled = new Int32Array(0)
  /** Lower goes first under priority scheduling; ties by order of submission. */
  priority = new Float64Array(0)
  submitOrder = new Float64Array(0)
  preemptions = new Int32Array(0)
  /** Prompt tokens found in the prefix cache at the first admission. */
  cachedTokens = new Int32Array(0)
  /** Leading blocks already offered to the prefix cache. */
  namedBlocks = new Int32Array(0)
  /** For whoever placed it: output tokens predicted (NaN unknown), produced ones at which that is asked again, and 1 once its first token was heard of. */
  predicted = new Float64Array(0)
  askedAgain = new Float64Array(0)
  heard = new Uint8Array(0)
  /** It was aborted while a step was under way; what the step makes of it is told to nobody. */
  gone = new Uint8Array(0)
  /** Nodes of the prefix cache that it holds; the arrays are reused. */
  readonly held: number[][] = []
  /** Chained content hashes of its full blocks; empty when nothing can be shared. */
  readonly blockHashes: ArrayLike<number>[] = []
  #slots = 0
  readonly #free: number[] = []

  /** A slot nobody uses. */
  claim(): number {
    const free = this.#free.pop()
    if (free !== undefined) return free
    if (this.#slots === this.state.length) this.#grow()
    return this.#slots++
  }

  /** Gives a slot back. */
  release(slot: number): void {
    this.state[slot] = NOWHERE
    this.blockHashes[slot] = NO_HASHES
    this.#free.push(slot)
  }

  /** Slots ever in use at once. */
  get size(): number {
    return this.#slots
  }

  #grow(): void {
    const size = Math.max(64, 2 * this.state.length)
    for (let slot = this.state.length; slot < size; slot++) {
      this.held.push([])
      this.blockHashes.push(NO_HASHES)
    }
    this.promptTokens = widened(new Int32Array(size), this.promptTokens)
    this.outputTokens = widened(new Int32Array(size), this.outputTokens)
    this.state = widened(new Uint8Array(size), this.state)
    this.computedLag = widened(new Float64Array(size), this.computedLag)
    this.emittedLag = widened(new Float64Array(size), this.emittedLag)
    this.finishStep = widened(new Float64Array(size), this.finishStep)
    this.admitOrder = widened(new Float64Array(size), this.admitOrder)
    this.heapAt = widened(new Int32Array(size), this.heapAt)
    this.previous = widened(new Int32Array(size), this.previous)
    this.next = widened(new Int32Array(size), this.next)
    this.scheduled = widened(new Int32Array(size), this.scheduled)
    this.priority = widened(new Float64Array(size), this.priority)
    this.submitOrder = widened(new Float64Array(size), this.submitOrder)
    this.preemptions = widened(new Int32Array(size), this.preemptions)
    this.cachedTokens = widened(new Int32Array(size), this.cachedTokens)
    this.namedBlocks = widened(new Int32Array(size), this.namedBlocks)
    this.predicted = widened(new Float64Array(size), this.predicted)
    this.askedAgain = widened(new Float64Array(size), this.askedAgain)
    this.heard = widened(new Uint8Array(size), this.heard)
    this.gone = widened(new Uint8Array(size), this.gone)
  }
}

export const NO_HASHES: ArrayLike<number> = []

function widened<T extends Int32Array | Uint8Array | Float64Array>(wide: T, narrow: T): T {
  wide.set(narrow)
  return wide
}

/** A doubly linked list through `previous` and `next` of the table. */
export interface SlotList {
  head: number
  tail: number
  length: number
}

/** A list with nobody in it. */
export function emptyList(): SlotList {
  return { head: NONE, tail: NONE, length: 0 }
}

/** Puts `slot` behind `after`; NONE is the front. */
export function insertAfter(table: SequenceTable, list: SlotList, slot: number, after: number): void {
  const next = after === NONE ? list.head : (table.next[after] as number)
  table.previous[slot] = after
  table.next[slot] = next
  if (after === NONE) list.head = slot
  else table.next[after] = slot
  if (next === NONE) list.tail = slot
  else table.previous[next] = slot
  list.length++
}

/** Takes `slot` out of the list it is in. */
export function unlink(table: SequenceTable, list: SlotList, slot: number): void {
  const previous = table.previous[slot] as number
  const next = table.next[slot] as number
  if (previous === NONE) list.head = next
  else table.next[previous] = next
  if (next === NONE) list.tail = previous
  else table.previous[next] = previous
  list.length--
}
