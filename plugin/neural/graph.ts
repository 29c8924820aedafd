import type { Rng } from '../rng.ts'
import { type Attributes, type ConstantSpec, type ElementType, encodeModel, type NodeSpec, type ValueSpec } from './onnx.ts'

/** A value of a graph under construction: a name with a static shape. */
export interface Tensor extends ValueSpec {
  /** Depends on a parameter, so that a gradient may be asked for. */
  readonly learns: boolean
}

/** A trainable tensor: a window of the one flat parameter vector. */
export interface Parameter {
  readonly name: string
  readonly shape: readonly number[]
  readonly offset: number
  readonly size: number
  /** AdamW's weight decay reaches it (matrices, not biases). */
  readonly decays: boolean
  readonly initial: (rng: Rng) => number
}

/** What an operator remembers for the way back: one lazy gradient per input, undefined where there is none. */
interface Taped {
  readonly output: Tensor
  readonly inputs: readonly Tensor[]
  readonly backward: (outputGradient: Tensor) => readonly ((() => Tensor) | undefined)[]
}

export type Precision = 'float32' | 'float64'

/** Name of the flat parameter vector among a training graph's inputs. */
export const PARAMETERS = 'parameters'

/**
 * Builds one ONNX graph. Operators (`operators.ts`) append nodes and record their derivative on a tape; `gradients` plays the tape
 * backwards, appending the nodes of the derivative to the same graph. `training` tells a model function whether dropout is on.
 */
export class Graph {
  readonly precision: Precision
  readonly training: boolean
  readonly #parametersFrom: Float32Array | undefined
  readonly #inputs: Tensor[] = []
  readonly #constants: ConstantSpec[] = []
  readonly #nodes: NodeSpec[] = []
  readonly #tape: Taped[] = []
  readonly #parameters: { readonly parameter: Parameter; readonly tensor: Tensor }[] = []
  readonly #dropouts: { readonly input: Tensor; readonly keptRatio: number }[] = []
  readonly #known = new Map<string, Tensor>()
  readonly #aliases = new Map<string, string>()
  #names = 0
  #parameterCount = 0

  /** `parametersFrom` bakes trained parameters in (a serving graph); without it they are an input. */
  constructor(options: { readonly precision?: Precision; readonly training?: boolean; readonly parametersFrom?: Float32Array } = {}) {
    this.precision = options.precision ?? 'float32'
    this.training = options.training ?? false
    this.#parametersFrom = options.parametersFrom
  }

  /** Floats in the flat parameter vector so far. */
  get parameterCount(): number {
    return this.#parameterCount
  }

  get parameters(): readonly Parameter[] {
    return this.#parameters.map((one) => one.parameter)
  }

  get inputs(): readonly Tensor[] {
    return this.#inputs
  }

  /** Dropout masks that must be filled before each step, in order of their declaration. */
  get dropouts(): readonly { readonly input: Tensor; readonly keptRatio: number }[] {
    return this.#dropouts
  }

  input(name: string, shape: readonly number[], type: ElementType = this.precision): Tensor {
    const tensor = { name, shape, type, learns: false }
    this.#inputs.push(tensor)
    return tensor
  }

  /** An input that a trainer fills with 0 and 1 / keptRatio by chance before each step. */
  dropoutMask(shape: readonly number[], keptRatio: number): Tensor {
    const input = this.input(`dropout_${this.#dropouts.length}`, shape)
    this.#dropouts.push({ input, keptRatio })
    return input
  }

  /** Declares a trainable tensor as the next window of the flat vector. */
  parameter(declared: Omit<Parameter, 'offset' | 'size'>): Tensor {
    const size = sizeOf(declared.shape)
    const offset = this.#parameterCount
    this.#parameterCount += size
    const bounds = [offset, offset + size].map((at) => this.integers([at]))
    const flat = { name: PARAMETERS, shape: [Number.NaN], type: this.precision, learns: false } satisfies Tensor
    const window = this.node({
      operator: 'Slice',
      inputs: [flat, ...bounds, this.integers([0])],
      shape: [size],
    })
    const shaped = this.node({ operator: 'Reshape', inputs: [window, this.integers(declared.shape)], shape: declared.shape })
    const tensor = { ...shaped, learns: true }
    this.#parameters.push({ parameter: { ...declared, offset, size }, tensor })
    return tensor
  }

  /** A float constant of the graph's precision; one number gives a scalar. */
  constant(values: number | readonly number[], shape: readonly number[] = typeof values === 'number' ? [] : [values.length]): Tensor {
    const list = typeof values === 'number' ? [values] : values
    const bytes = new Uint8Array((this.precision === 'float32' ? Float32Array.from(list) : Float64Array.from(list)).buffer)
    return this.#constant({ type: this.precision, shape, bytes })
  }

