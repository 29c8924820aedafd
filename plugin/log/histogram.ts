/**
 * Durations that add up: counts in buckets whose bounds grow by a constant factor, so that any percentile is known within
 * RELATIVE_ERROR_RATIO and histograms of minutes, instances and restarts merge by adding counts. Masson, Rim, Lee: "DDSketch", 2019,
 * VLDB, section 2.1; ours keeps every bucket (a duration between 1 µs and a day needs 1,270 of them, real slices hold a few dozen),
 * so there is nothing to collapse. Counts stand in one array from the least bucket to the greatest, since pages merge thousands of
 * histograms; stored they are sparse. Written here rather than imported: the known libraries carry a protobuf encoding or a dense one, and a
 * rollup row needs the few dozen bytes of a sparse one.
 */

/** A percentile is at most this far from the exact one, relative to it. Chosen: finer than a chart shows, coarse enough for small rows. */
export const RELATIVE_ERROR_RATIO = 0.01

/** Below this a duration counts as zero, in the unit of the values (ms: one microsecond). */
export const SMALLEST_VALUE = 0.001

const GROWTH = (1 + RELATIVE_ERROR_RATIO) / (1 - RELATIVE_ERROR_RATIO)
const BUCKETS_PER_E = 1 / Math.log(GROWTH)
const FORMAT = 1
/** Format byte, then sum, min and max as doubles. */
const HEADER_BYTES = 25
/** Room beyond a bucket that did not fit, so that an array does not grow with each new value. */
const SPARE = 32
const NONE = new Float64Array()

/** Counts of values by log-spaced bucket, with their exact number, sum, least and greatest. */
export class Histogram {
  /** Counts of the buckets from `#first` on. */
  #counts = NONE
  #first = 0
  #zeros = 0
  #count = 0
  #sum = 0
  #min = Number.POSITIVE_INFINITY
  #max = Number.NEGATIVE_INFINITY

  /** Values added so far. */
  get count(): number {
    return this.#count
  }
  /** Sum of the values, exact but for rounding. */
  get sum(): number {
    return this.#sum
  }
  /** Mean of the values, NaN when there are none. */
  get mean(): number {
    return this.#sum / this.#count
  }
  /** Least value, exact; NaN when there are none. */
  get min(): number {
    return this.#count === 0 ? Number.NaN : this.#min
  }
  /** Greatest value, exact; NaN when there are none. */
  get max(): number {
    return this.#count === 0 ? Number.NaN : this.#max
  }

  /** Counts one value ≥ 0. Throws on anything else: an unknown duration is not a zero. */
  add(value: number): void {
    if (!(value >= 0 && value < Number.POSITIVE_INFINITY)) throw new Error(`a histogram counts finite values of at least 0, got ${value}`)
    if (value < SMALLEST_VALUE) this.#zeros += 1
    else this.#put(Math.ceil(Math.log(value) * BUCKETS_PER_E), 1)
    this.#count += 1
    this.#sum += value
    this.#min = Math.min(this.#min, value)
    this.#max = Math.max(this.#max, value)
  }

