import { Graph, type Tensor } from '../neural/graph.ts'
import { ANY_SIZE } from '../neural/onnx.ts'
import { add, affine, columns, matrixProduct, minimum, tanh } from '../neural/operators.ts'
import { BLOCKS, CONDITIONS, HOLD_WIDTH, ORDER_WIDTH, PLACE_WIDTH } from '../placement/learned-model.ts'

/** The learned policy as one ONNX graph of three heads: rows of features in, one figure per row out. */
export interface PolicyHeads {
  readonly cost: Tensor
  readonly margin: Tensor
  readonly key: Tensor
}

/** The model function, equal to the plain loops that serve. Inputs `place`, `hold` and `order`, any number of rows each. */
export function policyNet(g: Graph): PolicyHeads {
  const [hidden, bias, output, linear, conditions, order] = BLOCKS.map(({ name, shape }) =>
    g.parameter({ name, shape: name === 'place.bias' ? [shape[1]] : shape, decays: false, initial: () => 0 }),
  ) as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
  const place = g.input('place', [ANY_SIZE, PLACE_WIDTH])
  const cost = add(g, matrixProduct(g, place, linear), matrixProduct(g, tanh(g, affine(g, place, { weights: hidden, bias })), output))
  const margins = matrixProduct(g, g.input('hold', [ANY_SIZE, HOLD_WIDTH]), conditions)
  const each = Array.from({ length: CONDITIONS }, (_, k) => columns(g, margins, { start: k, end: k + 1 }))
  const margin = each.reduce((least, one) => minimum(g, least, one))
  return { cost, margin, key: matrixProduct(g, g.input('order', [ANY_SIZE, ORDER_WIDTH]), order) }
}

/** The model as an ONNX file with its parameters baked in; outputs `cost`, `margin` and `key`, one column each. */
export function encodePolicy(parameters: Float32Array): Buffer {
  const g = new Graph({ parametersFrom: parameters })
  const { cost, margin, key } = policyNet(g)
  return g.encode([g.named(cost, 'cost'), g.named(margin, 'margin'), g.named(key, 'key')])
}
