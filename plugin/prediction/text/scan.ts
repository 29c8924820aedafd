import { KEYWORD_GROUPS, UNIT_GROUPS } from './keywords.ts'
import { KEYWORD_LISTS, KEYWORD_TABLE, NUMBER_TABLE, SIGN_SUM, SUM, SUMS, UNIT_TABLE } from './scan-tables.ts'
import type { Vocabulary } from './vocabulary.ts'
import { BREAK, DIGIT, hashLetter, kindOf, LETTER, OTHER, PLAIN_LETTER, SIGN, SPACE, WIDE, WORD_START } from './word-hash.ts'

/** One pass over a prompt: what it is made of, which telling words it has, and its tokens. */

/** Characters read; of a longer text the head and the tail, where instructions stand. */
export const HEAD_CHARS = 1_536
export const TAIL_CHARS = 512
/** Tokens kept for the embedding: later ones move a mean of that many hardly. */
export const TOKENS_MAX = 256
/** Words from either end that count as leading: an instruction's verb stands there. */
const LEAD_WORDS = 12
/** A number counts for a unit at most this many words after it ("three short sentences"). */
const UNIT_REACH_WORDS = 2

/** What a scan found; the arrays are reused by the next one. */
export interface Scan {
  readonly chars: number
  readonly sums: Float64Array
  /** Words per keyword group, anywhere. */
  readonly groups: Uint16Array
  /** 1 where the group stands among the first or last words. */
  readonly leads: Uint8Array
  /** Group of the very first keyword, or −1. */
  readonly firstGroup: number
  /** Largest count asked for per unit, 0 where none. */
  readonly units: Float64Array
  readonly tokens: Uint16Array
  readonly tokenCount: number
  /** First and last unit that is not white space, 0 in an empty text. */
  readonly firstCode: number
  readonly lastCode: number
}

const LARGE = 10_000

/** Scans texts with one vocabulary; holds its arrays, so one per thread. */
export class Scanner {
  readonly #vocabulary: Vocabulary
  readonly #sums = new Float64Array(SUMS)
  readonly #groups = new Uint16Array(KEYWORD_GROUPS.length)
  readonly #leads = new Uint8Array(KEYWORD_GROUPS.length)
  readonly #units = new Float64Array(UNIT_GROUPS.length)
  readonly #tokens = new Uint16Array(TOKENS_MAX)
  readonly #letters = new Uint16Array(64)
  /** Keyword list of each of the last words, to mark those that turn out to lead from the end. */
  readonly #recent = new Int32Array(LEAD_WORDS)
  #tokenCount = 0
  #firstGroup = -1
  #word = 0
  #number = 0
  #numberWord = -10
  #hash = WORD_START
  #length = 0
  #wordKind = OTHER
  #value = 0

  constructor(vocabulary: Vocabulary) {
    this.#vocabulary = vocabulary
  }

  /** Reads a text; what comes back is valid until the next scan. */
  scan(text: string): Scan {
    this.#clear()
    const cut = text.length > HEAD_CHARS + TAIL_CHARS
    if (cut) {
      this.#read(text, { start: 0, end: HEAD_CHARS })
      this.#read(text, { start: text.length - TAIL_CHARS, end: text.length })
    } else this.#read(text, { start: 0, end: text.length })
    this.#markLast()
    return {
      chars: text.length,
      sums: this.#sums,
      groups: this.#groups,
      leads: this.#leads,
      firstGroup: this.#firstGroup,
      units: this.#units,
      tokens: this.#tokens,
      tokenCount: this.#tokenCount,
      firstCode: edgeCode(text, 0, 1),
      lastCode: edgeCode(text, text.length - 1, -1),
    }
  }

