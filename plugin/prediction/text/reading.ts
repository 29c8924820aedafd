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

/** A reader over a token table: `tokens` in order, `embeddings` int8 [tokens, EMBEDDING_WIDTH]. Throws where the sizes differ. */
export function createTextReader(table: { readonly tokens: readonly string[]; readonly embeddings: Int8Array }): TextReader {
  const { tokens, embeddings } = table
  if (embeddings.length !== tokens.length * EMBEDDING_WIDTH)
    throw new Error(`${tokens.length} tokens need ${tokens.length * EMBEDDING_WIDTH} bytes of embeddings, got ${embeddings.length}`)
  const scanner = new Scanner(createVocabulary(tokens))
  const sum = new Int32Array(EMBEDDING_WIDTH)
  return (text) => {
    const scan = scanner.scan(text)
    const reading = new Float32Array(READING_WIDTH)
    writeHandFeatures(scan, reading, 0)
    if (scan.tokenCount === 0) return reading
    sum.fill(0)
    for (let t = 0; t < scan.tokenCount; t++) {
      const row = (scan.tokens[t] as number) * EMBEDDING_WIDTH
      for (let k = 0; k < EMBEDDING_WIDTH; k++) sum[k] = (sum[k] as number) + (embeddings[row + k] as number)
    }
    const scale = EMBEDDING_SCALE / scan.tokenCount
    for (let k = 0; k < EMBEDDING_WIDTH; k++) reading[HAND_FEATURES.length + k] = (sum[k] as number) * scale
    return reading
  }
}
