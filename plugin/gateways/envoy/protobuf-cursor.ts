/** Protobuf's wire format, the reading half: numbers, texts and fields to be skipped. */

/** The bytes are not protobuf. */
export class ProtobufError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'ProtobufError'
  }
}

/** Nested deeper than this is no metadata but an attack on the stack. */
export const DEPTH_MAX = 32

/** Wire types (protobuf.dev, Encoding). */
export const VARINT = 0
export const FIXED64 = 1
export const BYTES = 2
const GROUP_START = 3
const FIXED32 = 5

/** A position in bytes. Invariant: 0 ≤ at ≤ end ≤ bytes.length, or a read throws ProtobufError. */
export class Cursor {
  readonly bytes: Buffer
  at: number
  end: number

  constructor(bytes: Buffer) {
    this.bytes = bytes
    this.at = 0
    this.end = bytes.length
  }

  /** A varint of up to 64 bits, of which the low 32 are kept. */
  varint(): number {
    let value = 0
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.at >= this.end) throw new ProtobufError('the message ends inside a number')
      const byte = this.bytes[this.at++] as number
      if (shift < 32) value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value >>> 0
    }
    throw new ProtobufError('a number is longer than ten bytes')
  }

  /** The next field's tag: field number × 8 + wire type. */
  tag(): number {
    const tag = this.varint()
    if (tag >>> 3 === 0) throw new ProtobufError('a field has the number 0')
    return tag
  }

  /** Reads a length and gives the end of what it measures. */
  span(): number {
    const length = this.varint()
    const end = this.at + length
    if (end > this.end) throw new ProtobufError(`a field of ${length} bytes goes beyond its message`)
    return end
  }

  /** Goes into an embedded message; returns what `leave` needs to go on after it. */
  enter(): number {
    const outer = this.end
    this.end = this.span()
    return outer
  }

  leave(outer: number): void {
    this.at = this.end
    this.end = outer
  }

  text(): string {
    const end = this.span()
    const text = this.bytes.toString('utf8', this.at, end)
    this.at = end
    return text
  }

  slice(): Buffer {
    const end = this.span()
    const slice = this.bytes.subarray(this.at, end)
    this.at = end
    return slice
  }

  double(): number {
    this.#forward(8)
    return this.bytes.readDoubleLE(this.at - 8)
  }

  skip(tag: number, depth = 0): void {
    switch (tag & 7) {
      case VARINT:
        this.varint()
        return
      case FIXED64:
        this.#forward(8)
        return
      case BYTES:
        this.at = this.span()
        return
      case FIXED32:
        this.#forward(4)
        return
      case GROUP_START:
        this.#skipGroup(tag >>> 3, depth)
        return
      default:
        throw new ProtobufError(`wire type ${tag & 7} does not exist here`)
    }
  }

  #forward(bytes: number): void {
    if (this.at + bytes > this.end) throw new ProtobufError('the message ends inside a field')
    this.at += bytes
  }

  #skipGroup(field: number, depth: number): void {
    if (depth > DEPTH_MAX) throw new ProtobufError('groups are nested too deep')
    for (;;) {
      const tag = this.tag()
      if ((tag & 7) === 4) {
        if (tag >>> 3 !== field) throw new ProtobufError('a group ends that was not begun')
        return
      }
      this.skip(tag, depth + 1)
    }
  }
}

/** The tag of a field of wire type `type`. */
export const tagOf = (field: number, type: number): number => field * 8 + type
