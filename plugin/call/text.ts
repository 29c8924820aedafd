import { freshWords } from './cells.ts'

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

/** The words of one side, 32 bits each, as whole numbers of the engine's small kind: no number is an object, however many calls come. */
const words = new Int32Array(WINDOW_CHARS)
const features = new Uint32Array(TEXT_FEATURES_MAX)

/** Distinct hashes of words and of neighbouring pairs, in order of first appearance, at most 64. */
export function wordFeatures(text: string): Uint32Array {
  const head = readWords(text, { start: 0, end: Math.min(text.length, WINDOW_CHARS) }, HEAD_WORDS)
  let count = addWithPairs({ from: 0, to: head.count }, 0)
  const tailStart = Math.max(head.end, text.length - WINDOW_CHARS)
  const tail = readWords(text, { start: tailStart, end: text.length }, WINDOW_CHARS)
  count = addWithPairs({ from: Math.max(0, tail.count - TAIL_WORDS), to: tail.count }, count)
  const own = freshWords(count)
  for (let i = 0; i < count; i++) own[i] = features[i] as number
  return own
}

/** Adds those of `words`, and their pairs, that are not among the first `count` features yet; returns the new count. */
function addWithPairs({ from, to }: { readonly from: number; readonly to: number }, count: number): number {
  let now = count
  for (let i = from; i < to; i++) {
    const word = words[i] as number
    now = addNew(word, now)
    if (i > from) now = addNew(mixed(Math.imul(words[i - 1] as number, 0x9e3779b1) ^ word), now)
  }
  return now
}

function addNew(hash: number, count: number): number {
  if (count === TEXT_FEATURES_MAX) return count
  const unsigned = hash >>> 0
  for (let i = 0; i < count; i++) if (features[i] === unsigned) return count
  features[count] = unsigned
  return count + 1
}

/** Writes the hashes of at most `max` words of the span to `words`; tells how many, and where reading stopped. A wide character is a word of its own. */
function readWords(
  text: string,
  span: { readonly start: number; readonly end: number },
  max: number,
): { readonly count: number; readonly end: number } {
  let count = 0
  let hash = FNV_OFFSET
  let inWord = false
  let at = span.start
  for (; at < span.end && count < max; at++) {
    const code = text.charCodeAt(at)
    const wide = code >= WIDE_FROM
    if (wide || !isWordCode(code)) {
      if (inWord) words[count++] = mixed(hash)
      hash = FNV_OFFSET
      inWord = false
      if (!wide) continue
      if (count >= max) break
    }
    hash = Math.imul(hash ^ lowered(code), FNV_PRIME)
    inWord = true
    if (!wide) continue
    words[count++] = mixed(hash)
    hash = FNV_OFFSET
    inWord = false
  }
  if (inWord && count < max) words[count++] = mixed(hash)
  return { count, end: at }
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
  return h ^ (h >>> 16)
}
