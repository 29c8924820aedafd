/** What happens besides arrivals and engine steps. `a` and `b` of an event mean what its kind says. */
export const DELIVER = 1
export const FIRST_TOKEN = 2
export const END = 3
export const SCRAPE = 4
export const LEAVE = 5
export const SCRIPT = 6
export const RETURN = 7
export const WAKE = 8
export const CONNECT_FAILED = 9
export const RESET = 10
export const REFUSED = 11

/** Events in order of time, ties in order of pushing. A binary heap of typed arrays: nothing is allocated per event. */
export class EventQueue {
  #heap = new Int32Array(64)
  #atMs = new Float64Array(64)
  #order = new Float64Array(64)
  #kind = new Int8Array(64)
  #a = new Int32Array(64)
  #b = new Int32Array(64)
  readonly #free: number[] = []
  #nodes = 0
  #length = 0
  #pushed = 0
  /** The event that `pop` took out last. */
  kind = 0
  a = 0
  b = 0

  /** When the next event is due; Infinity when there is none. */
  get nextMs(): number {
    return this.#length === 0 ? Number.POSITIVE_INFINITY : (this.#atMs[this.#heap[0] as number] as number)
  }

  get length(): number {
    return this.#length
  }

  push(atMs: number, event: { readonly kind: number; readonly a: number; readonly b?: number }): void {
    const node = this.#free.pop() ?? this.#nextNode()
    this.#atMs[node] = atMs
    this.#order[node] = this.#pushed++
    this.#kind[node] = event.kind
    this.#a[node] = event.a
    this.#b[node] = event.b ?? 0
    this.#up(this.#length++, node)
  }

  /** Takes the next event out, into `kind`, `a` and `b`. */
  pop(): void {
    const node = this.#heap[0] as number
    this.kind = this.#kind[node] as number
    this.a = this.#a[node] as number
    this.b = this.#b[node] as number
    this.#free.push(node)
    const last = this.#heap[--this.#length] as number
    if (this.#length > 0) this.#down(last)
  }

  #before(x: number, y: number): boolean {
    const difference = (this.#atMs[x] as number) - (this.#atMs[y] as number)
    return difference < 0 || (difference === 0 && (this.#order[x] as number) < (this.#order[y] as number))
  }

  #up(from: number, node: number): void {
    let at = from
    while (at > 0) {
      const parent = (at - 1) >> 1
      const other = this.#heap[parent] as number
      if (!this.#before(node, other)) break
      this.#heap[at] = other
      at = parent
    }
    this.#heap[at] = node
  }

  #down(node: number): void {
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= this.#length) break
      if (child + 1 < this.#length && this.#before(this.#heap[child + 1] as number, this.#heap[child] as number)) child++
      const other = this.#heap[child] as number
      if (!this.#before(other, node)) break
      this.#heap[at] = other
      at = child
    }
    this.#heap[at] = node
  }

  #nextNode(): number {
    if (this.#nodes === this.#heap.length) {
      const size = 2 * this.#nodes
      this.#heap = widened(new Int32Array(size), this.#heap)
      this.#atMs = widened(new Float64Array(size), this.#atMs)
      this.#order = widened(new Float64Array(size), this.#order)
      this.#kind = widened(new Int8Array(size), this.#kind)
      this.#a = widened(new Int32Array(size), this.#a)
      this.#b = widened(new Int32Array(size), this.#b)
    }
    return this.#nodes++
  }
}

function widened<T extends Int8Array | Int32Array | Float64Array>(wide: T, narrow: T): T {
  wide.set(narrow)
  return wide
}
