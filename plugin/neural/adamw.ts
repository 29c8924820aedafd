import { type Graph, PARAMETERS, type Tensor } from './graph.ts'
import { add, divide, multiply, squareRoot, subtract } from './operators.ts'

/** Input of three numbers: learning rate and the two bias corrections. */
export const RATES = 'rates'
export type RateName = 'learningRate' | 'momentCorrection' | 'varianceCorrection'

const MOMENT_KEPT = 0.9
const VARIANCE_KEPT = 0.999
/** Added under the fraction; Kingma and Ba's 1e-8. */
const EPSILON = 1e-8

/**
 * Appends one step of AdamW (Loshchilov and Hutter, 2019, algorithm 2) over the whole flat vector and returns the new parameters and
 * moments. Only parameters that declare it decay.
 */
export function adamW(g: Graph, gradient: Tensor, options: { readonly weightDecay: number }): readonly Tensor[] {
  const size = g.parameterCount
  const constant = (value: number): Tensor => g.constant(value)
  const rates = g.input(RATES, [3])
  const rate = (at: number): Tensor => g.node({ operator: 'Slice', inputs: [rates, g.integers([at]), g.integers([at + 1])], shape: [1] })
  const parameters: Tensor = { name: PARAMETERS, shape: [size], type: g.precision, learns: false }
  const [moment, variance] = [g.input('moment', [size]), g.input('variance', [size])]
  const nextMoment = add(g, multiply(g, moment, constant(MOMENT_KEPT)), multiply(g, gradient, constant(1 - MOMENT_KEPT)))
  const square = multiply(g, gradient, gradient)
  const nextVariance = add(g, multiply(g, variance, constant(VARIANCE_KEPT)), multiply(g, square, constant(1 - VARIANCE_KEPT)))
  const scale = add(g, squareRoot(g, multiply(g, nextVariance, rate(2))), constant(EPSILON))
  const direction = divide(g, multiply(g, nextMoment, multiply(g, rate(1), rate(0))), scale)
  const moved = subtract(g, parameters, direction)
  const decayed = options.weightDecay > 0 ? subtract(g, moved, multiply(g, decay(g, parameters, options.weightDecay), rate(0))) : moved
  return [g.named(decayed, `${PARAMETERS}_next`), g.named(nextMoment, 'moment_next'), g.named(nextVariance, 'variance_next')]
}

function decay(g: Graph, parameters: Tensor, weightDecay: number): Tensor {
  const perParameter = g.parameters.flatMap(({ size, decays }) => new Array<number>(size).fill(decays ? weightDecay : 0))
  return multiply(g, parameters, g.constant(perParameter))
}
