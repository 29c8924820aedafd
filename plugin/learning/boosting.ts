import type { Trees } from '../neural/vector-trees.ts'

/**
 * Gradient boosting of regression trees on squared error (Friedman, 2001) over histograms of quantile bins (Ke et al., 2017, algorithm 1), each
 * tree on a sample of rows and columns (Friedman, 2002). Hand features interact (a translation's length goes with its payload, a
 * survey's with its options), which a ridge cannot say and a small net learns slowly from thousands of rows.
 */
export interface BoostingOptions {
  readonly trees: number
  readonly depth: number
  readonly rate: number
  readonly leafRowsLeast: number
  readonly columnRatio: number
  readonly rowRatio: number
  /** Added to a leaf's count: shrinks small leaves towards 0. */
  readonly ridge: number
}

interface Table {
  readonly rows: readonly Float32Array[]
  readonly targets: Float64Array
  readonly weights?: Float64Array
}

const BINS_MAX = 64

interface Binned {
  /** Row-major bin numbers. */
  readonly bins: Uint8Array
  /** Upper edge of each bin per column. */
  readonly edges: readonly Float32Array[]
  readonly width: number
}

/** Trains trees on rows of equal width; `chance` is uniform in [0, 1). */
export function trainTrees(table: Table, options: BoostingOptions, chance: () => number): Trees {
  const binned = binColumns(table.rows)
  const count = table.rows.length
  const base = table.targets.reduce((sum, target) => sum + target, 0) / count
  const residuals = table.targets.map((target) => target - base)
  const grower = new Grower(binned, options)
  const trees: Tree[] = []
  for (let t = 0; t < options.trees; t++) {
    const rows = Int32Array.from({ length: count }, (_, i) => i).filter(() => chance() < options.rowRatio)
    const columns = Int32Array.from({ length: binned.width }, (_, i) => i).filter(
      (column) => (binned.edges[column] as Float32Array).length > 0 && chance() < options.columnRatio,
    )
    const tree = grower.grow(residuals, rows, columns)
    for (let i = 0; i < count; i++) residuals[i] = (residuals[i] as number) - leafOf(tree, binned, i)
    trees.push(tree)
  }
  return pack(trees, binned, { base, depth: options.depth })
}

/** A complete binary tree by levels: node k has children 2k + 1 and 2k + 2; column −1 sends every row left. */
interface Tree {
  readonly columns: Int32Array
  /** Rows with a bin of at most this go left. */
  readonly bins: Uint8Array
  readonly leaves: Float64Array
}

function binColumns(rows: readonly Float32Array[]): Binned {
  const width = rows[0]?.length ?? 0
  const edges: Float32Array[] = []
  const bins = new Uint8Array(rows.length * width)
  for (let column = 0; column < width; column++) {
    const sorted = Float32Array.from(rows, (row) => row[column] as number).sort()
    const cuts = new Set<number>()
    for (let b = 1; b < BINS_MAX; b++) {
      const at = Math.floor((b * sorted.length) / BINS_MAX)
      const [low, high] = [sorted[at - 1] as number, sorted[at] as number]
      if (low < high) cuts.add(Math.fround((low + high) / 2))
    }
    // A rare flag has no quantile of its own: cut at its first step.
    const first = sorted.findIndex((value) => value > (sorted[0] as number))
    if (cuts.size === 0 && first > 0) cuts.add(Math.fround(((sorted[first - 1] as number) + (sorted[first] as number)) / 2))
    const list = Float32Array.from(cuts).sort()
    edges.push(list)
    for (let i = 0; i < rows.length; i++) bins[i * width + column] = binOf(list, (rows[i] as Float32Array)[column] as number)
  }
  return { bins, edges, width }
}

function binOf(edges: Float32Array, value: number): number {
  let low = 0
  let high = edges.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (value > (edges[middle] as number)) low = middle + 1
    else high = middle
  }
  return low
}

function leafOf(tree: Tree, binned: Binned, row: number): number {
  let node = 0
  while (node < tree.columns.length) {
    const column = tree.columns[node] as number
    const right = column >= 0 && (binned.bins[row * binned.width + column] as number) > (tree.bins[node] as number)
    node = 2 * node + (right ? 2 : 1)
  }
  return tree.leaves[node - tree.columns.length] as number
}

