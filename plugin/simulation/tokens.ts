/**
 * The virtual instance's own tokenizer: four bytes of UTF-8 are one token. That is close to what real tokenizers give for English,
 * and it makes a text of a wanted token count easy to write.
 */
export const BYTES_PER_TOKEN = 4

/** Bytes behind one 16-token KV block. */
const BLOCK_BYTES = 16 * BYTES_PER_TOKEN

/** Tokens of a text, at least 1. */
export function countTokens(text: string): number {
  return Math.max(1, Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN))
}

/**
 * Chained content hashes of the text's full 16-token blocks, as safe integers: two texts share their first k hashes exactly when they
 * share their first k blocks (but for collisions of 53 bits).
 */
export function blockHashesOf(text: string): Float64Array {
  const bytes = Buffer.from(text)
  const blocks = Math.floor(bytes.length / BLOCK_BYTES)
  const hashes = new Float64Array(blocks)
  // Two 32-bit lanes, multiplied and rotated per word as in MurmurHash3 (Appleby, 2011), carried on from block to block.
  let low = 0x811c9dc5
  let high = 0x9e3779b9
  for (let block = 0; block < blocks; block++) {
    for (let at = block * BLOCK_BYTES; at < (block + 1) * BLOCK_BYTES; at += 4) {
      const word = bytes.readInt32LE(at)
      low = Math.imul(rotate(low ^ Math.imul(word, 0xcc9e2d51), 13), 5) + 0x6546b64
      high = Math.imul(rotate(high ^ Math.imul(word, 0x1b873593), 15), 9) + 0x561ccd1b
    }
    hashes[block] = (mix(low) >>> 0) * 2_097_152 + (mix(high ^ low) >>> 11)
  }
  return hashes
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits))
}

function mix(value: number): number {
  let z = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35)
  return z ^ (z >>> 16)
}
