/**
 * Rows as they cross to the log thread: four flat arrays that change hands instead of a tree that is copied. Cloning a tree names every field of
 * every row and allocates each of its arrays twice; this costs a fifth of that on either side.
 *
 * Values stand one after another: a tag each, and a number where the tag needs one. Texts, and the field names of each kind of object, stand once per batch.
 */
export interface PackedRows {
  readonly count: number
  readonly tags: Uint8Array
  readonly numbers: Float64Array
  /** The contents of all typed arrays. */
  readonly bytes: Uint8Array
  readonly texts: readonly string[]
  /** Field names of the kinds of object. */
  readonly shapes: readonly (readonly string[])[]
}

const UNDEFINED = 0
const NULL = 1
const FALSE = 2
const TRUE = 3
/** These are followed by a number: itself, a place in `texts`, a length, a place in `shapes`, one among the objects met before. */
const NUMBER = 4
const TEXT = 5
const LIST = 6
const OBJECT = 7
const KNOWN = 8
/** From here on typed arrays, by kind: followed by where they begin in `bytes`, and their length. */
const ARRAYS = 9

const KINDS = [Float32Array, Uint32Array, Uint16Array, Uint8Array, Float64Array] as const
type Packable = InstanceType<(typeof KINDS)[number]>
/** Typed arrays begin at multiples of this, whatever their kind. */
const ALIGNED_BYTES = 8

/** First fields of objects that recur by identity, row after row (see InstanceKey): such a one is packed once per batch. */
const RECURRING = { first: 'pool', last: 'url' } as const

/** The arrays that belong to other hands after the crossing. */
export function transferred({ tags, numbers, bytes }: PackedRows): ArrayBuffer[] {
  return [tags.buffer, numbers.buffer, bytes.buffer] as ArrayBuffer[]
}

/** Packs plain rows. Throws on what no row holds: functions, symbols, class instances. */
export class Packer {
  #tags = new Uint8Array(0)
  #numbers = new Float64Array(0)
  #bytes = new Uint8Array(0)
  /** The same memory, by kind of array, in the order of KINDS. */
  #views = viewsOf(this.#bytes)
  #tagCount = 0
  #numberCount = 0
  #byteCount = 0
  #texts = new Map<string, number>()
  #shapes: (readonly string[])[] = []
  readonly #shapesByFirst = new Map<string, number[]>()
  readonly #known = new Map<object, number>()

  pack(rows: readonly object[]): PackedRows {
    try {
      this.#begin()
      for (const row of rows) this.#value(row)
      return {
        count: rows.length,
        tags: this.#tags,
        numbers: this.#numbers,
        bytes: this.#bytes,
        texts: [...this.#texts.keys()],
        shapes: this.#shapes,
      }
    } finally {
      this.#texts.clear()
      this.#shapesByFirst.clear()
      this.#known.clear()
    }
  }

  /** Fresh arrays as large as the last batch needed, and a little more. */
  #begin(): void {
    const roomy = (last: number): number => ALIGNED_BYTES * Math.ceil((1.25 * last + 1_024) / ALIGNED_BYTES)
    this.#tags = new Uint8Array(roomy(this.#tagCount))
    this.#numbers = new Float64Array(roomy(this.#numberCount))
    this.#bytes = new Uint8Array(roomy(this.#byteCount))
    this.#views = viewsOf(this.#bytes)
    this.#tagCount = 0
    this.#numberCount = 0
    this.#byteCount = 0
    this.#shapes = []
  }

