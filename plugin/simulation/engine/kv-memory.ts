const NONE = -1
const INITIAL_NODES = 256

/**
 * The KV memory of one engine, counted in blocks. Only blocks whose content is known by a hash have an identity (a node), because only
 * they can be shared; all others are a number. So an engine without prefix cache pays two additions per allocation.
 *
 * Invariant I11: free + idle + referenced + anonymous = total, always. Nodes live in typed arrays found by linear probing; idle ones
 * form a list, least recently used first.
 */
export class KvMemory {
  readonly total: number
  #anonymous = 0
  #referenced = 0
  #idle = 0
  #hashes = new Float64Array(0)
  #references = new Int32Array(0)
  #older = new Int32Array(0)
  #newer = new Int32Array(0)
  #table = new Int32Array(0)
  #oldest = NONE
  #newest = NONE
  #fresh = 0
  readonly #free: number[] = []

  constructor(total: number) {
    if (!Number.isInteger(total) || total < 1) throw new Error(`KV blocks must be a positive integer, got ${total}`)
    this.total = total
  }

  /** Blocks that can be handed out, evicting idle ones. */
  get available(): number {
    return this.total - this.#anonymous - this.#referenced
  }

  /** Blocks held by calls. */
  get used(): number {
    return this.#anonymous + this.#referenced
  }

  /** Blocks that hold cached content nobody uses now. */
  get idle(): number {
    return this.#idle
  }

  /** The node of a cached block, −1 where it is not cached. */
  find(hash: number): number {
    const mask = this.#table.length - 1
    if (mask < 0) return NONE
    for (let at = home(hash, mask); ; at = (at + 1) & mask) {
      const node = this.#table[at] as number
      if (node === NONE || this.#hashes[node] === hash) return node
    }
  }

  /** Nobody holds the node's block now. */
  isIdle(node: number): boolean {
    return this.#references[node] === 0
  }

  /** Takes `count` blocks without identity. False, and nothing taken, when there are not enough. */
  take(count: number): boolean {
    if (count > this.available) return false
    this.#anonymous += count
    for (let excess = this.#anonymous + this.#referenced + this.#idle - this.total; excess > 0; excess--) this.#evictOldest()
    return true
  }

  /** Holds a cached block. */
  hold(node: number): void {
    const references = this.#references[node] as number
    this.#references[node] = references + 1
    if (references > 0) return
    this.#unlink(node)
    this.#referenced++
  }

  /**
   * Names one anonymous block of the caller, which then can be shared, and gives its node. −1 where a block of that content is cached
   * already: the caller's copy stays anonymous, as in vLLM, which does not merge duplicates.
   */
  name(hash: number): number {
    if (this.find(hash) !== NONE) return NONE
    const node = this.#free.pop() ?? this.#nextFresh()
    this.#hashes[node] = hash
    this.#references[node] = 1
    this.#place(node)
    this.#anonymous--
    this.#referenced++
    return node
  }

  /** Gives back `anonymous` blocks and one reference to each of `nodes`, last first, so that the end of a prompt is evicted before its start. */
  release(anonymous: number, nodes: readonly number[]): void {
    this.#anonymous -= anonymous
    if (this.#anonymous < 0) throw new Error(`released ${-this.#anonymous} blocks too many`)
    for (let i = nodes.length - 1; i >= 0; i--) {
      const node = nodes[i] as number
      const references = (this.#references[node] as number) - 1
      if (!(references >= 0)) throw new Error(`block ${node} released but not held`)
      this.#references[node] = references
      if (references > 0) continue
      this.#referenced--
      this.#linkNewest(node)
    }
  }

  /** Nothing held, nothing cached: the engine was restarted. */
  clear(): void {
    this.#anonymous = 0
    this.#referenced = 0
    this.#idle = 0
    this.#table.fill(NONE)
    this.#oldest = NONE
    this.#newest = NONE
    this.#fresh = 0
    this.#free.length = 0
  }

  #nextFresh(): number {
    if (this.#fresh === this.#hashes.length) this.#grow()
    return this.#fresh++
  }

  #place(node: number): void {
    const mask = this.#table.length - 1
    let at = home(this.#hashes[node] as number, mask)
    while (this.#table[at] !== NONE) at = (at + 1) & mask
    this.#table[at] = node
  }

  #linkNewest(node: number): void {
    this.#idle++
    this.#older[node] = this.#newest
    this.#newer[node] = NONE
    if (this.#newest === NONE) this.#oldest = node
    else this.#newer[this.#newest] = node
    this.#newest = node
  }

  #unlink(node: number): void {
    this.#idle--
    const older = this.#older[node] as number
    const newer = this.#newer[node] as number
    if (older === NONE) this.#oldest = newer
    else this.#newer[older] = newer
    if (newer === NONE) this.#newest = older
    else this.#older[newer] = older
  }

  #evictOldest(): void {
    const node = this.#oldest
    this.#unlink(node)
    const table = this.#table
    const mask = table.length - 1
    let hole = home(this.#hashes[node] as number, mask)
    while (table[hole] !== node) hole = (hole + 1) & mask
    // Backward shift (Knuth, 1973, The Art of Computer Programming 3, section 6.4, algorithm R): no tombstones.
    for (let at = (hole + 1) & mask; table[at] !== NONE; at = (at + 1) & mask) {
      const moved = table[at] as number
      if (((at - home(this.#hashes[moved] as number, mask)) & mask) < ((at - hole) & mask)) continue
      table[hole] = moved
      hole = at
    }
    table[hole] = NONE
    this.#free.push(node)
  }

  #grow(): void {
    const nodes = Math.max(INITIAL_NODES, 2 * this.#hashes.length)
    this.#hashes = widened(new Float64Array(nodes), this.#hashes)
    this.#references = widened(new Int32Array(nodes), this.#references)
    this.#older = widened(new Int32Array(nodes), this.#older)
    this.#newer = widened(new Int32Array(nodes), this.#newer)
    this.#table = new Int32Array(2 * nodes).fill(NONE)
    // Only called with every node in use.
    for (let node = 0; node < this.#fresh; node++) this.#place(node)
  }
}

/** Start of the probe for a hash, a safe integer: both halves mixed as in MurmurHash3's finaliser (Appleby, 2011). */
function home(hash: number, mask: number): number {
  const low = hash | 0
  const high = (hash / 4_294_967_296) | 0
  const mixed = Math.imul(low ^ Math.imul(high, 0x9e3779b1), 0x85ebca6b)
  return (mixed ^ (mixed >>> 15)) & mask
}

function widened<T extends Float64Array | Int32Array>(wide: T, narrow: T): T {
  wide.set(narrow)
  return wide
}
