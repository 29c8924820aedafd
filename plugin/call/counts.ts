import type { TextCounts } from './call.ts'
import { WIDE_FROM } from './text.ts'

/** What the prompt's text is made of, from one pass over at most `COUNT_CHARS_MAX` characters: the regressors of the token estimate. */

/** Enough for the sampled shares to be within a few per cent; at about 2.7 ns a character the pass costs at most 11 µs. */
export const COUNT_CHARS_MAX = 4_096

/** A longer prompt is read in windows of this many characters, evenly spread: long enough that cut words at the edges do not matter. */
const WINDOW_CHARS = 512

/** Every tokeniser splits letters beyond about this many from the head of a word (English words of six letters are mostly one token). */
const SHORT_WORD_LETTERS = 6

const OTHER = 0
const LETTER = 1
const DIGIT = 2
const SIGN = 3
const SPACE = 4
const BREAK = 5
const ACCENT = 6
const ALPHABET = 7
const WIDE = 8

const CLASS_OF_ASCII = Uint8Array.from({ length: 128 }, (_, code) => {
  if ((code >= 0x61 && code <= 0x7a) || (code >= 0x41 && code <= 0x5a)) return LETTER
  if (code >= 0x30 && code <= 0x39) return DIGIT
  if (code === 0x20) return SPACE
  if (code === 0x0a || code === 0x09 || code === 0x0d) return BREAK
  return code > 0x20 && code < 0x7f ? SIGN : OTHER
})

interface Tally {
  words: number
  longLetters: number
  digits: number
  signRuns: number
  signsMore: number
  gaps: number
  accents: number
  alphabets: number
  wides: number
}

/** Counts over all `pieces`; beyond the bound, from evenly spread windows, scaled to the whole. */
export function countText(pieces: readonly string[], media: number): TextCounts {
  let chars = 0
  for (const piece of pieces) chars += piece.length
  const tally: Tally = { words: 0, longLetters: 0, digits: 0, signRuns: 0, signsMore: 0, gaps: 0, accents: 0, alphabets: 0, wides: 0 }
  if (chars <= COUNT_CHARS_MAX) {
    for (const piece of pieces) addSpan(tally, piece, { start: 0, end: piece.length })
    return { ...tally, media }
  }
  const counted = addWindows(tally, pieces, Math.ceil((chars * WINDOW_CHARS) / COUNT_CHARS_MAX))
  return { ...scaled(tally, chars / counted), media }
}

/** The counts of a text of which one part in `factor` was counted; images and such were counted in full. */
export function scaleCounts(counts: TextCounts, factor: number): TextCounts {
  return factor > 1 ? { ...scaled(counts, factor), media: counts.media } : counts
}

/** Adds one window every `strideChars` of the pieces laid end to end; returns the characters read, at least one. */
function addWindows(tally: Tally, pieces: readonly string[], strideChars: number): number {
  let counted = 0
  let next = 0
  for (const piece of pieces) {
    while (next < piece.length) {
      const end = Math.min(piece.length, next + WINDOW_CHARS)
      addSpan(tally, piece, { start: next, end })
      counted += end - next
      next += strideChars
    }
    next -= piece.length
  }
  return Math.max(1, counted)
}

function scaled(tally: Tally, factor: number): Tally {
  return {
    words: tally.words * factor,
    longLetters: tally.longLetters * factor,
    digits: tally.digits * factor,
    signRuns: tally.signRuns * factor,
    signsMore: tally.signsMore * factor,
    gaps: tally.gaps * factor,
    accents: tally.accents * factor,
    alphabets: tally.alphabets * factor,
    wides: tally.wides * factor,
  }
}

function addSpan(tally: Tally, text: string, span: { readonly start: number; readonly end: number }): void {
  let before = OTHER
  let beforeCode = 0
  let letters = 0
  for (let i = span.start; i < span.end; i++) {
    const code = text.charCodeAt(i)
    const kind = code < 128 ? (CLASS_OF_ASCII[code] ?? OTHER) : classBeyondAscii(code)
    if (kind === LETTER) {
      const inside = before === LETTER || before === ACCENT
      letters = inside ? letters + 1 : 1
      if (!inside) tally.words++
      else if (letters > SHORT_WORD_LETTERS) tally.longLetters++
    } else if (kind === SIGN) {
      if (before === SIGN && (code === beforeCode || !isOpening(code))) tally.signsMore++
      else tally.signRuns++
    } else if (kind === DIGIT) tally.digits++
    else if (kind === ACCENT) tally.accents++
    else if (kind === ALPHABET) tally.alphabets++
    else if (kind === WIDE) tally.wides++
    else if (kind === BREAK ? before !== BREAK : before === SPACE && isRunStart(text, i)) tally.gaps++
    before = kind
    beforeCode = code
  }
}

/** Latin with accents to U+024F; signs and symbols of Latin-1 and U+2000 to U+2BFF; scripts without spaces from U+2E80. */
function classBeyondAscii(code: number): number {
  if (code >= WIDE_FROM) return WIDE
  if (code < 0xc0 || (code >= 0x2000 && code < 0x2c00)) return SIGN
  return code < 0x250 ? ACCENT : ALPHABET
}

/** Brackets and quotes tend to start a token of their own. */
function isOpening(code: number): boolean {
  return code === 0x28 || code === 0x5b || code === 0x7b || code === 0x22 || code === 0x27
}

/** The space at `at` is the second of its run. */
function isRunStart(text: string, at: number): boolean {
  const code = text.charCodeAt(at - 2)
  return code !== 0x20
}
