import { expect, test } from 'vitest'
import type { Graph, Tensor } from '../../plugin/neural/graph.ts'
import { mlp } from '../../plugin/neural/layers.ts'
import { meanSquare } from '../../plugin/neural/losses.ts'
import { subtract } from '../../plugin/neural/operators.ts'
import { createServing, createTraining, type Training } from '../../plugin/neural/training.ts'
import { createRng } from '../../plugin/rng.ts'

const BATCH = 32
const net = (g: Graph, batch: number): Tensor =>
  mlp(g, g.input('x', [batch, 2]), { name: 'net', widths: [16, 1], activation: 'tanh', dropoutRatio: 0.1 })
const loss = (g: Graph): Tensor => meanSquare(g, net(g, BATCH), g.input('y', [BATCH, 1]))

/** Points of y = x₀ · x₁. */
function fill(training: Training, seed: number): void {
  const rng = createRng(seed)
  const { x, y } = training.feeds as Record<string, Float32Array>
  for (let i = 0; i < BATCH; i++) {
    const [a, b] = [rng.normal(), rng.normal()]
    x!.set([a, b], 2 * i)
    y![i] = a * b
  }
}

async function trained(seed: number, steps: number, from?: Float32Array): Promise<{ parameters: Float32Array; losses: number[] }> {
  const training = await createTraining({ loss, rng: createRng(seed), weightDecay: 1e-3, ...(from ? { from } : {}) })
  const losses: number[] = []
  for (let step = 0; step < steps; step++) {
    fill(training, step)
    losses.push(await training.step(0.01))
  }
  const parameters = training.parameters()
  await training.close()
  return { parameters, losses }
}

const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

test('training learns a product', async () => {
  const { losses } = await trained(1, 600)
  expect(meanOf(losses.slice(-50))).toBeLessThan(0.35 * meanOf(losses.slice(0, 50)))
})

test('the same seed gives the same bits, another seed others', async () => {
  const [first, again, other] = [await trained(1, 50), await trained(1, 50), await trained(2, 50)]
  expect(again.parameters).toEqual(first.parameters)
  expect(again.losses).toEqual(first.losses)
  expect(other.parameters).not.toEqual(first.parameters)
})

test('training goes on from given parameters', async () => {
  const { parameters, losses } = await trained(1, 300)
  const further = await trained(5, 50, parameters)
  expect(meanOf(further.losses)).toBeLessThan(0.6 * meanOf(losses.slice(0, 50)))
})

test('the serving graph is the training graph without dropout', async () => {
  const { parameters } = await trained(1, 100)
  const serving = await createServing((g) => net(g, 1), parameters)
  ;(serving.feeds as Record<string, Float32Array>).x!.set([0.3, -0.7])
  await serving.run()
  const [w1, b1, w2, b2] = [parameters.subarray(0, 32), parameters.subarray(32, 48), parameters.subarray(48, 64), parameters[64]!]
  let expected = b2
  for (let i = 0; i < 16; i++) expected += w2[i]! * Math.tanh(0.3 * w1[i]! - 0.7 * w1[16 + i]! + b1[i]!)
  expect(serving.output[0]).toBeCloseTo(expected, 5)
  await serving.close()
})

test('a step is what AdamW says', async () => {
  const declared = { name: 'x', shape: [2], initial: () => 1 }
  // The derivative is 2 (x − 3) / 2 = −2 at the start; the second tensor does not decay.
  const build = (g: Graph): Tensor => {
    const target = g.constant(3)
    const decaying = meanSquare(g, g.parameter({ ...declared, decays: true }), target)
    const other = meanSquare(g, g.parameter({ ...declared, name: 'y', decays: false }), target)
    return subtract(g, decaying, subtract(g, g.constant(0), other))
  }
  const training = await createTraining({ loss: build, rng: createRng(1), weightDecay: 0.5 })
  expect(await training.step(0.1)).toBe(8)
  // First step: moment ÷ √variance is the derivative's sign, so x moves by the learning rate, less decay of 0.1 · 0.5 · 1.
  const [x, , y] = training.parameters()
  expect(x).toBeCloseTo(1 + 0.1 - 0.05, 5)
  expect(y).toBeCloseTo(1 + 0.1, 5)
  await training.step(0.1)
  // Reference by hand: g₂ = x − 3 per element, m and v with bias correction.
  const g1 = -2
  const g2 = (y as number) - 3
  const m = (0.9 * 0.1 * g1 + 0.1 * g2) / (1 - 0.81)
  const v = (0.999 * 0.001 * g1 ** 2 + 0.001 * g2 ** 2) / (1 - 0.999 ** 2)
  expect(training.parameters()[2]).toBeCloseTo((y as number) - (0.1 * m) / Math.sqrt(v), 5)
  await training.close()
})

test('a model refuses parameters of another size', async () => {
  await expect(createServing((g) => net(g, 1), new Float32Array(3))).rejects.toThrow('the model has 65 parameters, 3 were given')
})
