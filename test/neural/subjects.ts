import type { Graph, Tensor } from '../../plugin/neural/graph.ts'
import { dropout, embeddingBag, layerNorm, mlp } from '../../plugin/neural/layers.ts'
import { crossEntropy, huber, maskedBinary, meanSquare } from '../../plugin/neural/losses.ts'
import * as op from '../../plugin/neural/operators.ts'
import type { Values } from '../../plugin/neural/session.ts'
import type { Rng } from '../../plugin/rng.ts'
import type { Scalar } from './gradient-check.ts'

/** Every operator, layer and loss as a scalar function of parameters: what gradient checks run over. */

const parameter = (g: Graph, name: string, shape: readonly number[], at: (rng: Rng) => number = (rng) => rng.normal()): Tensor =>
  g.parameter({ name, shape, decays: true, initial: at })
const positive = (rng: Rng): number => 0.5 + rng.next()
/** Away from a kink by more than the stencil reaches. */
const offZero = (rng: Rng): number => (rng.next() < 0.5 ? -1 : 1) * (0.1 + rng.next())
/** A scalar in which every element has a weight of its own, so that no error can cancel. */
const weighed = (g: Graph, x: Tensor): Tensor => op.meanOfAll(g, op.multiply(g, op.tanh(g, x), g.input('weights', x.shape)))

const unary =
  (f: (g: Graph, x: Tensor) => Tensor, at?: (rng: Rng) => number): Scalar =>
  (g) =>
    weighed(g, f(g, parameter(g, 'x', [3, 4], at)))
const binary =
  (f: (g: Graph, a: Tensor, b: Tensor) => Tensor, at?: (rng: Rng) => number): Scalar =>
  (g) =>
    // [3, 4] with [4] and with [3, 1]: both ways of broadcasting, on both sides.
    op.add(
      g,
      weighed(g, f(g, parameter(g, 'a', [3, 4], at), parameter(g, 'b', [4], at))),
      op.meanOfAll(g, f(g, parameter(g, 'c', [3, 1], at), parameter(g, 'd', [3, 4], at))),
    )

export const OPERATORS: Readonly<Record<string, Scalar>> = {
  add: binary(op.add),
  subtract: binary(op.subtract),
  multiply: binary(op.multiply),
  divide: binary(op.divide, positive),
  minimum: binary(op.minimum),
  negate: unary(op.negate),
  exponential: unary(op.exponential),
  logarithm: unary(op.logarithm, positive),
  squareRoot: unary(op.squareRoot, positive),
  absolute: unary(op.absolute, offZero),
  relu: unary(op.relu, offZero),
  tanh: unary(op.tanh),
  sigmoid: unary(op.sigmoid),
  softplus: unary(op.softplus, offZero),
  logSoftmax: unary(op.logSoftmax),
  sum: unary((g, x) => op.sum(g, x, { axes: [1], keep: true })),
  'sum without axis': unary((g, x) => op.sum(g, x, { axes: [0] })),
  mean: unary((g, x) => op.mean(g, x, { axes: [0], keep: true })),
  reshape: unary((g, x) => op.reshape(g, x, [2, 6])),
  columns: unary((g, x) => op.columns(g, x, { start: 1, end: 3 })),
  concatenate: binary((g, a, b) => op.concatenate(g, [a, op.add(g, a, b)])),
  'matrix product': (g) => weighed(g, op.matrixProduct(g, parameter(g, 'a', [3, 4]), parameter(g, 'b', [4, 2]))),
  'matrix product, a flipped': (g) => weighed(g, op.matrixProduct(g, parameter(g, 'a', [4, 3]), parameter(g, 'b', [4, 2]), { a: true })),
  'matrix product, b flipped': (g) => weighed(g, op.matrixProduct(g, parameter(g, 'a', [3, 4]), parameter(g, 'b', [2, 4]), { b: true })),
  'matrix product, both flipped': (g) =>
    weighed(g, op.matrixProduct(g, parameter(g, 'a', [4, 3]), parameter(g, 'b', [2, 4]), { a: true, b: true })),
  affine: (g) => weighed(g, op.affine(g, parameter(g, 'x', [3, 4]), { weights: parameter(g, 'w', [4, 2]), bias: parameter(g, 'b', [2]) })),
  'gather rows': (g) => weighed(g, op.gatherRows(g, parameter(g, 'table', [5, 3]), g.input('indices', [4, 2], 'int64'))),
}

const input = (g: Graph): Tensor => g.input('x', [6, 5])

export const MODELS: Readonly<Record<string, Scalar>> = {
  'MLP, mean square': (g) => meanSquare(g, mlp(g, input(g), { name: 'net', widths: [8, 8, 3], activation: 'tanh' }), g.input('y', [6, 3])),
  'MLP, Huber': (g) => huber(g, mlp(g, input(g), { name: 'net', widths: [8, 3] }), g.input('y', [6, 3])),
  'MLP, cross-entropy': (g) => crossEntropy(g, mlp(g, input(g), { name: 'net', widths: [8, 4] }), g.input('targets', [6, 4])),
  'MLP with dropout, survival': (g) =>
    maskedBinary(g, mlp(g, input(g), { name: 'net', widths: [8, 4], dropoutRatio: 0.25 }), {
      targets: g.input('targets', [6, 4]),
      mask: g.input('mask', [6, 4]),
    }),
  'layer norm': (g) => weighed(g, layerNorm(g, mlp(g, input(g), { name: 'net', widths: [5] }), { name: 'norm' })),
  'embedding bag into layer norm and MLP': (g) => {
    const bag = { indices: g.input('indices', [6, 3], 'int64'), weights: g.input('slots', [6, 3]) }
    const embedded = layerNorm(g, embeddingBag(g, bag, { name: 'bag', entries: 7, width: 5 }), { name: 'norm' })
    return meanSquare(g, mlp(g, dropout(g, embedded, 0.5), { name: 'net', widths: [4, 1], activation: 'tanh' }), g.input('y', [6, 1]))
  },
}

/** Inputs of the subjects: indices within the table, masks and targets 0 or 1, else normal. */
export function fillInputs(name: string, values: Values, rng: Rng): void {
  for (let i = 0; i < values.length; i++) {
    if (values instanceof BigInt64Array) values[i] = BigInt(rng.int(5))
    else if (/targets|mask|slots|dropout/.test(name)) values[i] = rng.int(2)
    else values[i] = rng.normal()
  }
}