  integers(values: readonly number[]): Tensor {
    const bytes = new Uint8Array(BigInt64Array.from(values, BigInt).buffer)
    return this.#constant({ type: 'int64', shape: [values.length], bytes })
  }

  #constant(value: Omit<ConstantSpec, 'name'>): Tensor {
    const key = `${value.type} ${value.shape} ${Buffer.from(value.bytes).toString('base64')}`
    const known = this.#known.get(key)
    if (known) return known
    const tensor = { name: this.#name('c'), shape: value.shape, type: value.type, learns: false }
    this.#constants.push({ ...value, name: tensor.name })
    this.#known.set(key, tensor)
    return tensor
  }

  /** Appends one ONNX operator with one output; `type` is the graph's precision unless said otherwise. */
  node(spec: {
    readonly operator: string
    readonly inputs: readonly Tensor[]
    readonly shape: readonly number[]
    readonly attributes?: Attributes
    readonly type?: ElementType
  }): Tensor {
    const name = this.#name('t')
    const { operator, inputs, shape, attributes = {}, type = this.precision } = spec
    this.#nodes.push({ operator, inputs: inputs.map((one) => one.name), outputs: [name], attributes })
    return { name, shape, type, learns: inputs.some((one) => one.learns) }
  }

  /** Remembers how `output` depends on `inputs`. */
  record(output: Tensor, inputs: readonly Tensor[], backward: Taped['backward']): Tensor {
    if (output.learns) this.#tape.push({ output, inputs, backward })
    return output
  }

  /**
   * The derivative of the scalar `loss` with respect to the flat parameter vector, as a tensor of its length: reverse mode (Speelpenning,
   * 1980), emitted as nodes. A parameter the loss does not depend on gets zeros.
   */
  gradients(loss: Tensor, add: (a: Tensor, b: Tensor) => Tensor): Tensor {
    const of = new Map<string, Tensor>([[loss.name, this.constant(1, loss.shape)]])
    for (const { output, inputs, backward } of this.#tape.toReversed()) {
      const outputGradient = of.get(output.name)
      if (!outputGradient) continue
      backward(outputGradient).forEach((gradient, i) => {
        const input = inputs[i] as Tensor
        if (!gradient || !input.learns) return
        const before = of.get(input.name)
        const own = gradient()
        of.set(input.name, before ? add(before, own) : own)
      })
    }
    const flat = this.#parameters.map(({ parameter, tensor }) => {
      const gradient = of.get(tensor.name)
      if (!gradient) return this.constant(new Array<number>(parameter.size).fill(0))
      return this.node({ operator: 'Reshape', inputs: [gradient, this.integers([parameter.size])], shape: [parameter.size] })
    })
    return this.node({ operator: 'Concat', inputs: flat, shape: [this.#parameterCount], attributes: { axis: 0 } })
  }

  /** Names a computed tensor as it will be called among the graph's outputs. */
  named(tensor: Tensor, name: string): Tensor {
    this.#aliases.set(tensor.name, name)
    return { ...tensor, name }
  }

  /** ONNX bytes with these outputs. */
  encode(outputs: readonly Tensor[]): Buffer {
    const flat: Tensor = { name: PARAMETERS, shape: [this.#parameterCount], type: this.precision, learns: false }
    const baked = this.#parametersFrom
    if (baked && baked.length !== this.#parameterCount)
      throw new Error(`the model has ${this.#parameterCount} parameters, ${baked.length} were given`)
    const named = (names: readonly string[]): string[] => names.map((name) => this.#aliases.get(name) ?? name)
    const bytes = baked && new Uint8Array(baked.buffer, baked.byteOffset, baked.byteLength)
    return encodeModel({
      name: 'graph',
      inputs: baked || this.#parameterCount === 0 ? this.#inputs : [...this.#inputs, flat],
      outputs,
      constants: bytes ? [...this.#constants, { ...flat, bytes }] : this.#constants,
      nodes: this.#nodes.map((node) => ({ ...node, inputs: named(node.inputs), outputs: named(node.outputs) })),
    })
  }

  #name(prefix: string): string {
    return `${prefix}${this.#names++}`
  }
}

/** Elements of a tensor of this shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}

/** Starting values of all parameters, in order. */
export function initialParameters(g: Graph, rng: Rng): Float32Array {
  const flat = new Float32Array(g.parameterCount)
  for (const { offset, size, initial } of g.parameters) for (let i = 0; i < size; i++) flat[offset + i] = initial(rng)
  return flat
}
