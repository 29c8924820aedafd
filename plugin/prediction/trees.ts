/** Boosted regression trees, complete and of one depth, laid out by levels one tree after another. */
export interface Trees {
  readonly base: number
  readonly depth: number
  readonly columns: Int16Array
  /** Values above it go right; infinite where a node does not split. */
  readonly thresholds: Float32Array
  readonly leaves: Float32Array
}

/** The trees' prediction for one row. */
export function evaluateTrees(trees: Trees, row: Float32Array): number {
  const { depth, columns, thresholds, leaves } = trees
  const inner = 2 ** depth - 1
  let sum = trees.base
  let leafAt = -inner
  for (let root = 0; root < columns.length; root += inner) {
    let node = 0
    for (let level = 0; level < depth; level++) {
      const at = root + node
      node = 2 * node + 1 + ((row[columns[at] as number] as number) > (thresholds[at] as number) ? 1 : 0)
    }
    sum += leaves[leafAt + node] as number
    leafAt += inner + 1
  }
  return sum
}
