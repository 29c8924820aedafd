import type { Rng } from '../rng.ts'
import type { Graph, Tensor } from './graph.ts'
import { add, affine, divide, gatherRows, mean, multiply, relu, squareRoot, subtract, sum, tanh } from './operators.ts'

/** Layers over the operators. A model is a function of (graph, inputs): called on a training graph or a serving graph, it is the same model. */

const ZERO = (): number => 0
const ONE = (): number => 1

/** x · w + b, from x's width to `width`; weights start at He's scale (He et al., 2015, eq. 10) times `gain`. */
export function dense(g: Graph, x: Tensor, layer: { readonly name: string; readonly width: number; readonly gain?: number }): Tensor {
  const inputs = x.shape[1] as number
  const scale = (layer.gain ?? 1) * Math.sqrt(2 / inputs)
  const initial = (rng: Rng): number => rng.normal() * scale
  const weights = g.parameter({ name: `${layer.name}.weights`, shape: [inputs, layer.width], decays: true, initial })
  const bias = g.parameter({ name: `${layer.name}.bias`, shape: [layer.width], decays: false, initial: ZERO })
  return affine(g, x, { weights, bias })
}

export interface Mlp {
  readonly name: string
  /** Widths of the hidden layers, then of the output. */
  readonly widths: readonly number[]
  readonly activation?: 'relu' | 'tanh'
  /** Share of hidden values dropped while training (Srivastava et al., 2014). */
  readonly dropoutRatio?: number
}

/** Dense layers with an activation between them; the last one is linear and starts small. */
export function mlp(g: Graph, x: Tensor, { name, widths, activation, dropoutRatio }: Mlp): Tensor {
  return widths.reduce((h, width, i) => {
    const last = i === widths.length - 1
    const y = dense(g, h, { name: `${name}.${i}`, width, gain: last ? 0.1 : 1 })
    if (last) return y
    const active = activation === 'tanh' ? tanh(g, y) : relu(g, y)
    return dropoutRatio ? dropout(g, active, dropoutRatio) : active
  }, x)
}

/** Zeroes a share of x by chance while training, scaled so that the mean stays; nothing when serving. */
export function dropout(g: Graph, x: Tensor, droppedRatio: number): Tensor {
  return g.training ? multiply(g, x, g.dropoutMask(x.shape, 1 - droppedRatio)) : x
}

/** Each row of x to mean 0 and variance 1, then scaled and shifted (Ba, Kiros, Hinton, 2016). */
export function layerNorm(g: Graph, x: Tensor, layer: { readonly name: string }): Tensor {
  const axis = { axes: [1], keep: true }
  const width = x.shape[1] as number
  const centred = subtract(g, x, mean(g, x, axis))
  const variance = mean(g, multiply(g, centred, centred), axis)
  const normal = divide(g, centred, squareRoot(g, add(g, variance, g.constant(1e-5))))
  const scale = g.parameter({ name: `${layer.name}.scale`, shape: [width], decays: false, initial: ONE })
  const shift = g.parameter({ name: `${layer.name}.shift`, shape: [width], decays: false, initial: ZERO })
  return add(g, multiply(g, normal, scale), shift)
}

/** Weighted sum of table rows per example: `indices` int64 [rows, slots], `weights` [rows, slots] with 0 in empty slots. */
export function embeddingBag(
  g: Graph,
  bag: { readonly indices: Tensor; readonly weights: Tensor },
  layer: { readonly name: string; readonly entries: number; readonly width: number },
): Tensor {
  const initial = (rng: Rng): number => rng.normal() * 0.1
  const table = g.parameter({ name: `${layer.name}.table`, shape: [layer.entries, layer.width], decays: true, initial })
  const [rows, slots] = bag.indices.shape as readonly [number, number]
  const scale = g.node({ operator: 'Unsqueeze', inputs: [bag.weights, g.integers([2])], shape: [rows, slots, 1] })
  return sum(g, multiply(g, gatherRows(g, table, bag.indices), scale), { axes: [1] })
}