/** Grows one tree at a time over the same bins; holds the histogram. */
class Grower {
  readonly #binned: Binned
  readonly #options: BoostingOptions
  readonly #sums = new Float64Array(BINS_MAX)
  readonly #counts = new Float64Array(BINS_MAX)

  constructor(binned: Binned, options: BoostingOptions) {
    this.#binned = binned
    this.#options = options
  }

  grow(residuals: Float64Array, rows: Int32Array, columns: Int32Array): Tree {
    const inner = 2 ** this.#options.depth - 1
    const tree: Tree = { columns: new Int32Array(inner).fill(-1), bins: new Uint8Array(inner), leaves: new Float64Array(inner + 1) }
    const parts: (Int32Array | undefined)[] = [rows]
    for (let node = 0; node < inner; node++) {
      const here = parts[node] as Int32Array
      const split = this.#split(residuals, here, columns)
      if (split) {
        tree.columns[node] = split.column
        tree.bins[node] = split.bin
      }
      const goesLeft = (row: number): boolean =>
        !split || (this.#binned.bins[row * this.#binned.width + split.column] as number) <= split.bin
      parts[2 * node + 1] = here.filter(goesLeft)
      parts[2 * node + 2] = here.filter((row) => !goesLeft(row))
      parts[node] = undefined
    }
    for (let leaf = 0; leaf <= inner; leaf++) {
      const here = parts[inner + leaf] as Int32Array
      let sum = 0
      for (const row of here) sum += residuals[row] as number
      tree.leaves[leaf] = (this.#options.rate * sum) / (here.length + this.#options.ridge)
    }
    return tree
  }

  /** The split that lowers the squared error most: Σ²/n of the parts less that of the whole. */
  #split(residuals: Float64Array, rows: Int32Array, columns: Int32Array): { column: number; bin: number } | undefined {
    const { leafRowsLeast, ridge } = this.#options
    if (rows.length < 2 * leafRowsLeast) return undefined
    let total = 0
    for (const row of rows) total += residuals[row] as number
    const whole = (total * total) / (rows.length + ridge)
    let best = { gain: 1e-9, column: -1, bin: 0 }
    for (const column of columns) {
      const bins = (this.#binned.edges[column] as Float32Array).length + 1
      this.#fill(residuals, rows, column, bins)
      let sum = 0
      let count = 0
      for (let bin = 0; bin < bins - 1; bin++) {
        sum += this.#sums[bin] as number
        count += this.#counts[bin] as number
        const rest = rows.length - count
        if (count < leafRowsLeast) continue
        if (rest < leafRowsLeast) break
        const gain = (sum * sum) / (count + ridge) + (total - sum) ** 2 / (rest + ridge) - whole
        if (gain > best.gain) best = { gain, column, bin }
      }
    }
    return best.column >= 0 ? best : undefined
  }

  #fill(residuals: Float64Array, rows: Int32Array, column: number, bins: number): void {
    const { bins: numbers, width } = this.#binned
    this.#sums.fill(0, 0, bins)
    this.#counts.fill(0, 0, bins)
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i] as number
      const bin = numbers[row * width + column] as number
      this.#sums[bin] = (this.#sums[bin] as number) + (residuals[row] as number)
      this.#counts[bin] = (this.#counts[bin] as number) + 1
    }
  }
}

function pack(trees: readonly Tree[], binned: Binned, { base, depth }: { readonly base: number; readonly depth: number }): Trees {
  const inner = 2 ** depth - 1
  const columns = new Int16Array(trees.length * inner)
  const thresholds = new Float32Array(trees.length * inner)
  const leaves = new Float32Array(trees.length * (inner + 1))
  for (const [t, tree] of trees.entries()) {
    leaves.set(tree.leaves, t * (inner + 1))
    for (let node = 0; node < inner; node++) {
      const column = tree.columns[node] as number
      columns[t * inner + node] = Math.max(0, column)
      const edge = column < 0 ? undefined : binned.edges[column]?.[tree.bins[node] as number]
      thresholds[t * inner + node] = edge ?? Number.POSITIVE_INFINITY
    }
  }
  return { base, depth, columns, thresholds, leaves }
}
