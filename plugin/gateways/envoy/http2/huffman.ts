/**
 * HPACK's Huffman code (RFC 7541, appendix B). The code is canonical, so the lengths of its 257 words say all: words of one length are
 * consecutive numbers in the order of their symbols, and each length goes on where the shorter one stopped.
 */

/** Word length in bits of each byte, then of the end-of-string symbol. */
const LENGTHS = Uint8Array.from(
  (
    '13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28 6 10 10 12 13 6 8 11 10 10 8 11 ' +
    '8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10 13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6 15 5 6 5 6 5 6 6 6 5 7 7 6 ' +
    '6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28 20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 ' +
    '23 23 24 22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23 26 26 20 19 22 23 22 25 ' +
    '26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27 20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 ' +
    '26 27 27 27 27 27 28 27 27 27 27 27 26 30'
  )
    .split(' ')
    .map(Number),
)
const END_OF_STRING = 256
const LENGTH_MAX = 30

/** Per length: the first word, how many there are, and where their symbols begin in `SYMBOLS`. */
const FIRST_WORD = new Uint32Array(LENGTH_MAX + 1)
const WORDS = new Uint16Array(LENGTH_MAX + 1)
const FIRST_SYMBOL = new Uint16Array(LENGTH_MAX + 1)
const SYMBOLS = Uint16Array.from([...LENGTHS.keys()].sort((a, b) => (LENGTHS[a] as number) - (LENGTHS[b] as number) || a - b))

for (const length of LENGTHS) WORDS[length] = (WORDS[length] as number) + 1
for (let length = 1, word = 0, symbol = 0; length <= LENGTH_MAX; length++) {
  word *= 2
  FIRST_WORD[length] = word
  FIRST_SYMBOL[length] = symbol
  word += WORDS[length] as number
  symbol += WORDS[length] as number
}

/** The text behind Huffman-coded bytes, one character per byte; undefined where they are not well coded. */
export function decodeHuffman(bytes: Buffer): string | undefined {
  let text = ''
  let word = 0
  let length = 0
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      word = word * 2 + ((byte >> bit) & 1)
      length++
      if (length > LENGTH_MAX) return undefined
      const index = word - (FIRST_WORD[length] as number)
      if (index >= (WORDS[length] as number)) continue
      const symbol = SYMBOLS[(FIRST_SYMBOL[length] as number) + index] as number
      if (symbol === END_OF_STRING) return undefined
      text += String.fromCharCode(symbol)
      word = 0
      length = 0
    }
  }
  // What is left over must be the beginning of the end-of-string word, all ones, and shorter than a byte.
  return length < 8 && word === 2 ** length - 1 ? text : undefined
}
