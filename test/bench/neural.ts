import { systemClock } from '../../plugin/clock.ts'
import type { Graph, Tensor } from '../../plugin/neural/graph.ts'
import { embeddingBag, mlp } from '../../plugin/neural/layers.ts'
import { crossEntropy } from '../../plugin/neural/losses.ts'
import { relu } from '../../plugin/neural/operators.ts'
import { createServing, createTraining, type Training } from '../../plugin/neural/training.ts'
import { createRng } from '../../plugin/rng.ts'
import { checkGradient } from '../neural/gradient-check.ts'
import { fillInputs, MODELS, OPERATORS } from '../neural/subjects.ts'
import { atLeast, atMost, type BenchResult, median, quantile, type Row, rounded } from './harness.ts'

/** How fast nets train and answer in onnxruntime, one thread, and how exact their derivatives are. */
const BATCH = 256
const WARM_STEPS = 200
const STEPS = 250
const ROUNDS = 20
const ANSWERS = 20_000
const GRADIENT_GOAL = 1e-6

const net = (g: Graph, batch: number): Tensor => mlp(g, g.input('x', [batch, 64]), { name: 'net', widths: [128, 128, 8] })
const hashed = (g: Graph, batch: number): Tensor => {
  const bag = { indices: g.input('indices', [batch, 32], 'int64'), weights: g.input('slots', [batch, 32]) }
  return mlp(g, relu(g, embeddingBag(g, bag, { name: 'bag', entries: 4_096, width: 64 })), { name: 'net', widths: [12] })
}

interface Speed {
  /** Wall clock, the best round: others may be using the machine too. */
  readonly perSecond: number
  readonly perCpuSecond: number
}

async function measureSteps(training: Training, steps: number): Promise<Speed> {
  for (let i = 0; i < WARM_STEPS; i++) await training.step(1e-3)
  const rates: number[] = []
  const before = process.cpuUsage()
  for (let round = 0; round < ROUNDS; round++) {
    const startMs = systemClock.nowMs()
    for (let i = 0; i < steps; i++) await training.step(1e-3)
    rates.push((steps * 1_000) / (systemClock.nowMs() - startMs))
  }
  const { user, system } = process.cpuUsage(before)
  return { perSecond: Math.max(...rates), perCpuSecond: (ROUNDS * steps * 1e6) / (user + system) }
}

async function trainingRow(model: (g: Graph, batch: number) => Tensor, classes: number, name: string): Promise<Row> {
  const rng = createRng(3)
  const loss = (g: Graph): Tensor => crossEntropy(g, model(g, BATCH), g.input('targets', [BATCH, classes]))
  const training = await createTraining({ loss, rng, weightDecay: 0.01 })
  for (const [input, values] of Object.entries(training.feeds)) fillInputs(input, values, rng)
  const { perSecond, perCpuSecond } = await measureSteps(training, STEPS)
  await training.close()
  return { what: `train ${name}, batch ${BATCH}`, value: rounded(perSecond), unit: 'steps/s', 'per CPU second': rounded(perCpuSecond) }
}

async function servingRow(batch: number): Promise<Row & { readonly p50: number }> {
  const size = 64 * 128 + 128 + 128 * 128 + 128 + 128 * 8 + 8
  const serving = await createServing((g) => net(g, batch), new Float32Array(size).fill(0.01))
  const timesUs: number[] = []
  for (let i = 0; i < ANSWERS; i++) {
    const startMs = systemClock.nowMs()
    await serving.run()
    timesUs.push((systemClock.nowMs() - startMs) * 1_000)
  }
  await serving.close()
  const warm = timesUs.slice(WARM_STEPS)
  return {
    what: `serve batch ${batch}, p50`,
    value: rounded(median(warm)),
    unit: 'µs',
    p99: rounded(quantile(warm, 0.99)),
    p50: median(warm),
  }
}

async function worstGradient(): Promise<Row> {
  let worst = 0
  const rows: Row[] = []
  for (const [name, scalar] of Object.entries({ ...OPERATORS, ...MODELS })) {
    const check = await checkGradient(scalar, { fill: fillInputs })
    rows.push({ 'operator or model': name, parameters: check.parameters, 'worst relative error': check.worst.toExponential(1) })
    worst = Math.max(worst, check.worst)
  }
  console.table(rows)
  return {
    what: `worst derivative of ${Object.keys({ ...OPERATORS, ...MODELS }).length} operators and models`,
    value: rounded(worst),
    unit: 'relative',
  }
}

/** Measures training and serving speed and the worst derivative. */
export async function run(): Promise<BenchResult> {
  const steps = await trainingRow(net, 8, 'MLP 64-128-128-8')
  const text = await trainingRow(hashed, 12, 'hashed text 4096→64→12')
  const single = await servingRow(1)
  const many = await servingRow(16)
  const gradient = await worstGradient()
  const rows = [steps, text, single, many, gradient].map(({ p50: _, ...row }: Row & { p50?: number }) => row)
  return {
    rows,
    bars: [
      atLeast('stepsPerSecond', Number(steps.value), 1_500),
      atMost('servingUs50', single.p50, 15),
      atMost('gradientWorst', Number(gradient.value), GRADIENT_GOAL),
    ],
  }
}
