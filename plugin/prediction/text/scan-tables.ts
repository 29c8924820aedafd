import { KEYWORDS, NUMBER_WORDS, UNITS } from './keywords.ts'
import { hashWord, WordTable } from './word-hash.ts'

/** What a scan counts and the words it knows. */

/** Sums over the text, by position in `Scan.sums`. */
export const SUM = {
  words: 0,
  letters: 1,
  capitals: 2,
  digits: 3,
  signs: 4,
  breaks: 5,
  blankLines: 6,
  wides: 7,
  questions: 8,
  exclamations: 9,
  stops: 10,
  commas: 11,
  colons: 12,
  semicolons: 13,
  quotes: 14,
  brackets: 15,
  braces: 16,
  operators: 17,
  backticks: 18,
  bullets: 19,
  hashes: 20,
  numbers: 21,
  numberLargest: 22,
  options: 23,
  lineLongest: 24,
  dollars: 25,
  slashes: 26,
  capitalWords: 27,
  longWords: 28,
  repeats: 29,
  /** Lines that start with a sign or a number and a sign: options, bullets, numbered items. */
  items: 30,
  itemChars: 31,
  itemCharsLeast: 32,
  itemCharsMost: 33,
  firstLineChars: 34,
  lastLineChars: 35,
  /** After the first colon or line break: what an instruction is given to work on. */
  payloadChars: 36,
  quotedChars: 37,
  sentences: 38,
  numberDistinct: 39,
} as const
export const SUMS = Object.keys(SUM).length

const groupsOf = (lists: Readonly<Record<string, string>>): Map<string, number[]> => {
  const of = new Map<string, number[]>()
  for (const [index, words] of Object.values(lists).entries())
    for (const word of words.split(' ')) of.set(word.replaceAll(/[^a-z]/g, ''), [...(of.get(word) ?? []), index])
  return of
}
/** Each keyword with the groups it stands in. */
export const KEYWORD_LISTS = [...groupsOf(KEYWORDS)]
/** Word hash → position in KEYWORD_LISTS. */
export const KEYWORD_TABLE = new WordTable(KEYWORD_LISTS.map(([word], i) => [hashWord(word), i]))
/** Word hash → unit. */
export const UNIT_TABLE = new WordTable([...groupsOf(UNITS)].map(([word, [unit = 0]]) => [hashWord(word), unit]))
/** Word hash → the number the word says. */
export const NUMBER_TABLE = new WordTable(Object.entries(NUMBER_WORDS).map(([word, value]) => [hashWord(word), value]))

/** Sign → position in sums, 0 for the rest. */
export const SIGN_SUM = new Uint8Array(128)
for (const [signs, sum] of [
  ['?', SUM.questions],
  ['!', SUM.exclamations],
  ['.', SUM.stops],
  [',', SUM.commas],
  [':', SUM.colons],
  [';', SUM.semicolons],
  ['"\'', SUM.quotes],
  ['()[]', SUM.brackets],
  ['{}', SUM.braces],
  ['=<>+*%&|', SUM.operators],
  ['`', SUM.backticks],
  ['#', SUM.hashes],
  ['$', SUM.dollars],
  ['/\\', SUM.slashes],
] as const)
  for (const sign of signs) SIGN_SUM[sign.charCodeAt(0)] = sum
