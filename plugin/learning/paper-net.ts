import type { Graph, Tensor } from '../neural/graph.ts'
import { huber } from '../neural/losses.ts'
import { add, affine, multiply, relu, sum } from '../neural/operators.ts'
import type { Rng } from '../rng.ts'
import type { PaperSettings } from './paper-constants.ts'
import { stateWidth } from './paper-state.ts'

/** A net's widths, 3 + 6m → 64 → 64 → m + 1, and how much of an output all share. */
export interface NetShape {
  readonly widths: readonly number[]
  readonly shared: number
}

/** The net for m instances. */
export function netShape(instances: number, { hiddenWidth, sharedFactor }: PaperSettings): NetShape {
  return { widths: [stateWidth(instances), hiddenWidth, hiddenWidth, instances + 1], shared: sharedFactor }
}

interface Layer {
  readonly weights: Tensor
  readonly bias: Tensor
}

function declareLayers(g: Graph, widths: readonly number[]): Layer[] {
  return widths.slice(1).map((width, i) => {
    const inputs = widths[i] as number
    const scale = Math.sqrt(2 / inputs) * (i === widths.length - 2 ? 0.1 : 1)
    const initial = (rng: Rng): number => rng.normal() * scale
    return {
      weights: g.parameter({ name: `q.${i}.weights`, shape: [inputs, width], decays: true, initial }),
      bias: g.parameter({ name: `q.${i}.bias`, shape: [width], decays: false, initial: () => 0 }),
    }
  })
}

/** The same layers as windows of a flat vector that is an input: nothing learns there. */
function frozenLayers(g: Graph, widths: readonly number[], flat: Tensor): Layer[] {
  let at = 0
  const window = (shape: readonly number[]): Tensor => {
    const size = shape.reduce((product, one) => product * one, 1)
    const bounds = [at, at + size].map((bound) => g.integers([bound]))
    at += size
    const slice = g.node({ operator: 'Slice', inputs: [flat, ...bounds, g.integers([0])], shape: [size] })
    return g.node({ operator: 'Reshape', inputs: [slice, g.integers(shape)], shape })
  }
  return widths.slice(1).map((width, i) => ({ weights: window([widths[i] as number, width]), bias: window([width]) }))
}

/**
 * Every output plus `shared` times their sum: an invertible change of the last layer, so that the net can say the same as without. What all actions have
 * in common, most of a value, is thereby learned from every decision and not from each action's own alone.
 */
function forward(g: Graph, x: Tensor, layers: readonly Layer[], { shared }: NetShape): Tensor {
  const raw = layers.reduce((h, layer, i) => (i === layers.length - 1 ? affine(g, h, layer) : relu(g, affine(g, h, layer))), x)
  return add(g, raw, multiply(g, sum(g, raw, { axes: [1], keep: true }), g.constant(shared)))
}

/** The net alone, for a serving graph. */
export function qNet(g: Graph, shape: NetShape, batch: number): Tensor {
  return forward(g, g.input('state', [batch, shape.widths[0] as number]), declareLayers(g, shape.widths), shape)
}

/**
 * Double Q-learning (van Hasselt, Guez, Silver, "Deep Reinforcement Learning with Double Q-learning", AAAI 2016, eq. 4), Huber's loss:
 *   y = reward + discount · Q(next, argmax_a Q(next, a; θ); θ⁻),  loss = huber(Q(state, action; θ) − y)
 * Inputs by name: `state`, `next` [batch, 3 + 6m], `action` [batch, m + 1] one-hot, `reward`, `discount` [batch, 1], `target` (θ⁻, flat).
 */
export function doubleDqnLoss(g: Graph, shape: NetShape, batch: number): Tensor {
  const { widths } = shape
  const width = widths[0] as number
  const actions = widths.at(-1) as number
  const layers = declareLayers(g, widths)
  const next = g.input('next', [batch, width])
  const target = g.input('target', [g.parameterCount])
  const nextAction = oneHotOfLargest(g, forward(g, next, layers, shape))
  const nextValue = sum(g, multiply(g, nextAction, forward(g, next, frozenLayers(g, widths, target), shape)), { axes: [1], keep: true })
  const wanted = add(g, g.input('reward', [batch, 1]), multiply(g, g.input('discount', [batch, 1]), nextValue))
  const values = forward(g, g.input('state', [batch, width]), layers, shape)
  const value = sum(g, multiply(g, g.input('action', [batch, actions]), values), { axes: [1], keep: true })
  return huber(g, value, wanted)
}

/** 1 at the largest of each row, 0 elsewhere; the tape does not see it, so that no gradient passes. */
function oneHotOfLargest(g: Graph, x: Tensor): Tensor {
  const [rows, columns] = x.shape as readonly [number, number]
  const still = { ...x, learns: false }
  const at = g.node({ operator: 'ArgMax', inputs: [still], shape: [rows, 1], type: 'int64', attributes: { axis: 1, keepdims: 1 } })
  const indices = g.integers(Array.from({ length: columns }, (_, i) => i))
  const equal = g.node({ operator: 'Equal', inputs: [at, indices], shape: [rows, columns], type: 'bool' })
  return g.node({ operator: 'Cast', inputs: [equal], shape: [rows, columns], attributes: { to: g.precision === 'float32' ? 1 : 11 } })
}

/** The net's plain forward over a flat parameter vector, equal to onnxruntime's up to rounding; one state costs microseconds. */
export class PlainQ {
  readonly #flat: Float32Array
  readonly #shape: NetShape
  readonly #layers: readonly Float64Array[]

  /** Reads `flat` anew at each call. Throws where it has not the net's size. */
  constructor(flat: Float32Array, shape: NetShape) {
    const { widths } = shape
    const size = widths.slice(1).reduce((all, width, i) => all + width * ((widths[i] as number) + 1), 0)
    if (flat.length !== size) throw new Error(`a net of ${widths.join('-')} has ${size} parameters, ${flat.length} were given`)
    this.#flat = flat
    this.#shape = shape
    this.#layers = widths.slice(1).map((width) => new Float64Array(width))
  }

  /** Q of each action in this state; the array is reused. */
  values(state: ArrayLike<number>): Float64Array {
    let from = state
    let at = 0
    for (const [i, to] of this.#layers.entries()) {
      at = this.#layer(at, from, to)
      if (i < this.#layers.length - 1) for (let j = 0; j < to.length; j++) to[j] = Math.max(0, to[j] as number)
      from = to
    }
    const out = this.#layers.at(-1) as Float64Array
    const common = this.#shape.shared * out.reduce((all, one) => all + one, 0)
    for (let a = 0; a < out.length; a++) out[a] = (out[a] as number) + common
    return out
  }

  /** x · w + b; returns where the next layer starts. */
  #layer(at: number, from: ArrayLike<number>, to: Float64Array): number {
    const flat = this.#flat
    const bias = at + from.length * to.length
    for (let j = 0; j < to.length; j++) to[j] = flat[bias + j] as number
    for (let k = 0; k < from.length; k++) {
      const x = from[k] as number
      if (x === 0) continue
      const row = at + k * to.length
      for (let j = 0; j < to.length; j++) to[j] = (to[j] as number) + x * (flat[row + j] as number)
    }
    return bias + to.length
  }
}

/** The action of highest value. */
export function bestAction(values: Float64Array): number {
  let best = 0
  for (let a = 1; a < values.length; a++) if ((values[a] as number) > (values[best] as number)) best = a
  return best
}
