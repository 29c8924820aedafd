import { expect, test } from 'vitest'
import { type DenseLayer, VectorNet } from '../../plugin/neural/vector-net.ts'
import { createRng, type Rng } from '../../plugin/rng.ts'

const SEED = 31

function layersOf(widths: readonly number[], rng: Rng): DenseLayer[] {
  return widths.slice(1).map((outputs, n) => ({
    weights: Float32Array.from({ length: widths[n]! * outputs }, () => rng.normal() / Math.sqrt(widths[n]!)),
    bias: Float32Array.from({ length: outputs }, () => rng.normal()),
  }))
}

/** The same by the plainest of loops, in double precision. */
function plainly(layers: readonly DenseLayer[], row: ArrayLike<number>): number[] {
  return layers.reduce(
    (input, { weights, bias }, n) =>
      Array.from(bias, (start, k) => {
        const sum = input.reduce((all, value, i) => all + value * weights[i * bias.length + k]!, start)
        return n < layers.length - 1 ? Math.max(0, sum) : sum
      }),
    Array.from(row),
  )
}

test('vector instructions give what a plain loop gives, whatever the widths and however many inputs are 0', () => {
  const rng = createRng(SEED)
  for (const widths of [
    [1, 1],
    [3, 17],
    [414, 64, 32, 48],
    [50, 16, 15, 33, 2],
    [1_024, 1_024, 5],
  ])
    for (const zeros of [0, 0.6, 1]) {
      const layers = layersOf(widths, rng)
      const net = new VectorNet(layers)
      const row = Float32Array.from({ length: widths[0]! }, () => (rng.next() < zeros ? 0 : rng.normal()))
      const said = Array.from(net.evaluate(row))
      const expected = plainly(layers, row)
      expect(said).toHaveLength(expected.length)
      for (const [k, value] of said.entries()) expect(Math.abs(value - expected[k]!), `seed ${SEED}, ${widths}`).toBeLessThan(2e-5)
      expect(Array.from(net.evaluate(row))).toEqual(said)
    }
})

test('a net keeps its own weights, and one whose layers do not fit is refused', () => {
  const layers = layersOf([4, 8, 2], createRng(SEED))
  const net = new VectorNet(layers)
  const before = Array.from(net.evaluate(Float32Array.of(1, 2, 3, 4)))
  layers[0]!.weights.fill(0)
  expect(Array.from(net.evaluate(Float32Array.of(1, 2, 3, 4)))).toEqual(before)
  const odd = { weights: new Float32Array(9), bias: new Float32Array(3) }
  expect(() => new VectorNet([layers[0]!, odd])).toThrow('layer 1 has 3 inputs')
  expect(() => new VectorNet([{ weights: new Float32Array(1_025), bias: new Float32Array(1) }])).toThrow('1025 inputs')
  expect(() => new VectorNet([])).toThrow('needs a layer')
})
