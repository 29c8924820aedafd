/**
 * The KV memory of one engine, counted in blocks. Only blocks whose content is known by a hash have an identity, because only
 * they can be shared; all others are a number. So an engine without prefix cache pays two additions per allocation.
 *
 * Invariant I11: free + idle + referenced + anonymous = total, always.
 */
export class KvBlocks {
  readonly total: number
  #anonymous = 0
  /** Shared blocks in use: hash to the number of calls that hold it. */
  readonly #referenced = new Map<number, number>()
  /** Cached blocks nobody holds, least recently used first (a Set keeps insertion order); evicted when memory runs short. */
  readonly #idle = new Set<number>()

  constructor(total: number) {
    if (!Number.isInteger(total) || total < 1) throw new Error(`KV blocks must be a positive integer, got ${total}`)
    this.total = total
  }

  /** Blocks that can be handed out, evicting idle ones. */
  get available(): number {
    return this.total - this.#anonymous - this.#referenced.size
  }

  /** Blocks held by calls. */
  get used(): number {
    return this.#anonymous + this.#referenced.size
  }

  /** Blocks that hold cached content nobody uses now. */
  get idle(): number {
    return this.#idle.size
  }

  /** How many of the leading `hashes`, at most `limit`, are cached. */
  countHits(hashes: ArrayLike<number>, limit: number): number {
    const end = Math.min(hashes.length, limit)
    let hits = 0
    while (hits < end) {
      const hash = hashes[hits] as number
      if (!this.#referenced.has(hash) && !this.#idle.has(hash)) break
      hits++
    }
    return hits
  }

  /** Of the first `hits` hashes, those nobody holds now: taking them uses up that many available blocks. */
  countIdle(hashes: ArrayLike<number>, hits: number): number {
    let idle = 0
    for (let i = 0; i < hits; i++) if (this.#idle.has(hashes[i] as number)) idle++
    return idle
  }

  /** Takes `count` blocks without identity. False, and nothing taken, when there are not enough. */
  take(count: number): boolean {
    if (count > this.available) return false
    this.#anonymous += count
    let excess = this.#anonymous + this.#referenced.size + this.#idle.size - this.total
    for (const hash of this.#idle) {
      if (excess-- <= 0) break
      this.#idle.delete(hash)
    }
    return true
  }

  /** Holds one cached block; it must be there (see `countHits`). */
  hold(hash: number): void {
    const references = this.#referenced.get(hash)
    if (references !== undefined) this.#referenced.set(hash, references + 1)
    else if (this.#idle.delete(hash)) this.#referenced.set(hash, 1)
    else throw new Error(`block ${hash} is not cached`)
  }

  /**
   * Names one anonymous block of the caller, which then can be shared. False where a block of that content is cached already: the
   * caller's copy stays anonymous, as in vLLM, which does not merge duplicates.
   */
  name(hash: number): boolean {
    if (this.#referenced.has(hash) || this.#idle.has(hash)) return false
    this.#anonymous--
    this.#referenced.set(hash, 1)
    return true
  }

  /** Gives back `anonymous` blocks and one reference to each of `hashes`, last first, so that the end of a prompt is evicted before its start. */
  release(anonymous: number, hashes: readonly number[]): void {
    this.#anonymous -= anonymous
    if (this.#anonymous < 0) throw new Error(`released ${-this.#anonymous} blocks too many`)
    for (let i = hashes.length - 1; i >= 0; i--) {
      const hash = hashes[i] as number
      const references = this.#referenced.get(hash)
      if (references === undefined) throw new Error(`block ${hash} released but not held`)
      if (references > 1) this.#referenced.set(hash, references - 1)
      else {
        this.#referenced.delete(hash)
        this.#idle.add(hash)
      }
    }
  }
}
