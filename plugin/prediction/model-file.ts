import { LENGTH_FEATURE_HASH, type LengthModel, ROW_WIDTH } from './length-model.ts'

/** A length model as one JSON text, numbers as base64 of little-endian arrays. */

type Stored = string

const pack = (values: Float32Array | Float64Array | Int16Array): Stored =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('base64')
const bytesOf = (stored: Stored): ArrayBuffer => {
  const bytes = Buffer.from(stored, 'base64')
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)
}
const floats = (stored: Stored): Float32Array => new Float32Array(bytesOf(stored))

interface ModelFile {
  readonly kind: 'length'
  readonly version: string
  readonly featureHash: string
  readonly low: Stored
  readonly high: Stored
  readonly mean: Stored
  readonly spread: Stored
  readonly ridge: { readonly bias: number; readonly weights: Stored }
  readonly words: { readonly bias: number; readonly weights: Stored }
  readonly trees: {
    readonly base: number
    readonly depth: number
    readonly columns: Stored
    readonly thresholds: Stored
    readonly leaves: Stored
  }
  readonly net: readonly { readonly weights: Stored; readonly bias: Stored }[]
  readonly shares: LengthModel['shares']
  readonly thumbs: LengthModel['thumbs']
  readonly levels: readonly number[]
}

/** The model as text; the same model gives the same text. */
export function encodeLengthModel(model: LengthModel): string {
  const { version, featureHash, low, high, mean, spread, ridge, words, trees, net, shares, thumbs, levels } = model
  const file: ModelFile = {
    kind: 'length',
    version,
    featureHash,
    low: pack(low),
    high: pack(high),
    mean: pack(mean),
    spread: pack(spread),
    ridge: { bias: ridge.bias, weights: pack(ridge.weights) },
    words: { bias: words.bias, weights: pack(words.weights) },
    trees: { ...trees, columns: pack(trees.columns), thresholds: pack(trees.thresholds), leaves: pack(trees.leaves) },
    net: net.map((layer) => ({ weights: pack(layer.weights), bias: pack(layer.bias) })),
    shares,
    thumbs,
    levels: [...levels],
  }
  return `${JSON.stringify(file, null, 1)}\n`
}

/** The model in a text. Throws on what is no length model, and by name on one of other features. */
export function decodeLengthModel(text: string): LengthModel {
  const file = JSON.parse(text) as ModelFile
  if (file.kind !== 'length') throw new Error(`this is no length model but "${String(file.kind)}"`)
  if (file.featureHash !== LENGTH_FEATURE_HASH)
    throw new Error(
      `length model ${file.version} reads features ${file.featureHash}, this version has ${LENGTH_FEATURE_HASH}: train it again`,
    )
  const model: LengthModel = {
    version: file.version,
    featureHash: file.featureHash,
    low: floats(file.low),
    high: floats(file.high),
    mean: floats(file.mean),
    spread: floats(file.spread),
    ridge: { bias: file.ridge.bias, weights: floats(file.ridge.weights) },
    words: { bias: file.words.bias, weights: floats(file.words.weights) },
    trees: {
      base: file.trees.base,
      depth: file.trees.depth,
      columns: new Int16Array(bytesOf(file.trees.columns)),
      thresholds: floats(file.trees.thresholds),
      leaves: floats(file.trees.leaves),
    },
    net: file.net.map((layer) => ({ weights: floats(layer.weights), bias: floats(layer.bias) })),
    shares: file.shares,
    thumbs: file.thumbs,
    levels: Float64Array.from(file.levels),
  }
  if (model.low.length !== ROW_WIDTH || model.net.length === 0) throw new Error(`length model ${file.version} is damaged`)
  return model
}
