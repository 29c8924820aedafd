import type { SequenceTable } from './sequences.ts'

/** Decoding sequences by finish step, ties by running order: who finishes next. A binary heap of slots that can be taken out from the middle. */
export class FinishHeap {
  readonly #table: SequenceTable
  #slots = new Int32Array(16)
  #length = 0

  constructor(table: SequenceTable) {
    this.#table = table
  }

  get length(): number {
    return this.#length
  }

  /** The slot that finishes first; undefined behaviour when empty. */
  peek(): number {
    return this.#slots[0] as number
  }

  push(slot: number): void {
    if (this.#length === this.#slots.length) {
      const wide = new Int32Array(2 * this.#length)
      wide.set(this.#slots)
      this.#slots = wide
    }
    this.#up(this.#length++, slot)
  }

  remove(slot: number): void {
    const at = this.#table.heapAt[slot] as number
    const last = this.#slots[--this.#length] as number
    if (last === slot) return
    this.#up(at, last)
    this.#down(this.#table.heapAt[last] as number, last)
  }

  /** The slot's finish step grew. */
  postponed(slot: number): void {
    this.#down(this.#table.heapAt[slot] as number, slot)
  }

  clear(): void {
    this.#length = 0
  }

  #before(a: number, b: number): boolean {
    const { finishStep, admitOrder } = this.#table
    const difference = (finishStep[a] as number) - (finishStep[b] as number)
    return difference < 0 || (difference === 0 && (admitOrder[a] as number) < (admitOrder[b] as number))
  }

  #up(from: number, slot: number): void {
    const { heapAt } = this.#table
    let at = from
    while (at > 0) {
      const parent = (at - 1) >> 1
      const other = this.#slots[parent] as number
      if (!this.#before(slot, other)) break
      this.#slots[at] = other
      heapAt[other] = at
      at = parent
    }
    this.#slots[at] = slot
    heapAt[slot] = at
  }

  #down(from: number, slot: number): void {
    const { heapAt } = this.#table
    let at = from
    for (;;) {
      let child = 2 * at + 1
      if (child >= this.#length) break
      if (child + 1 < this.#length && this.#before(this.#slots[child + 1] as number, this.#slots[child] as number)) child++
      const other = this.#slots[child] as number
      if (!this.#before(other, slot)) break
      this.#slots[at] = other
      heapAt[other] = at
      at = child
    }
    this.#slots[at] = slot
    heapAt[slot] = at
  }
}
