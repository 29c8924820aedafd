import { freshFloats } from '../../call/cells.ts'
import { HAND_FEATURES, writeHandFeatures } from './hand-features.ts'
import { Scanner } from './scan.ts'
import { createVocabulary } from './vocabulary.ts'

/** Width of the static token embeddings. */
export const EMBEDDING_WIDTH = 128

/** Numbers that stand for a text: hand features, then the mean of its token embeddings. */
export const READING_WIDTH = HAND_FEATURES.length + EMBEDDING_WIDTH

/** Reads a text into READING_WIDTH numbers; a new array each time. */
export type TextReader = (text: string) => Float32Array

/** int8 units of the table per unit of the features: brings their spread near that of the hand features. */
const EMBEDDING_SCALE = 1 / 16

/** Four embedding values share a 32-bit word as they are stored, each made 0…255 by adding 128: a token is two cache lines. */
const WORDS = EMBEDDING_WIDTH / 4
const BIAS = 128
/** Two of them at a time are added as halves of a word: one addition serves both. */
const PAIR = 0x00ff00ff
/** So many tokens add up in 16 bits: 257 × 255 = 65,535. */
const LANE_TOKENS = 257

/** Words of four values: k, k + WORDS, k + 2 × WORDS, k + 3 × WORDS from the lowest byte on. */
function pack(embeddings: Int8Array): Int32Array {
  const packed = new Int32Array(embeddings.length / 4)
  for (let row = 0; row < embeddings.length; row += EMBEDDING_WIDTH)
    for (let k = 0; k < WORDS; k++) {
      let word = 0
      for (let n = 0; n < 4; n++) word |= ((embeddings[row + k + n * WORDS] as number) + BIAS) << (8 * n)
      packed[row / 4 + k] = word
    }
  return packed
}

/** Adds the embeddings of at most LANE_TOKENS tokens to `sum`. Two words at a time stay in registers: a third of the time of adding each token to all sums in memory. */
function addRows(
  packed: Int32Array,
  tokens: ArrayLike<number>,
  { from, to }: { readonly from: number; readonly to: number },
  sum: Int32Array,
): void {
  const bias = BIAS * (to - from)
  for (let k = 0; k < WORDS; k += 2) {
    let [a, b, c, d] = [0, 0, 0, 0]
    for (let t = from; t < to; t++) {
      const at = (tokens[t] as number) * WORDS + k
      const one = packed[at] as number
      const two = packed[at + 1] as number
      a = (a + (one & PAIR)) | 0
      b = (b + ((one >>> 8) & PAIR)) | 0
      c = (c + (two & PAIR)) | 0
      d = (d + ((two >>> 8) & PAIR)) | 0
    }
    addPair(sum, k, a, bias)
    addPair(sum, k + WORDS, b, bias)
    addPair(sum, k + 1, c, bias)
    addPair(sum, k + 1 + WORDS, d, bias)
  }
}

function addPair(sum: Int32Array, k: number, pair: number, bias: number): void {
  sum[k] = (sum[k] as number) + (pair & 0xffff) - bias
  sum[k + 2 * WORDS] = (sum[k + 2 * WORDS] as number) + (pair >>> 16) - bias
}

/** A reader over a token table: `tokens` in order, `embeddings` int8 [tokens, EMBEDDING_WIDTH]. Throws where the sizes differ. */
export function createTextReader(table: { readonly tokens: readonly string[]; readonly embeddings: Int8Array }): TextReader {
  const { tokens, embeddings } = table
  if (embeddings.length !== tokens.length * EMBEDDING_WIDTH)
    throw new Error(`${tokens.length} tokens need ${tokens.length * EMBEDDING_WIDTH} bytes of embeddings, got ${embeddings.length}`)
  const scanner = new Scanner(createVocabulary(tokens))
  const packed = pack(embeddings)
  const sum = new Int32Array(EMBEDDING_WIDTH)
  return (text) => {
    const scan = scanner.scan(text)
    const reading = freshFloats(READING_WIDTH)
    writeHandFeatures(scan, reading, 0)
    if (scan.tokenCount === 0) return reading
    sum.fill(0)
    for (let from = 0; from < scan.tokenCount; from += LANE_TOKENS)
      addRows(packed, scan.tokens, { from, to: Math.min(scan.tokenCount, from + LANE_TOKENS) }, sum)
    const scale = EMBEDDING_SCALE / scan.tokenCount
    for (let k = 0; k < EMBEDDING_WIDTH; k++) reading[HAND_FEATURES.length + k] = (sum[k] as number) * scale
    return reading
  }
}