  #value(value: unknown): void {
    if (typeof value === 'number') this.#put(NUMBER, value)
    else if (typeof value === 'string') this.#put(TEXT, this.#textAt(value))
    else if (value === undefined) this.#tag(UNDEFINED)
    else if (value === null) this.#tag(NULL)
    else if (typeof value === 'boolean') this.#tag(value ? TRUE : FALSE)
    else if (typeof value !== 'object') throw new TypeError(`a ${typeof value} cannot cross to the log thread`)
    else if (ArrayBuffer.isView(value)) this.#array(value as Packable)
    else if (Array.isArray(value)) {
      this.#put(LIST, value.length)
      for (const one of value) this.#value(one)
    } else this.#object(value as Readonly<Record<string, unknown>>)
  }

  #object(object: Readonly<Record<string, unknown>>): void {
    const known = this.#known.get(object)
    if (known !== undefined) {
      this.#put(KNOWN, known)
      return
    }
    if (Object.getPrototypeOf(object) !== Object.prototype) throw new TypeError('a class instance cannot cross to the log thread')
    const fields = Object.keys(object)
    if (fields[0] === RECURRING.first && fields.at(-1) === RECURRING.last) this.#known.set(object, this.#known.size)
    this.#put(OBJECT, this.#shapeAt(fields))
    for (const field of fields) this.#value(object[field])
  }

  #array(values: Packable): void {
    const kind = kindOf(values)
    if (kind < 0) throw new TypeError('a typed array of this kind cannot cross to the log thread')
    const at = this.#byteCount
    this.#byteCount = at + ALIGNED_BYTES * Math.ceil(values.byteLength / ALIGNED_BYTES)
    if (this.#byteCount > this.#bytes.length) {
      this.#bytes = grown(this.#bytes, this.#byteCount)
      this.#views = viewsOf(this.#bytes)
    }
    // Both of one kind, so that whole memory is moved.
    this.#views[kind]?.set(values, at / values.BYTES_PER_ELEMENT)
    this.#put(ARRAYS + kind, at)
    this.#number(values.length)
  }

  #textAt(text: string): number {
    const known = this.#texts.get(text)
    if (known !== undefined) return known
    this.#texts.set(text, this.#texts.size)
    return this.#texts.size - 1
  }

  #shapeAt(fields: readonly string[]): number {
    const first = fields[0] ?? ''
    const likely = this.#shapesByFirst.get(first)
    for (const at of likely ?? []) if (areEqual(this.#shapes[at] as readonly string[], fields)) return at
    if (likely) likely.push(this.#shapes.length)
    else this.#shapesByFirst.set(first, [this.#shapes.length])
    return this.#shapes.push(fields) - 1
  }

  #put(tag: number, number: number): void {
    this.#tag(tag)
    this.#number(number)
  }

  #tag(tag: number): void {
    if (this.#tagCount === this.#tags.length) this.#tags = grown(this.#tags, 2 * this.#tagCount)
    this.#tags[this.#tagCount++] = tag
  }

  #number(number: number): void {
    if (this.#numberCount === this.#numbers.length) {
      const larger = new Float64Array(2 * this.#numberCount)
      larger.set(this.#numbers)
      this.#numbers = larger
    }
    this.#numbers[this.#numberCount++] = number
  }
}

function kindOf(values: Packable): number {
  for (let kind = 0; kind < KINDS.length; kind++) if (values.constructor === KINDS[kind]) return kind
  return -1
}

function viewsOf({ buffer }: Uint8Array<ArrayBuffer>): Packable[] {
  return KINDS.map((Kind) => new Kind(buffer))
}

function grown(bytes: Uint8Array<ArrayBuffer>, least: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(ALIGNED_BYTES * Math.ceil((1.5 * least) / ALIGNED_BYTES))
  larger.set(bytes)
  return larger
}

function areEqual(one: readonly string[], other: readonly string[]): boolean {
  if (one.length !== other.length) return false
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return false
  return true
}

/** The rows again, equal to those packed; their typed arrays are views. */
export function unpack(packed: PackedRows): object[] {
  const { count, tags, numbers, bytes, texts, shapes } = packed
  let tagAt = 0
  let numberAt = 0
  const known: object[] = []
  const array = (kind: number): Packable => {
    const at = bytes.byteOffset + (numbers[numberAt++] as number)
    const Kind = KINDS[kind] as (typeof KINDS)[number]
    return new Kind(bytes.buffer as ArrayBuffer, at, numbers[numberAt++] as number)
  }
  const object = (): object => {
    const fields = shapes[numbers[numberAt++] as number] as readonly string[]
    const made: Record<string, unknown> = {}
    for (const field of fields) made[field] = value()
    if (fields[0] === RECURRING.first && fields.at(-1) === RECURRING.last) known.push(made)
    return made
  }
  const value = (): unknown => {
    const tag = tags[tagAt++] as number
    switch (tag) {
      case NUMBER:
        return numbers[numberAt++]
      case TEXT:
        return texts[numbers[numberAt++] as number]
      case UNDEFINED:
        return undefined
      case NULL:
        return null
      case FALSE:
      case TRUE:
        return tag === TRUE
      case LIST:
        return Array.from({ length: numbers[numberAt++] as number }, value)
      case OBJECT:
        return object()
      case KNOWN:
        return known[numbers[numberAt++] as number]
      default:
        return array(tag - ARRAYS)
    }
  }
  return Array.from({ length: count }, value) as object[]
}
