/**
 * Reads one float32 constant out of an ONNX file: enough to serve a small model by a plain loop from the same file that onnxruntime takes. Fields of
 * onnx.proto3: ModelProto.graph 7, GraphProto.initializer 5, TensorProto.data_type 2, name 8, raw_data 9.
 */
const GRAPH = 7
const INITIALIZER = 5
const TENSOR = { dataType: 2, name: 8, rawData: 9 } as const
const FLOAT32 = 1

/** A copy of the constant called `name`. Throws where the bytes are no ONNX model, or hold no such float32 constant. */
export function readConstant(model: Uint8Array, name: string): Float32Array {
  for (const graph of fieldsOf(model)) {
    if (graph.field !== GRAPH || !graph.bytes) continue
    for (const { field, bytes } of fieldsOf(graph.bytes)) {
      const values = field === INITIALIZER && bytes ? valuesOf(bytes, name) : undefined
      if (values) return values
    }
  }
  throw new Error(`the ONNX model holds no constant ${name} of float32`)
}

function valuesOf(tensor: Uint8Array, name: string): Float32Array | undefined {
  let isNamed = false
  let isFloat = false
  let raw: Uint8Array | undefined
  for (const { field, bytes, number } of fieldsOf(tensor)) {
    if (field === TENSOR.name && bytes) isNamed = Buffer.from(bytes).toString() === name
    else if (field === TENSOR.dataType) isFloat = number === FLOAT32
    else if (field === TENSOR.rawData) raw = bytes
  }
  return isNamed && isFloat && raw ? new Float32Array(new Uint8Array(raw).buffer) : undefined
}

interface Field {
  readonly field: number
  readonly number?: number
  readonly bytes?: Uint8Array
}

/** The fields of a message, one after another (Protocol Buffers, "Encoding"). */
function* fieldsOf(message: Uint8Array): Generator<Field> {
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++]
      if (byte === undefined) throw new Error('the ONNX model is cut off')
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
  }
  while (at < message.length) {
    const tag = varint()
    const field = Math.floor(tag / 8)
    switch (tag % 8) {
      case 0:
        yield { field, number: varint() }
        break
      case 1:
        at += 8
        break
      case 2: {
        const length = varint()
        if (at + length > message.length) throw new Error('the ONNX model is cut off')
        yield { field, bytes: message.subarray(at, at + length) }
        at += length
        break
      }
      case 5:
        at += 4
        break
      default:
        throw new Error(`this is no ONNX model: wire type ${tag % 8}`)
    }
  }
}
