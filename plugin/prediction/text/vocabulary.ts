import { hashLetter, hashWord, PIECE_START, WORD_START, WordTable } from './word-hash.ts'

/** Words longer than this are one unknown token (BERT's tokeniser has 100; a word that long says nothing). */
const WORD_LETTERS_MAX = 40

/** WordPiece (Wu et al., 2016; Devlin et al., 2019) over a fixed vocabulary, by hashes: greedy, longest piece first. */
export interface Vocabulary {
  readonly size: number
  /** Number of a whole word by its hash, or −1. */
  word(hash: number): number
  /** Writes the pieces of the letters [0, length) to `out` from `at` and returns the end; nothing where some part has no piece. */
  pieces(letters: Uint16Array, length: number, out: Uint16Array, at: number): number
}

/** A vocabulary from its tokens in order; "##" starts a continuation. */
export function createVocabulary(tokens: readonly string[]): Vocabulary {
  const words = new WordTable(tokens.flatMap((token, id) => (token.startsWith('##') ? [] : [[hashWord(token), id] as const])))
  const continuations = new WordTable(
    tokens.flatMap((token, id) => (token.startsWith('##') ? [[hashWord(token.slice(2), PIECE_START), id] as const] : [])),
  )
  return {
    size: tokens.length,
    word: (hash) => words.get(hash),
    pieces(letters, length, out, at) {
      if (length > WORD_LETTERS_MAX) return at
      let end = at
      for (let start = 0; start < length; ) {
        if (end === out.length) return at
        const table = start === 0 ? words : continuations
        let state = start === 0 ? WORD_START : PIECE_START
        let best = -1
        let next = start
        for (let i = start; i < length; i++) {
          state = hashLetter(state, letters[i] as number)
          const id = table.get(state)
          if (id !== -1) {
            best = id
            next = i + 1
          }
        }
        if (best === -1) return at
        out[end++] = best
        start = next
      }
      return end
    },
  }
}
