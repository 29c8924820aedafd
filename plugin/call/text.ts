/**
 * Hashed words of the last user message: what the length predictor reads instead of the text. 32 bits each, so that a word maps to a number
 * but a number to many words: pseudonymous, not anonymous (`log.textFeatures: off` drops them).
 */

/** The contract's bound (Call.textFeatures). */
export const TEXT_FEATURES_MAX = 64

/** Words taken from the start: the instruction usually stands there. With the tail's, 32 words and 31 pairs stay below the bound. */
export const HEAD_WORDS = 22

/** Words taken from the end: the question often stands after a pasted document. */
export const TAIL_WORDS = 10

/** Characters looked at on either side: enough for the words wanted even where they are long, and a bound where a text has no spaces. */
const WINDOW_CHARS = 512

const FNV_OFFSET = 0x811c9dc5
const FNV_PRIME = 0x01000193

/** Distinct hashes of words and of neighbouring pairs, in order of first appearance, at most 64. */
export function wordFeatures(text: string): Uint32Array {
  const head = wordsIn(text, { start: 0, end: Math.min(text.length, WINDOW_CHARS) }, HEAD_WORDS)
  const tailStart = Math.max(head.end, text.length - WINDOW_CHARS)
  const tail = wordsIn(text, { start: tailStart, end: text.length }, WINDOW_CHARS).hashes.slice(-TAIL_WORDS)
  const seen = new Set<number>()
  addWithPairs(head.hashes, seen)
  addWithPairs(tail, seen)
  const features = new Uint32Array(Math.min(seen.size, TEXT_FEATURES_MAX))
  let i = 0
  for (const hash of seen) {
    if (i === features.length) break
    features[i++] = hash
  }
  return features
}

function addWithPairs(words: readonly number[], seen: Set<number>): void {
  let before: number | undefined
  for (const word of words) {
    seen.add(word)
    if (before !== undefined) seen.add(mixed(Math.imul(before, 0x9e3779b1) ^ word))
    before = word
  }
}

/** Hashes of at most `max` words of the span and the offset where reading stopped. A wide character is a word of its own. */
function wordsIn(
  text: string,
  span: { readonly start: number; readonly end: number },
  max: number,
): { readonly hashes: number[]; readonly end: number } {
  const hashes: number[] = []
  let hash = FNV_OFFSET
  let inWord = false
  let at = span.start
  const close = (): void => {
    if (inWord) hashes.push(mixed(hash))
    hash = FNV_OFFSET
    inWord = false
  }
  for (; at < span.end && hashes.length < max; at++) {
    const code = text.charCodeAt(at)
    const wide = code >= WIDE_FROM
    if (wide || !isWordCode(code)) close()
    if (hashes.length >= max) break
    if (!wide && !isWordCode(code)) continue
    hash = Math.imul(hash ^ lowered(code), FNV_PRIME)
    inWord = true
    if (wide) close()
  }
  if (hashes.length < max) close()
  return { hashes, end: at }
}

/** First code of the scripts written without spaces (CJK radicals onward; Hangul and the halves of emoji included). */
export const WIDE_FROM = 0x2e80

function isWordCode(code: number): boolean {
  return (code >= 0x61 && code <= 0x7a) || (code >= 0x41 && code <= 0x5a) || (code >= 0x30 && code <= 0x39) || code >= 0xc0
}

function lowered(code: number): number {
  return code >= 0x41 && code <= 0x5a ? code + 0x20 : code
}

/** Murmur3's finaliser (Appleby, 2011): spreads neighbouring hashes over all 32 bits. */
function mixed(hash: number): number {
  let h = hash
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