  #add(sum: number, by = 1): void {
    this.#sums[sum] = (this.#sums[sum] as number) + by
  }

  #clear(): void {
    this.#sums.fill(0)
    this.#groups.fill(0)
    this.#leads.fill(0)
    this.#units.fill(0)
    this.#recent.fill(-1)
    this.#tokenCount = 0
    this.#firstGroup = -1
    this.#word = 0
    this.#numberWord = -10
  }

  #read(text: string, span: { readonly start: number; readonly end: number }): void {
    const sums = this.#sums
    let line = 0
    let item = false
    let quoteAt = -1
    let before = BREAK
    let beforeCode = 0
    for (let i = span.start; i < span.end; i++) {
      const code = text.charCodeAt(i)
      const kind = kindOf(code)
      if (kind === LETTER || kind === DIGIT) {
        if (before !== kind && before !== LETTER && before !== DIGIT) this.#begin(kind)
        this.#letter(code, kind)
      } else {
        if (before === LETTER || before === DIGIT) this.#end()
        if (kind === SIGN) {
          this.#sign(code, before)
          if (line < 3 && (before === BREAK || ((code === 0x29 || code === 0x2e) && line > 0))) item = true
          if (code === 0x3a && sums[SUM.payloadChars] === 0) sums[SUM.payloadChars] = text.length - i
          if (code === 0x22) {
            if (quoteAt < 0) quoteAt = i
            else {
              this.#add(SUM.quotedChars, i - quoteAt)
              quoteAt = -1
            }
          }
        } else if (kind === BREAK) {
          this.#add(SUM.breaks)
          if (sums[SUM.payloadChars] === 0) sums[SUM.payloadChars] = text.length - i
          if (before === BREAK) this.#add(SUM.blankLines)
          this.#line(line, item)
          line = -1
          item = false
        } else if (kind === WIDE) this.#wide(code)
      }
      if (kind === SIGN && code === beforeCode) this.#add(SUM.repeats)
      line++
      if (kind !== SPACE || before !== BREAK) before = kind
      beforeCode = code
    }
    if (before === LETTER || before === DIGIT) this.#end()
    this.#line(line, item)
  }

  #line(chars: number, item: boolean): void {
    if (chars === 0) return
    const sums = this.#sums
    if (chars > (sums[SUM.lineLongest] as number)) sums[SUM.lineLongest] = chars
    if (sums[SUM.firstLineChars] === 0) sums[SUM.firstLineChars] = chars
    sums[SUM.lastLineChars] = chars
    if (!item) return
    this.#add(SUM.items)
    this.#add(SUM.itemChars, chars)
    if (sums[SUM.itemCharsLeast] === 0 || chars < (sums[SUM.itemCharsLeast] as number)) sums[SUM.itemCharsLeast] = chars
    if (chars > (sums[SUM.itemCharsMost] as number)) sums[SUM.itemCharsMost] = chars
  }

  #begin(kind: number): void {
    this.#hash = WORD_START
    this.#length = 0
    this.#wordKind = kind
    this.#value = 0
  }

  #letter(code: number, kind: number): void {
    const plain = code < 0x250 ? (PLAIN_LETTER[code] as number) : code
    if (kind === DIGIT) {
      this.#add(SUM.digits)
      this.#value = Math.min(LARGE, this.#value * 10 + code - 0x30)
    } else {
      this.#add(SUM.letters)
      if (plain !== code && code < 0x80) {
        this.#add(SUM.capitals)
        if (this.#length === 0) this.#add(SUM.capitalWords)
      }
      this.#wordKind = LETTER
    }
    this.#hash = hashLetter(this.#hash, plain)
    if (this.#length < this.#letters.length) this.#letters[this.#length] = plain
    this.#length++
  }

  /** A word or number has ended. */
  #end(): void {
    this.#add(SUM.words)
    if (this.#length > 7) this.#add(SUM.longWords)
    this.#token()
    if (this.#wordKind === DIGIT) this.#seeNumber(this.#value)
    else {
      const value = NUMBER_TABLE.get(this.#hash)
      if (value > 0) this.#seeNumber(value)
      const unit = UNIT_TABLE.get(this.#hash)
      if (unit >= 0 && this.#word - this.#numberWord <= UNIT_REACH_WORDS + 1)
        this.#units[unit] = Math.max(this.#units[unit] as number, this.#number)
    }
    const list = KEYWORD_TABLE.get(this.#hash)
    this.#recent[this.#word % LEAD_WORDS] = list
    if (list >= 0) this.#keyword(list, this.#word < LEAD_WORDS)
    this.#word++
  }

  #seeNumber(value: number): void {
    if (value !== this.#number) this.#add(SUM.numberDistinct)
    this.#number = value
    this.#numberWord = this.#word
    this.#add(SUM.numbers)
    if (value > (this.#sums[SUM.numberLargest] as number)) this.#sums[SUM.numberLargest] = value
  }

  #keyword(list: number, leads: boolean): void {
    for (const group of KEYWORD_LISTS[list]?.[1] ?? []) {
      this.#groups[group] = (this.#groups[group] as number) + 1
      if (leads) this.#leads[group] = 1
      if (this.#firstGroup < 0) this.#firstGroup = group
    }
  }

  #markLast(): void {
    for (const list of this.#recent) if (list >= 0) for (const group of KEYWORD_LISTS[list]?.[1] ?? []) this.#leads[group] = 1
  }

  #token(): void {
    if (this.#tokenCount === TOKENS_MAX) return
    const whole = this.#vocabulary.word(this.#hash)
    if (whole >= 0) this.#tokens[this.#tokenCount++] = whole
    else this.#tokenCount = this.#vocabulary.pieces(this.#letters, this.#length, this.#tokens, this.#tokenCount)
  }

  #wide(code: number): void {
    this.#add(SUM.wides)
    this.#begin(LETTER)
    this.#hash = hashLetter(WORD_START, code)
    this.#letters[0] = code
    this.#length = 1
    this.#token()
  }

  #sign(code: number, before: number): void {
    this.#add(SUM.signs)
    if ((code === 0x2e || code === 0x3f || code === 0x21) && before === LETTER) this.#add(SUM.sentences)
    const own = code < 128 ? (SIGN_SUM[code] as number) : 0
    if (own > 0) this.#add(own)
    if (before === BREAK && (code === 0x2d || code === 0x2a || code === 0x2022)) this.#add(SUM.bullets)
    if (before === BREAK && code === 0x28) this.#add(SUM.options)
    if (this.#tokenCount < TOKENS_MAX && code < 0x250) {
      const id = this.#vocabulary.word(hashLetter(WORD_START, code))
      if (id >= 0) this.#tokens[this.#tokenCount++] = id
    }
  }
}

function edgeCode(text: string, from: number, step: number): number {
  for (let at = from, left = 64; at >= 0 && at < text.length && left > 0; at += step, left--) {
    const code = text.charCodeAt(at)
    if (code > 0x20) return code
  }
  return 0
}
