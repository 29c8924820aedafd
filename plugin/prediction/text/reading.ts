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

/** Two embedding values share a 32-bit word, each made 0…255 by adding 128: one addition serves both. */
const WORDS = EMBEDDING_WIDTH / 2
const BIAS = 128
/** So many tokens add up in 16 bits: 257 × 255 = 65,535. */
const LANE_TOKENS = 257

/** Words of two values: value k in the low half, value k + WORDS in the high half. */
function pack(embeddings: Int8Array): Int32Array {
  const packed = new Int32Array(embeddings.length / 2)
  for (let row = 0; row < embeddings.length; row += EMBEDDING_WIDTH)
    for (let k = 0; k < WORDS; k++)
      packed[row / 2 + k] = ((embeddings[row + k] as number) + BIAS) | (((embeddings[row + k + WORDS] as number) + BIAS) << 16)
  return packed
}

/** Adds the embeddings of at most LANE_TOKENS tokens to `sum`. Four words at a time stay in registers: a third of the time of adding each token to all sums in memory. */
function addRows(
  packed: Int32Array,
  tokens: ArrayLike<number>,
  { from, to }: { readonly from: number; readonly to: number },
  sum: Int32Array,
): void {
  const bias = BIAS * (to - from)
  for (let k = 0; k < WORDS; k += 4) {
    let [a, b, c, d] = [0, 0, 0, 0]
    for (let t = from; t < to; t++) {
      const at = (tokens[t] as number) * WORDS + k
      a = (a + (packed[at] as number)) | 0
      b = (b + (packed[at + 1] as number)) | 0
      c = (c + (packed[at + 2] as number)) | 0
      d = (d + (packed[at + 3] as number)) | 0
    }
    addWord(sum, k, a, bias)
    addWord(sum, k + 1, b, bias)
    addWord(sum, k + 2, c, bias)
    addWord(sum, k + 3, d, bias)
  }
}

function addWord(sum: Int32Array, k: number, word: number, bias: number): void {
  sum[k] = (sum[k] as number) + (word & 0xffff) - bias
  sum[k + WORDS] = (sum[k + WORDS] as number) + (word >>> 16) - bias
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
