import { compile, instantiate } from './assembly.ts'
import { BLOCK, OUTPUTS_AT, ROWS_AT, VALUES_AT, VECTOR_CODE, WEIGHTS_AT, WIDTH_MAX } from './vector-code.ts'

/** One dense layer, weights row by row of the input. */
export interface DenseLayer {
  readonly weights: Float32Array
  readonly bias: Float32Array
}

interface Placed {
  /** Where its weights begin, and how far apart the rows of two inputs are, bytes. */
  readonly weightsAt: number
  readonly strideBytes: number
  readonly biasAt: number
  readonly outputs: number
  readonly outputsBytes: number
}

let compiled: object | undefined

/**
 * A small net of dense layers with ReLU between them, in single precision, evaluated at once and for one row at a time. Inputs that are 0 cost nothing. Holds
 * its own copy of the weights; not to be shared between threads.
 */
export class VectorNet {
  readonly #layers: readonly Placed[]
  readonly #run: (countBytes: number, outputsBytes: number, biasAt: number) => void
  readonly #values: Float32Array
  readonly #rows: Int32Array
  readonly #outputs: Float32Array
  readonly #last: Float32Array
  readonly width: number

  /** Throws where a layer is wider than WIDTH_MAX or does not fit the one before it. */
  constructor(layers: readonly DenseLayer[]) {
    const { placed, endBytes } = place(layers)
    compiled ??= compile(VECTOR_CODE)
    const { run, memory } = instantiate(compiled, endBytes)
    this.#run = run
    this.#layers = placed
    this.#values = new Float32Array(memory, VALUES_AT, WIDTH_MAX)
    this.#rows = new Int32Array(memory, ROWS_AT, WIDTH_MAX)
    this.#outputs = new Float32Array(memory, OUTPUTS_AT, WIDTH_MAX)
    const cells = new Float32Array(memory)
    for (const [n, { weights, bias }] of layers.entries()) copyLayer(placed[n] as Placed, { weights, bias }, cells)
    this.width = (layers[0] as DenseLayer).weights.length / (placed[0] as Placed).outputs
    this.#last = this.#outputs.subarray(0, (placed.at(-1) as Placed).outputs)
  }

  /** The last layer's outputs for a row of `width` values, before any squashing; valid until the next call. */
  evaluate(row: Float32Array): Float32Array {
    this.#layer(this.#layers[0] as Placed, row, this.width)
    for (let n = 1; n < this.#layers.length; n++)
      this.#layer(this.#layers[n] as Placed, this.#outputs, (this.#layers[n - 1] as Placed).outputs)
    return this.#last
  }

  /** From the second layer on an input below 0 was cut off by the ReLU before it; the first takes all but 0. */
  #layer({ weightsAt, strideBytes, biasAt, outputsBytes }: Placed, input: Float32Array, width: number): void {
    const [values, rows] = [this.#values, this.#rows]
    const least = input === this.#outputs ? 0 : Number.NEGATIVE_INFINITY
    let count = 0
    for (let i = 0; i < width; i++) {
      const value = input[i] as number
      if (value === 0 || value < least) continue
      values[count] = value
      rows[count++] = weightsAt + i * strideBytes
    }
    // The loop runs once at least.
    if (count === 0) {
      values[0] = 0
      rows[0] = weightsAt
      count = 1
    }
    this.#run(4 * count, outputsBytes, biasAt)
  }
}

/** Where everything stands; rows and biases are rounded up to whole blocks of outputs. */
function place(layers: readonly DenseLayer[]): { readonly placed: readonly Placed[]; readonly endBytes: number } {
  if (layers.length === 0) throw new Error('a net needs a layer')
  let at = WEIGHTS_AT
  const placed = layers.map(({ weights, bias }, n) => {
    const outputs = bias.length
    const inputs = weights.length / outputs
    const before = layers[n - 1]?.bias.length ?? inputs
    if (inputs !== before || inputs > WIDTH_MAX || outputs > WIDTH_MAX)
      throw new Error(
        `layer ${n} has ${inputs} inputs and ${outputs} outputs; ${before} inputs come, at most ${WIDTH_MAX} of either are possible`,
      )
    const outputsBytes = 4 * BLOCK * Math.ceil(outputs / BLOCK)
    const weightsAt = at
    const biasAt = weightsAt + inputs * outputsBytes
    at = biasAt + outputsBytes
    return { weightsAt, strideBytes: outputsBytes, biasAt, outputs, outputsBytes }
  })
  return { placed, endBytes: at }
}

function copyLayer({ weightsAt, strideBytes, biasAt, outputs }: Placed, { weights, bias }: DenseLayer, cells: Float32Array): void {
  const stride = strideBytes / 4
  for (let i = 0; i * outputs < weights.length; i++) cells.set(weights.subarray(i * outputs, (i + 1) * outputs), weightsAt / 4 + i * stride)
  cells.set(bias, biasAt / 4)
}
