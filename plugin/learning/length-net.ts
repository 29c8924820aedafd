import type { Graph, Tensor } from '../neural/graph.ts'
import { dropout, mlp } from '../neural/layers.ts'
import { maskedBinary } from '../neural/losses.ts'
import { createTraining, type Training } from '../neural/training.ts'
import { answerSpan, BUCKETS, positionOf, spreadSpan } from '../prediction/distribution.ts'
import type { NetLayer } from '../prediction/length-model.ts'
import type { Rng } from '../rng.ts'
import { type Columns, standardise } from './columns.ts'

/** The survival net: standardised row → hidden layers → one hazard logit per bucket. */
export interface NetPlan {
  readonly hidden: readonly number[]
  readonly batch: number
  readonly epochs: number
  readonly learningRate: number
  readonly weightDecay: number
  readonly inputDropoutRatio: number
  readonly dropoutRatio: number
}

/** Chosen on the first of the five folds of bench `length`; wider nets and longer runs moved nothing beyond the seeds' noise. */
export const NET_PLAN: NetPlan = {
  hidden: [64, 32],
  batch: 128,
  epochs: 60,
  learningRate: 2e-3,
  weightDecay: 0.05,
  inputDropoutRatio: 0.15,
  dropoutRatio: 0.3,
}

const WARM_STEPS = 50

/** What the net is trained on. */
export interface NetRows {
  readonly rows: readonly Float32Array[]
  readonly outputTokens: ArrayLike<number>
  readonly censored: readonly boolean[]
  readonly columns: Columns
  /** Layers to go on from, for raw columns as `trainNet` gives them; fresh ones where absent or of another shape. */
  readonly start?: readonly NetLayer[] | undefined
}

/** The model function: the same for training and serving graphs. */
export function survivalNet(g: Graph, options: { readonly plan: NetPlan; readonly batch: number; readonly width: number }): Tensor {
  const { plan, batch, width } = options
  const input = dropout(g, g.input('x', [batch, width]), plan.inputDropoutRatio)
  return mlp(g, input, { name: 'net', widths: [...plan.hidden, BUCKETS], dropoutRatio: plan.dropoutRatio })
}

/** Trains the net and returns its layers for raw (held) columns: the standardisation is folded into the first layer. */
export async function trainNet(data: NetRows, plan: NetPlan, rng: Rng): Promise<readonly NetLayer[]> {
  const width = data.rows[0]?.length ?? 0
  const batch = Math.min(plan.batch, data.rows.length)
  const loss = (g: Graph): Tensor => {
    const logits = survivalNet(g, { plan, batch, width })
    return maskedBinary(g, logits, { targets: g.input('targets', [batch, BUCKETS]), mask: g.input('mask', [batch, BUCKETS]) })
  }
  const widths = [width, ...plan.hidden, BUCKETS]
  const from = data.start && unfolded(data.start, { widths, columns: data.columns })
  const training = await createTraining({ loss, rng: rng.stream('net'), weightDecay: plan.weightDecay, ...(from ? { from } : {}) })
  const table = tableOf(data, width)
  const order = Int32Array.from(data.rows, (_, i) => i)
  const dice = rng.stream('order')
  const perEpoch = Math.floor(order.length / batch)
  const steps = perEpoch * plan.epochs
  for (let step = 0; step < steps; step++) {
    if (step % perEpoch === 0) shuffle(order, dice)
    fill(training, table, order.subarray((step % perEpoch) * batch), { batch, width })
    // Warm up, then half a cosine down to 0 (Loshchilov and Hutter, 2017).
    const rate = Math.min(1, (step + 1) / WARM_STEPS) * (0.5 + 0.5 * Math.cos((Math.PI * step) / steps))
    await training.step(plan.learningRate * rate)
  }
  const flat = training.parameters()
  await training.close()
  return foldScale(layersOf(flat, widths), data.columns)
}

interface Table {
  readonly x: Float32Array
  readonly targets: Float32Array
  readonly mask: Float32Array
}

