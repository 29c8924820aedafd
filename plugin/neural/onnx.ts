import { MessageWriter } from './protobuf.ts'

/** A graph as ONNX bytes (ONNX IR specification; field numbers of onnx.proto3). */

export type ElementType = 'float32' | 'float64' | 'int64' | 'bool'

/** TensorProto.DataType. */
const DATA_TYPE: Readonly<Record<ElementType, number>> = { float32: 1, int64: 7, bool: 9, float64: 11 }

/** AttributeProto.AttributeType. */
const ATTRIBUTE = { float: 1, int: 2, text: 3, ints: 7 } as const

/** IR version 9 and operator set 19 came with ONNX 1.14: old enough for every runtime of use, new enough for axes as inputs. */
const IR_VERSION = 9
/** See IR_VERSION. */
export const OPERATOR_SET = 19

/** A size that is known only when the model runs: how many rows there are. */
export const ANY_SIZE = -1

export interface ValueSpec {
  readonly name: string
  readonly type: ElementType
  readonly shape: readonly number[]
}

export interface ConstantSpec extends ValueSpec {
  /** Little-endian bytes, row by row. */
  readonly bytes: Uint8Array
}

export type Attributes = Readonly<Record<string, number | string | readonly number[] | { readonly float: number }>>

export interface NodeSpec {
  readonly operator: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: Attributes
}

export interface GraphSpec {
  readonly name: string
  readonly inputs: readonly ValueSpec[]
  readonly outputs: readonly ValueSpec[]
  readonly constants: readonly ConstantSpec[]
  readonly nodes: readonly NodeSpec[]
}

/** The bytes of an ONNX file that holds this graph. */
export function encodeModel(graph: GraphSpec): Buffer {
  const operators = new MessageWriter().text(1, '').int(2, OPERATOR_SET)
  return new MessageWriter().int(1, IR_VERSION).text(2, 'phasewise').message(7, encodeGraph(graph)).message(8, operators).finish()
}

function encodeGraph(graph: GraphSpec): MessageWriter {
  return new MessageWriter()
    .messages(1, graph.nodes.map(encodeNode))
    .text(2, graph.name)
    .messages(5, graph.constants.map(encodeConstant))
    .messages(11, graph.inputs.map(encodeValue))
    .messages(12, graph.outputs.map(encodeValue))
}

function encodeNode(node: NodeSpec, index: number): MessageWriter {
  const message = new MessageWriter()
  for (const input of node.inputs) message.text(1, input)
  for (const output of node.outputs) message.text(2, output)
  message.text(3, `${node.operator}_${index}`).text(4, node.operator)
  return message.messages(5, Object.entries(node.attributes).map(encodeAttribute))
}

function encodeAttribute([name, value]: [string, Attributes[string]]): MessageWriter {
  const message = new MessageWriter().text(1, name)
  if (typeof value === 'number') return message.int(3, value).int(20, ATTRIBUTE.int)
  if (typeof value === 'string') return message.text(4, value).int(20, ATTRIBUTE.text)
  if ('float' in value) return message.float(2, value.float).int(20, ATTRIBUTE.float)
  return message.ints(8, value).int(20, ATTRIBUTE.ints)
}

function encodeConstant(constant: ConstantSpec): MessageWriter {
  return new MessageWriter().ints(1, constant.shape).int(2, DATA_TYPE[constant.type]).text(8, constant.name).bytes(9, constant.bytes)
}

function encodeValue(value: ValueSpec): MessageWriter {
  const shape = new MessageWriter().messages(
    1,
    value.shape.map((size) => (size === ANY_SIZE ? new MessageWriter().text(2, 'rows') : new MessageWriter().int(1, size))),
  )
  const tensor = new MessageWriter().int(1, DATA_TYPE[value.type]).message(2, shape)
  return new MessageWriter().text(1, value.name).message(2, new MessageWriter().message(1, tensor))
}
