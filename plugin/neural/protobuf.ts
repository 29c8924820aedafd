/**
 * The part of protobuf's wire format that an ONNX model needs: varints, length-delimited fields, floats (Protocol Buffers, "Encoding").
 * Six ONNX messages need nothing more, so no generated code and no schema compiler is loaded.
 */
const VARINT = 0
const DELIMITED = 2
const FIXED_32 = 5

/** A message being written, field by field, in the order of the calls. */
export class MessageWriter {
  readonly #chunks: Buffer[] = []

  /** An integer field (int64, int32 or enum); negative values as two's complement of 64 bits. */
  int(field: number, value: number): this {
    this.#chunks.push(varint((field << 3) | VARINT), varint(value))
    return this
  }

  /** A repeated integer field, packed. */
  ints(field: number, values: readonly number[]): this {
    return this.bytes(field, Buffer.concat(values.map(varint)))
  }

  float(field: number, value: number): this {
    const bits = Buffer.alloc(4)
    bits.writeFloatLE(value)
    this.#chunks.push(varint((field << 3) | FIXED_32), bits)
    return this
  }

  text(field: number, value: string): this {
    return this.bytes(field, Buffer.from(value))
  }

  bytes(field: number, value: Uint8Array): this {
    this.#chunks.push(varint((field << 3) | DELIMITED), varint(value.byteLength), Buffer.from(value))
    return this
  }

  message(field: number, value: MessageWriter): this {
    return this.bytes(field, value.finish())
  }

  messages(field: number, values: readonly MessageWriter[]): this {
    for (const value of values) this.message(field, value)
    return this
  }

  finish(): Buffer {
    return Buffer.concat(this.#chunks)
  }
}

function varint(value: number): Buffer {
  let left = BigInt.asUintN(64, BigInt(value))
  const bytes: number[] = []
  do {
    const more = left > 0x7fn
    bytes.push(Number(left & 0x7fn) | (more ? 0x80 : 0))
    left >>= 7n
  } while (left > 0n)
  return Buffer.from(bytes)
}
