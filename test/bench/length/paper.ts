import { describeColumns, standardise } from '../../../plugin/learning/columns.ts'
import { shuffle } from '../../../plugin/learning/length-net.ts'
import type { LengthCase } from '../../../plugin/learning/length-rows.ts'
import { bucketOf } from '../../../plugin/learning/measures.ts'
import type { Graph, Tensor } from '../../../plugin/neural/graph.ts'
import { dropout, mlp } from '../../../plugin/neural/layers.ts'
import { crossEntropy } from '../../../plugin/neural/losses.ts'
import { createTraining } from '../../../plugin/neural/training.ts'
import { PLAIN_WIDTH, ROW_WIDTH } from '../../../plugin/prediction/length-model.ts'
import type { Rng } from '../../../plugin/rng.ts'

/**
 * The paper's own predictor: a classifier into the buckets 0-250, 250-1000 and 1000-4000 that reads nothing but the text (its DistilBERT; here the token
 * embeddings distilled from a sentence model and a small net). With the hint, the task is told before the prompt ("This is a … task").
 */
const CLASSES = 3
const PLAN = { hidden: 64, batch: 128, epochs: 60, learningRate: 2e-3, weightDecay: 0.05, dropoutRatio: 0.3 }

/** Share of the tested rows whose bucket is told right, trained on the others. */
export async function classifyBuckets(training: readonly LengthCase[], tested: readonly LengthCase[], rng: Rng): Promise<boolean[]> {
  const width = ROW_WIDTH - PLAIN_WIDTH
  const embedding = ({ row }: LengthCase): Float32Array => row.subarray(PLAIN_WIDTH)
  const columns = describeColumns(training.map(embedding))
  const standardised = (one: LengthCase): Float32Array => {
    const out = new Float32Array(width)
    standardise(embedding(one), columns, width, out)
    return out
  }
  const rows = training.map(standardised)
  const net = (g: Graph, batch: number): Tensor =>
    mlp(g, dropout(g, g.input('x', [batch, width]), PLAN.dropoutRatio), {
      name: 'paper',
      widths: [PLAN.hidden, CLASSES],
      dropoutRatio: PLAN.dropoutRatio,
    })
  const { batch } = PLAN
  const loss = (g: Graph): Tensor => crossEntropy(g, net(g, batch), g.input('targets', [batch, CLASSES]))
  const trainer = await createTraining({ loss, rng: rng.stream('paper'), weightDecay: PLAN.weightDecay })
  const { x, targets } = trainer.feeds as Record<'x' | 'targets', Float32Array>
  const order = Int32Array.from(rows, (_, i) => i)
  const dice = rng.stream('order')
  for (let epoch = 0; epoch < PLAN.epochs; epoch++) {
    shuffle(order, dice)
    for (let from = 0; from + batch <= order.length; from += batch) {
      targets!.fill(0)
      for (let b = 0; b < batch; b++) {
        const i = order[from + b]!
        x!.set(rows[i]!, b * width)
        targets![b * CLASSES + Math.min(CLASSES - 1, bucketOf(training[i]!.outputTokens))] = 1
      }
      await trainer.step(PLAN.learningRate * (1 - epoch / PLAN.epochs))
    }
  }
  const flat = trainer.parameters()
  await trainer.close()
  return tested.map((one) => likeliest(forward(flat, standardised(one))) === bucketOf(one.outputTokens))
}

/** The net without its dropout, by hand: two dense layers. */
function forward(flat: Float32Array, row: Float32Array): number[] {
  const { hidden } = PLAN
  const inner = dense(flat, 0, row, hidden).map((value) => Math.max(0, value))
  return dense(flat, row.length * hidden + hidden, inner, CLASSES)
}

function dense(flat: Float32Array, at: number, input: ArrayLike<number>, outputs: number): number[] {
  const bias = at + input.length * outputs
  return Array.from({ length: outputs }, (_, k) => {
    let sum = flat[bias + k]!
    for (let i = 0; i < input.length; i++) sum += input[i]! * flat[at + i * outputs + k]!
    return sum
  })
}

const likeliest = (logits: readonly number[]): number => logits.indexOf(Math.max(...logits))
