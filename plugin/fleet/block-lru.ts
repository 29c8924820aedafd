const NONE = -1
/** Blocks allocated at first; doubled as needed, so that an idle instance costs next to nothing. */
const INITIAL_BLOCKS = 256

/**
 * The prefix blocks one instance probably holds: a set of 64-bit hashes, least recently used out first. Typed arrays and linear
 * probing instead of a Map of BigInts: no allocation per look-up. A chain is touched from its end to its beginning, so no block
 * is ever older than one behind it in its chain, and the oldest goes first: what is held of a chain is always its beginning. That is why
 * `match` may search by halves.
 */
export class BlockLru {
  #capacity: number
  #low: Uint32Array
  #high: Uint32Array
  #newer: Int32Array
  #older: Int32Array
  #table: Int32Array
  #shift: number
  #size = 0
  #fresh = 0
  readonly #free: number[] = []
  #newest = NONE
  #oldest = NONE

  constructor(capacity: number) {
    this.#capacity = Math.max(1, Math.floor(capacity))
    this.#low = new Uint32Array(INITIAL_BLOCKS)
    this.#high = new Uint32Array(INITIAL_BLOCKS)
    this.#newer = new Int32Array(INITIAL_BLOCKS)
    this.#older = new Int32Array(INITIAL_BLOCKS)
    this.#table = new Int32Array(2 * INITIAL_BLOCKS).fill(NONE)
    this.#shift = 32 - Math.log2(2 * INITIAL_BLOCKS)
  }

  get size(): number {
    return this.#size
  }

  get capacity(): number {
    return this.#capacity
  }

  /** Sets how many blocks fit; the oldest beyond that go. */
  resize(capacity: number): void {
    this.#capacity = Math.max(1, Math.floor(capacity))
    while (this.#size > this.#capacity) this.#free.push(this.#dropOldest())
  }

  /** How many blocks of the chain's beginning are held. `words` are the hashes as pairs of 32-bit words. */
  match(words: Uint32Array, blocks: number): number {
    if (blocks === 0 || this.#size === 0 || this.#find(words, 0) < 0) return 0
    let held = 1
    let missing = blocks + 1
    while (missing - held > 1) {
      const middle = (held + missing) >>> 1
      if (this.#find(words, middle - 1) >= 0) held = middle
      else missing = middle
    }
    return held
  }

  /** Takes the chain's first `blocks` blocks in as just used; at most as many as fit. */
  touch(words: Uint32Array, blocks: number): void {
    for (let i = Math.min(blocks, this.#capacity) - 1; i >= 0; i--) {
      const at = this.#find(words, i)
      if (at >= 0) this.#renew(this.#table[at] as number)
      else this.#insert(words[2 * i] as number, words[2 * i + 1] as number)
    }
  }

  #home(low: number, high: number): number {
    return Math.imul(low ^ Math.imul(high, 0x9e3779b1), 0x85ebca6b) >>> this.#shift
  }

  /** Position in the table, or −1. */
  #find(words: Uint32Array, block: number): number {
    const low = words[2 * block] as number
    const high = words[2 * block + 1] as number
    const table = this.#table
    const mask = table.length - 1
    for (let at = this.#home(low, high); ; at = (at + 1) & mask) {
      const node = table[at] as number
      if (node === NONE) return NONE
      if (this.#low[node] === low && this.#high[node] === high) return at
    }
  }

  #insert(low: number, high: number): void {
    let node: number | undefined
    if (this.#size >= this.#capacity) node = this.#dropOldest()
    else node = this.#free.pop()
    if (node === undefined) {
      if (this.#fresh === this.#low.length) this.#grow()
      node = this.#fresh++
    }
    this.#low[node] = low
    this.#high[node] = high
    this.#place(node)
    this.#linkNewest(node)
    this.#size++
  }

  #place(node: number): void {
    const mask = this.#table.length - 1
    let at = this.#home(this.#low[node] as number, this.#high[node] as number)
    while (this.#table[at] !== NONE) at = (at + 1) & mask
    this.#table[at] = node
  }

  #renew(node: number): void {
    if (node === this.#newest) return
    this.#unlink(node)
    this.#linkNewest(node)
  }

  #linkNewest(node: number): void {
    this.#newer[node] = NONE
    this.#older[node] = this.#newest
    if (this.#newest === NONE) this.#oldest = node
    else this.#newer[this.#newest] = node
    this.#newest = node
  }

  #unlink(node: number): void {
    const newer = this.#newer[node] as number
    const older = this.#older[node] as number
    if (newer === NONE) this.#newest = older
    else this.#older[newer] = older
    if (older === NONE) this.#oldest = newer
    else this.#newer[older] = newer
  }

  #dropOldest(): number {
    const node = this.#oldest
    this.#unlink(node)
    const table = this.#table
    const mask = table.length - 1
    let hole = this.#home(this.#low[node] as number, this.#high[node] as number)
    while (table[hole] !== node) hole = (hole + 1) & mask
    // Backward shift (Knuth, 1973, The Art of Computer Programming 3, section 6.4, algorithm R): no tombstones, probes stay short.
    for (let at = (hole + 1) & mask; table[at] !== NONE; at = (at + 1) & mask) {
      const moved = table[at] as number
      const home = this.#home(this.#low[moved] as number, this.#high[moved] as number)
      const staysReachable = ((at - home) & mask) < ((at - hole) & mask)
      if (staysReachable) continue
      table[hole] = moved
      hole = at
    }
    table[hole] = NONE
    this.#size--
    return node
  }

  #grow(): void {
    const nodes = 2 * this.#low.length
    this.#low = widen(new Uint32Array(nodes), this.#low)
    this.#high = widen(new Uint32Array(nodes), this.#high)
    this.#newer = widen(new Int32Array(nodes), this.#newer)
    this.#older = widen(new Int32Array(nodes), this.#older)
    this.#table = new Int32Array(2 * nodes).fill(NONE)
    this.#shift--
    for (let node = this.#oldest; node !== NONE; node = this.#newer[node] as number) this.#place(node)
  }
}

function widen<T extends Uint32Array | Int32Array>(wide: T, narrow: T): T {
  wide.set(narrow)
  return wide
}
