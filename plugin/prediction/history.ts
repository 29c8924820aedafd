import { accumulate, answerSpan, BUCKETS, type Cumulative, type LengthDistribution, spreadSpan } from './distribution.ts'

/** Answers after which the older half of a histogram is forgotten: a changed application is followed within some hundred calls. Chosen. */
const ROTATE_ANSWERS = 256
/** Answers that the distribution a histogram is blended into weighs as much as. */
const PRIOR_ANSWERS = 4

/** Masses while a distribution is made. */
const blended = new Float64Array(BUCKETS)

/** Output lengths of one application, system prompt, model or pool: two halves, of which the older one goes when the newer is full. */
export class RotatingHistogram {
  #now = new Float32Array(BUCKETS)
  #before = new Float32Array(BUCKETS)
  #nowCount = 0
  #beforeCount = 0

  /** Answers it holds, newest half and older one. */
  get count(): number {
    return this.#nowCount + this.#beforeCount
  }

  /** Adds a whole answer. */
  add(outputTokens: number): void {
    this.addSpan(answerSpan(outputTokens))
  }

  /** Adds what lies evenly between two positions of the bucket axis. */
  addSpan(span: { readonly low: number; readonly high: number }): void {
    spreadSpan(span, this.#now)
    this.#counted()
  }

  /** Adds an answer cut at `outputTokens`: spread over what `expected` thinks it would have become. */
  addCut(outputTokens: number, expected: LengthDistribution | undefined): void {
    const longer = expected?.given(outputTokens)
    if (!longer) return
    for (let k = 0; k < BUCKETS; k++) this.#now[k] = (this.#now[k] as number) + longer.mass(k)
    this.#counted()
  }

  #counted(): void {
    if (++this.#nowCount < ROTATE_ANSWERS) return
    ;[this.#now, this.#before] = [this.#before.fill(0), this.#now]
    this.#beforeCount = this.#nowCount
    this.#nowCount = 0
  }

  /** The histogram as a distribution, a little smoothed and blended with `prior`, which decides alone where nothing came yet; written to `out`. */
  cumulative(prior?: Cumulative, out?: Cumulative): Cumulative {
    const [newer, older] = [this.#now, this.#before]
    let here = (newer[0] as number) + (older[0] as number)
    let before = here
    for (let k = 0; k < BUCKETS; k++) {
      const next = Math.min(BUCKETS - 1, k + 1)
      const after = (newer[next] as number) + (older[next] as number)
      const smooth = 0.5 * here + 0.25 * before + 0.25 * after
      const own = prior ? PRIOR_ANSWERS * ((prior[k + 1] as number) - (prior[k] as number)) : 0
      blended[k] = smooth + own
      before = here
      here = after
    }
    return accumulate(blended, out)
  }

  /** Writes its state to `out` from `at`: HISTOGRAM_NUMBERS numbers. */
  save(out: Float32Array, at: number): void {
    out[at] = this.#nowCount
    out[at + 1] = this.#beforeCount
    out.set(this.#now, at + 2)
    out.set(this.#before, at + 2 + BUCKETS)
  }

  /** Takes over what was saved from `at`. */
  restore(saved: Float32Array, at: number): void {
    ;[this.#nowCount, this.#beforeCount] = [saved[at] as number, saved[at + 1] as number]
    this.#now.set(saved.subarray(at + 2, at + 2 + BUCKETS))
    this.#before.set(saved.subarray(at + 2 + BUCKETS, at + 2 + 2 * BUCKETS))
  }
}

/** Numbers that a saved histogram is made of. */
export const HISTOGRAM_NUMBERS = 2 + 2 * BUCKETS

/** A bounded map: the least recently used entry goes first. */
export class RecentlyUsed<T> {
  readonly #entries = new Map<string, T>()
  readonly #most: number
  #dropped = 0

  constructor(most: number) {
    this.#most = most
  }

  get size(): number {
    return this.#entries.size
  }

  /** Entries forgotten for room since start. */
  get dropped(): number {
    return this.#dropped
  }

  /** The entry, or undefined; does not count as use. */
  peek(key: string): T | undefined {
    return this.#entries.get(key)
  }

  /** The entry, made where it is missing, as the most recently used one. */
  use(key: string, make: () => T): T {
    const known = this.#entries.get(key)
    // Order matters only near the bound; a map that is reordered at every call leaves its dead tables to the garbage collector.
    if (known !== undefined && this.#entries.size <= this.#most / 2) return known
    const entry = known ?? make()
    if (known !== undefined) this.#entries.delete(key)
    this.#entries.set(key, entry)
    if (this.#entries.size > this.#most) {
      this.#entries.delete(this.#entries.keys().next().value as string)
      this.#dropped++
    }
    return entry
  }

  entries(): IterableIterator<[string, T]> {
    return this.#entries.entries()
  }
}