  /** Adds all that `other` counted. */
  merge(other: Histogram): void {
    const { length } = other.#counts
    if (length > 0) {
      this.#reach(other.#first, other.#first + length - 1)
      const shift = other.#first - this.#first
      for (let i = 0; i < length; i++) (this.#counts[shift + i] as number) += other.#counts[i] as number
    }
    this.#zeros += other.#zeros
    this.#count += other.#count
    this.#sum += other.#sum
    this.#min = Math.min(this.#min, other.#min)
    this.#max = Math.max(this.#max, other.#max)
  }

  /** The value that `ratio` (0..1) of all values do not exceed (nearest rank), within RELATIVE_ERROR_RATIO, the greatest exact; NaN when there are none. */
  percentile(ratio: number): number {
    if (this.#count === 0) return Number.NaN
    const rank = Math.min(this.#count, Math.max(1, Math.ceil(ratio * this.#count)))
    if (rank === this.#count) return this.#max
    let seen = this.#zeros
    if (seen >= rank) return this.#min
    for (let i = 0; i < this.#counts.length; i++) {
      seen += this.#counts[i] as number
      if (seen >= rank) return Math.min(this.#max, Math.max(this.#min, (2 * GROWTH ** (this.#first + i)) / (GROWTH + 1)))
    }
    return this.#max
  }

  /** Upper bound and count of each bucket in ascending order, for charts; values counted as zero come under 0. */
  buckets(): { readonly upTo: number; readonly count: number }[] {
    const rows = this.#buckets().map((bucket) => ({ upTo: GROWTH ** bucket, count: this.#countIn(bucket) }))
    return this.#zeros > 0 ? [{ upTo: 0, count: this.#zeros }, ...rows] : rows
  }

  /** As stored: the header, then zeros, number of buckets, and per bucket the step from the last one and its count, all as varints. */
  encode(): Uint8Array {
    const buckets = this.#buckets()
    const header = new DataView(new ArrayBuffer(HEADER_BYTES))
    header.setUint8(0, FORMAT)
    header.setFloat64(1, this.#sum, true)
    header.setFloat64(9, this.#min, true)
    header.setFloat64(17, this.#max, true)
    const bytes = [...new Uint8Array(header.buffer)]
    putVarint(bytes, this.#zeros)
    putVarint(bytes, buckets.length)
    let last = 0
    for (const bucket of buckets) {
      const step = bucket - last
      putVarint(bytes, step >= 0 ? step * 2 : -step * 2 - 1)
      putVarint(bytes, this.#countIn(bucket))
      last = bucket
    }
    return Uint8Array.from(bytes)
  }

  /** Adds what `bytes` (made by `encode`) counted; an empty blob adds nothing. Throws when they are not a histogram. */
  mergeEncoded(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    if (bytes[0] !== FORMAT || bytes.length < HEADER_BYTES + 2)
      throw new Error(`not a histogram: ${bytes.length} bytes, format ${bytes[0]}`)
    const header = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES)
    const at = { index: HEADER_BYTES }
    const zeros = takeVarint(bytes, at)
    let count = zeros
    let bucket = 0
    for (let left = takeVarint(bytes, at); left > 0; left--) {
      const step = takeVarint(bytes, at)
      bucket += step % 2 === 0 ? step / 2 : -(step + 1) / 2
      const inBucket = takeVarint(bytes, at)
      this.#put(bucket, inBucket)
      count += inBucket
    }
    this.#zeros += zeros
    this.#count += count
    this.#sum += header.getFloat64(1, true)
    this.#min = Math.min(this.#min, header.getFloat64(9, true))
    this.#max = Math.max(this.#max, header.getFloat64(17, true))
  }

  /** Those with a count, in ascending order. */
  #buckets(): number[] {
    const buckets: number[] = []
    for (let i = 0; i < this.#counts.length; i++) if ((this.#counts[i] as number) > 0) buckets.push(this.#first + i)
    return buckets
  }

  #countIn(bucket: number): number {
    return this.#counts[bucket - this.#first] ?? 0
  }

  #put(bucket: number, count: number): void {
    if (!(bucket >= this.#first && bucket < this.#first + this.#counts.length)) this.#reach(bucket, bucket)
    ;(this.#counts[bucket - this.#first] as number) += count
  }

  /** Makes room for the buckets from `low` to `high`. */
  #reach(low: number, high: number): void {
    const { length } = this.#counts
    if (length > 0 && low >= this.#first && high < this.#first + length) return
    const first = length === 0 ? low : low < this.#first ? low - SPARE : this.#first
    const end = length === 0 ? high + 1 : Math.max(this.#first + length, high >= this.#first + length ? high + 1 + SPARE : 0)
    const counts = new Float64Array(end - first)
    counts.set(this.#counts, length === 0 ? 0 : this.#first - first)
    this.#counts = counts
    this.#first = first
  }
}

/** All of `blobs` (each made by `encode`) in one histogram. Throws when one of them is not a histogram. */
export function mergeHistograms(blobs: Iterable<Uint8Array>): Histogram {
  const all = new Histogram()
  for (const blob of blobs) all.mergeEncoded(blob)
  return all
}

function putVarint(bytes: number[], value: number): void {
  let rest = value
  while (rest >= 128) {
    bytes.push((rest % 128) | 128)
    rest = Math.floor(rest / 128)
  }
  bytes.push(rest)
}

function takeVarint(bytes: Uint8Array, at: { index: number }): number {
  let value = 0
  let scale = 1
  for (;;) {
    const byte = bytes[at.index++]
    if (byte === undefined) throw new Error(`not a histogram: it ends inside a number at byte ${at.index - 1}`)
    value += (byte & 127) * scale
    if (byte < 128) return value
    scale *= 128
  }
}
