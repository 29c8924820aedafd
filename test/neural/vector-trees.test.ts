import { expect, test } from 'vitest'
import { type Trees, VectorTrees } from '../../plugin/neural/vector-trees.ts'
import { createRng, type Rng } from '../../plugin/rng.ts'

const SEED = 32
const WIDTH = 50

function treesOf(count: number, depth: number, rng: Rng): Trees {
  const inner = 2 ** depth - 1
  return {
    base: rng.normal(),
    depth,
    columns: Int16Array.from({ length: count * inner }, () => rng.int(WIDTH)),
    thresholds: Float32Array.from({ length: count * inner }, () => (rng.next() < 0.1 ? Number.POSITIVE_INFINITY : rng.normal())),
    leaves: Float32Array.from({ length: count * (inner + 1) }, () => rng.normal()),
  }
}

/** The same by walking each tree from its root. */
function plainly({ base, depth, columns, thresholds, leaves }: Trees, row: Float32Array): number {
  const inner = 2 ** depth - 1
  let sum = base
  for (let tree = 0; tree * inner < columns.length; tree++) {
    let node = 0
    while (node < inner) node = 2 * node + (row[columns[tree * inner + node]!]! > thresholds[tree * inner + node]! ? 2 : 1)
    sum += leaves[tree * (inner + 1) + node - inner]!
  }
  return sum
}

test('trees say the very same number as when they are walked one by one', () => {
  const rng = createRng(SEED)
  for (const depth of [1, 3, 5])
    for (const count of [0, 1, 200]) {
      const trees = treesOf(count, depth, rng)
      const vector = new VectorTrees(trees)
      for (let i = 0; i < 50; i++) {
        const row = Float32Array.from({ length: WIDTH }, () => (rng.next() < 0.05 ? Number.NaN : rng.normal()))
        expect(vector.evaluate(row), `seed ${SEED}, ${count} trees of depth ${depth}`).toBe(plainly(trees, row))
      }
    }
})

test('a tree that asks for a column no row has is refused', () => {
  const trees = treesOf(3, 2, createRng(SEED))
  for (const column of [-1, 3_000]) {
    const columns = trees.columns.slice()
    columns[4] = column
    expect(() => new VectorTrees({ ...trees, columns })).toThrow(`column ${column}`)
  }
})
