/** Hashes of words as they are scanned: one 32-bit state per word, so that no substring is ever made. */

/** State before the first letter of a word. */
export const WORD_START = 0x811c9dc5
/** State before the first letter of a word's continuation ("##" in WordPiece). */
export const PIECE_START = 0x5bd1e995

/** The state after one more letter (FNV-1a with a spread; Fowler, Noll, Vo, 1991). */
export function hashLetter(state: number, code: number): number {
  const mixed = Math.imul(state ^ code, 0x01000193)
  return mixed ^ (mixed >>> 15)
}

/** The state of a whole word. */
export function hashWord(word: string, start: number = WORD_START): number {
  let state = start
  for (let i = 0; i < word.length; i++) state = hashLetter(state, word.charCodeAt(i))
  return state
}

/** A fixed map from word hashes to small non-negative numbers: open addressing, a quarter full, one cache line per look-up. */
export class WordTable {
  readonly #mask: number
  /** A word's hash and its number, side by side. */
  readonly #cells: Int32Array

  /** Of two words with one hash the first one stays. */
  constructor(entries: readonly (readonly [hash: number, value: number])[]) {
    let size = 64
    while (size < 4 * entries.length) size *= 2
    this.#mask = size - 1
    this.#cells = Int32Array.from({ length: 2 * size }, (_, i) => -(i % 2))
    for (const [hash, value] of entries) {
      let at = hash & this.#mask
      while (this.#cells[2 * at + 1] !== -1 && this.#cells[2 * at] !== hash) at = (at + 1) & this.#mask
      if (this.#cells[2 * at + 1] === -1) this.#cells.set([hash, value], 2 * at)
    }
  }

  /** The word's number, or −1. */
  get(hash: number): number {
    let at = hash & this.#mask
    for (;;) {
      const value = this.#cells[2 * at + 1] as number
      if (value === -1 || this.#cells[2 * at] === hash) return value
      at = (at + 1) & this.#mask
    }
  }
}

/** Lower case without accents, per UTF-16 unit below U+0250; the unit itself beyond (as BERT's normaliser does for Latin). */
export const PLAIN_LETTER = Uint16Array.from({ length: 0x250 }, (_, code) => {
  const lowered = String.fromCharCode(code).toLowerCase().normalize('NFD')
  return lowered.charCodeAt(0) || code
})

export const OTHER = 0
export const LETTER = 1
export const DIGIT = 2
export const SIGN = 3
export const SPACE = 4
export const BREAK = 5
export const WIDE = 6

/** What an ASCII or Latin unit is; from U+0250 see `kindOf`. */
const KIND = Uint8Array.from({ length: 0x250 }, (_, code) => {
  if ((code >= 0x61 && code <= 0x7a) || (code >= 0x41 && code <= 0x5a)) return LETTER
  if (code >= 0x30 && code <= 0x39) return DIGIT
  if (code === 0x20 || code === 0x09 || code === 0xa0) return SPACE
  if (code === 0x0a || code === 0x0d) return BREAK
  if (code < 0x20 || code === 0x7f) return OTHER
  return code < 0xc0 ? SIGN : LETTER
})

/** The class of a UTF-16 unit: scripts without spaces (from U+2E80) are WIDE, each unit a word. */
export function kindOf(code: number): number {
  if (code < 0x250) return KIND[code] as number
  if (code >= 0x2e80) return WIDE
  return code >= 0x2000 && code < 0x2c00 ? SIGN : LETTER
}
