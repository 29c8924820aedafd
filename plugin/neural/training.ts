import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import type { Rng } from '../rng.ts'
import { adamW, RATES, type RateName } from './adamw.ts'
import { Graph, initialParameters, PARAMETERS, type Tensor } from './graph.ts'
import { add } from './operators.ts'
import { arrayFor, openSession, tensorOver, type Values } from './session.ts'

/** Trains a model: one `session.run` is one step of AdamW on the batch that stands in `feeds`. Deterministic by `rng`. */
export interface Training {
  /** The batch, by input name, to be filled before each step. */
  readonly feeds: Readonly<Record<string, Values>>
  /** One step; resolves with the loss before it. */
  step(learningRate: number): Promise<number>
  /** A copy of the flat parameter vector; ask between steps only. */
  parameters(): Float32Array
  close(): Promise<void>
}

export interface TrainingPlan {
  /** Declares inputs and parameters on the graph and returns the scalar loss. */
  readonly loss: (g: Graph) => Tensor
  readonly rng: Rng
  readonly weightDecay?: number
  /** Parameters to go on from; fresh ones otherwise. */
  readonly from?: Float32Array
}

/** Builds the training graph and compiles it. */
export async function createTraining(plan: TrainingPlan): Promise<Training> {
  const g = new Graph({ training: true })
  const loss = plan.loss(g)
  const gradient = g.gradients(loss, (a, b) => add(g, a, b))
  const outputs = adamW(g, gradient, { weightDecay: plan.weightDecay ?? 0 })
  const { session, close } = await openSession(g.encode([g.named(loss, 'loss'), ...outputs]))
  const feeds = Object.fromEntries(g.inputs.map((input) => [input.name, arrayFor(input)]))
  const masks = g.dropouts.map(({ input, keptRatio }) => ({ values: feeds[input.name] as Float32Array, keptRatio }))
  const dice = plan.rng.stream('dropout')
  // Never one buffer as input and output: two sets take turns.
  const sets = [0, 1].map(() => stateArrays(g.parameterCount))
  sets[0]?.[PARAMETERS]?.set(plan.from ?? initialParameters(g, plan.rng.stream('parameters')))
  const tensors = Object.fromEntries(g.inputs.map((input) => [input.name, tensorOver(feeds[input.name] as Values, input.shape)]))
  const turns = [0, 1].map((i) => turnOf(tensors, sets[i] as State, sets[1 - i] as State))
  const rates = feeds[RATES] as Float32Array
  let steps = 0
  return {
    feeds,
    async step(learningRate) {
      const turn = turns[steps % 2] as Turn
      steps++
      writeRates(rates, learningRate, steps)
      for (const mask of masks) fillMask(mask.values, mask.keptRatio, dice)
      await session.run(turn.feeds, turn.fetches)
      return turn.loss[0] as number
    },
    parameters: () => Float32Array.from((sets[steps % 2] as State)[PARAMETERS] as Float32Array),
    close,
  }
}

type State = Readonly<Record<string, Float32Array>>
interface Turn {
  readonly feeds: Record<string, OrtTensor>
  readonly fetches: InferenceSession.FetchesType
  readonly loss: Float32Array
}

function stateArrays(size: number): State {
  return { [PARAMETERS]: new Float32Array(size), moment: new Float32Array(size), variance: new Float32Array(size) }
}

function turnOf(inputs: Readonly<Record<string, OrtTensor>>, from: State, to: State): Turn {
  const loss = new Float32Array(1)
  const feeds = { ...inputs }
  const fetches: Record<string, OrtTensor> = { loss: tensorOver(loss, []) }
  for (const [name, values] of Object.entries(from)) feeds[name] = tensorOver(values, [values.length])
  for (const [name, values] of Object.entries(to)) fetches[`${name}_next`] = tensorOver(values, [values.length])
  return { feeds, fetches, loss }
}

/** AdamW's bias corrections are the same for all parameters, so they are computed here (Kingma and Ba, 2015, algorithm 1). */
function writeRates(rates: Float32Array, learningRate: number, step: number): void {
  const value: Record<RateName, number> = {
    learningRate,
    momentCorrection: 1 / (1 - 0.9 ** step),
    varianceCorrection: 1 / (1 - 0.999 ** step),
  }
  rates[0] = value.learningRate
  rates[1] = value.momentCorrection
  rates[2] = value.varianceCorrection
}

/** Eight bits of chance decide one value: 1 / 256 is fine enough for a share to drop, and four values cost one draw. */
function fillMask(values: Float32Array, keptRatio: number, rng: Rng): void {
  const bound = Math.round(keptRatio * 256)
  const scale = 256 / bound
  for (let i = 0; i < values.length; i += 4) {
    const bits = Math.floor(rng.next() * 4_294_967_296)
    for (let k = 0; k < 4 && i + k < values.length; k++) values[i + k] = ((bits >>> (8 * k)) & 255) < bound ? scale : 0
  }
}

/** What `serve` answers: fill `feeds`, run, read `output`. */
export interface Serving {
  readonly feeds: Readonly<Record<string, Values>>
  readonly output: Float32Array
  run(): Promise<void>
  close(): Promise<void>
}

/** Compiles the serving graph of the same model function with trained parameters baked in. */
export async function createServing(model: (g: Graph) => Tensor, parameters: Float32Array): Promise<Serving> {
  const g = new Graph({ parametersFrom: parameters })
  const output = model(g)
  const { session, close } = await openSession(g.encode([g.named(output, 'output')]))
  const feeds = Object.fromEntries(g.inputs.map((input) => [input.name, arrayFor(input)]))
  const values = arrayFor(output) as Float32Array
  const tensors = Object.fromEntries(g.inputs.map((input) => [input.name, tensorOver(feeds[input.name] as Values, input.shape)]))
  const fetches = { output: tensorOver(values, output.shape) }
  return {
    feeds,
    output: values,
    async run() {
      await session.run(tensors, fetches)
    },
    close,
  }
}
