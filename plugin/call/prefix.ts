import xxhash from 'xxhash-wasm'

/**
 * Prefix blocks: two calls share their first k hashes exactly when the first k × 256 bytes of their prompts are the same, so an
 * instance that served one has (most of) the other's prefix in its KV cache. Raw bytes as sent, never re-serialised: what a caller's
 * library writes today it writes the same way tomorrow, and nothing is paid for being canonical.
 */

/** About 60 tokens of English: four blocks of vLLM's 16 tokens. */
export const PREFIX_BLOCK_BYTES = 256

/** 1 MiB of prompt, about 250,000 tokens: longer contexts share so much already that the rest decides nothing. */
export const PREFIX_BLOCKS_MAX = 4096

/** Bytes [start, end) of the body. */
export interface Segment {
  readonly start: number
  readonly end: number
}

const CLOSE_BRACKET = 0x5d
const QUOTE = 0x22
const SPACE = 0x20

/** Loaded once, at import: the hash must be there before the first call. */
const hashes = await xxhash()

/**
 * Chained 64-bit hashes (xxHash64, Collet) over the blocks of `segments` laid end to end; each block is seeded with the hash before it
 * and the first with `model`'s. The last segment is what grows with the conversation: its closing bracket or quote is left out, because a longer one
 * has a comma there. A last block that is not full is dropped.
 */
export function prefixBlocks(parts: { body: Buffer; segments: readonly Segment[]; model: string }): BigUint64Array {
  const bytes = laidEndToEnd(parts.body, parts.segments)
  const count = Math.min(PREFIX_BLOCKS_MAX, Math.floor(bytes.length / PREFIX_BLOCK_BYTES))
  const blocks = new BigUint64Array(count)
  if (count === 0) return blocks
  let chained = hashes.h64(parts.model)
  for (let i = 0; i < count; i++) {
    const start = i * PREFIX_BLOCK_BYTES
    chained = hashes.h64Raw(bytes.subarray(start, start + PREFIX_BLOCK_BYTES), chained)
    blocks[i] = chained
  }
  return blocks
}

/** 32-bit hash of text, never 0; 0 for the empty text. */
export function hashText(text: string): number {
  return text === '' ? 0 : hashes.h32(text) || 1
}

function laidEndToEnd(body: Buffer, segments: readonly Segment[]): Buffer {
  const last = segments.at(-1)
  if (!last) return body.subarray(0, 0)
  const growing = { start: last.start, end: withoutCloser(body, last) }
  if (segments.length === 1) return body.subarray(growing.start, growing.end)
  return Buffer.concat([...segments.slice(0, -1), growing].map((s) => body.subarray(s.start, s.end)))
}

function withoutCloser(body: Buffer, segment: Segment): number {
  let end = segment.end
  const closer = body[end - 1]
  if (closer === QUOTE && body[segment.start] === QUOTE) return Math.max(segment.start, end - 1)
  if (closer !== CLOSE_BRACKET) return end
  end--
  while (end > segment.start && (body[end - 1] ?? 0) <= SPACE) end--
  return end
}