/** Rows standardised and lengths as hazards, once for all epochs. */
function tableOf({ rows, outputTokens, censored, columns }: NetRows, width: number): Table {
  const table = {
    x: new Float32Array(rows.length * width),
    targets: new Float32Array(rows.length * BUCKETS),
    mask: new Float32Array(rows.length * BUCKETS),
  }
  const masses = new Float64Array(BUCKETS)
  for (const [i, row] of rows.entries()) {
    standardise(row, columns, width, table.x, i * width)
    masses.fill(0)
    const at = i * BUCKETS
    if (censored[i]) outlived(outputTokens[i] as number, table.mask, at)
    else {
      spreadSpan(answerSpan(outputTokens[i] as number), masses)
      hazards(masses, table, at)
    }
  }
  return table
}

/** A length known to its token may fall into two buckets: each gets the share that reached it as weight, and what ended there as target. */
function hazards(masses: Float64Array, { targets, mask }: Table, at: number): void {
  let reached = 1
  for (let k = 0; k < BUCKETS && reached > 1e-9; k++) {
    mask[at + k] = reached
    targets[at + k] = Math.min(1, (masses[k] as number) / reached)
    reached -= masses[k] as number
  }
}

/** A cut answer only tells the buckets it outlived; the one it was cut in by the share it had passed. */
function outlived(tokens: number, mask: Float32Array, at: number): void {
  const position = positionOf(tokens)
  for (let k = 0; k < BUCKETS && k < position; k++) mask[at + k] = Math.min(1, position - k)
}

function fill(
  training: Training,
  table: Table,
  rows: Int32Array,
  { batch, width }: { readonly batch: number; readonly width: number },
): void {
  const feeds = training.feeds as Record<keyof Table, Float32Array>
  for (let b = 0; b < batch; b++) {
    const i = rows[b] as number
    feeds.x.set(table.x.subarray(i * width, (i + 1) * width), b * width)
    feeds.targets.set(table.targets.subarray(i * BUCKETS, (i + 1) * BUCKETS), b * BUCKETS)
    feeds.mask.set(table.mask.subarray(i * BUCKETS, (i + 1) * BUCKETS), b * BUCKETS)
  }
}

function layersOf(flat: Float32Array, widths: readonly number[]): NetLayer[] {
  let at = 0
  return widths.slice(1).map((outputs, i) => {
    const size = (widths[i] as number) * outputs
    const layer = { weights: flat.slice(at, at + size), bias: flat.slice(at + size, at + size + outputs) }
    at += size + outputs
    return layer
  })
}

function foldScale(layers: readonly NetLayer[], { mean, spread }: Columns): readonly NetLayer[] {
  const [first, ...rest] = layers as [NetLayer, ...NetLayer[]]
  const outputs = first.bias.length
  const bias = Float64Array.from(first.bias)
  const weights = first.weights.map((weight, at) => {
    const deviation = spread[Math.floor(at / outputs)] as number
    if (deviation === 0) return 0
    bias[at % outputs] = (bias[at % outputs] as number) - (weight * (mean[Math.floor(at / outputs)] as number)) / deviation
    return weight / deviation
  })
  return [{ weights, bias: Float32Array.from(bias) }, ...rest]
}

/** The flat parameters of layers for raw columns, over columns standardised as these are: `foldScale` backwards. Undefined where the shapes differ. */
function unfolded(
  layers: readonly NetLayer[],
  { widths, columns: { mean, spread } }: { readonly widths: readonly number[]; readonly columns: Columns },
): Float32Array | undefined {
  const fits = layers.every(
    (layer, i) => layer.bias.length === widths[i + 1] && layer.weights.length === (widths[i] ?? 0) * layer.bias.length,
  )
  if (!fits || layers.length !== widths.length - 1) return undefined
  const [first, ...rest] = layers as [NetLayer, ...NetLayer[]]
  const outputs = first.bias.length
  const bias = Float64Array.from(first.bias)
  const weights = first.weights.map((weight, at) => {
    bias[at % outputs] = (bias[at % outputs] as number) + weight * (mean[Math.floor(at / outputs)] as number)
    return weight * (spread[Math.floor(at / outputs)] as number)
  })
  return Float32Array.from([{ weights, bias: Float32Array.from(bias) }, ...rest].flatMap((layer) => [...layer.weights, ...layer.bias]))
}

/** Fisher and Yates, 1938. */
export function shuffle(order: Int32Array, rng: Rng): void {
  for (let i = order.length - 1; i > 0; i--) {
    const j = rng.int(i + 1)
    const kept = order[i] as number
    order[i] = order[j] as number
    order[j] = kept
  }
}
