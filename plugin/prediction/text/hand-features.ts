import { KEYWORD_GROUPS, UNIT_GROUPS } from './keywords.ts'
import type { Scan } from './scan.ts'
import { SUM } from './scan-tables.ts'

/** Hand features of a prompt from one scan: how long, how it is laid out, what it asks for. Most are logarithms, ratios or flags, all about 0 to 10. */
interface Feature {
  readonly name: string
  readonly of: (scan: Scan) => number
}

/** Logarithms of 1 + counts: most sums are small whole numbers. */
const LOGS = Float64Array.from({ length: 1_024 }, (_, count) => Math.log1p(count))
const log = (value: number): number => (value < LOGS.length && Number.isInteger(value) ? (LOGS[value] as number) : Math.log1p(value))
const logSum = (name: keyof typeof SUM): Feature => {
  const at = SUM[name]
  return { name, of: ({ sums }) => log(sums[at] as number) }
}
const share = (name: keyof typeof SUM, of: keyof typeof SUM): Feature => {
  const [at, whole] = [SUM[name], SUM[of]]
  return { name: `${name} per ${of}`, of: ({ sums }) => (sums[at] as number) / Math.max(1, sums[whole] as number) }
}
const some = (name: keyof typeof SUM): Feature => {
  const at = SUM[name]
  return { name: `some ${name}`, of: ({ sums }) => ((sums[at] as number) > 0 ? 1 : 0) }
}
const endsWith = (sign: string): Feature => {
  const codes = [...sign].map((one) => one.charCodeAt(0))
  return { name: `ends with ${sign}`, of: ({ lastCode }) => (codes.includes(lastCode) ? 1 : 0) }
}

const LAYOUT: readonly Feature[] = [
  { name: 'chars', of: ({ chars }) => log(chars) },
  { name: 'chars squared', of: ({ chars }) => log(chars) ** 2 / 8 },
  { name: 'short', of: ({ chars }) => (chars < 40 ? 1 : 0) },
  { name: 'long', of: ({ chars }) => (chars > 1_000 ? 1 : 0) },
  ...(
    ['words', 'breaks', 'blankLines', 'wides', 'questions', 'exclamations', 'stops', 'commas', 'colons', 'semicolons', 'quotes'] as const
  ).map(logSum),
  ...(['brackets', 'braces', 'operators', 'backticks', 'bullets', 'hashes', 'numbers', 'numberLargest', 'options'] as const).map(logSum),
  ...(
    [
      'items',
      'itemCharsLeast',
      'itemCharsMost',
      'firstLineChars',
      'lastLineChars',
      'payloadChars',
      'quotedChars',
      'sentences',
      'numberDistinct',
    ] as const
  ).map(logSum),
  { name: 'item chars mean', of: ({ sums }) => log((sums[SUM.itemChars] as number) / Math.max(1, sums[SUM.items] as number)) },
  { name: 'tokens', of: ({ tokenCount }) => log(tokenCount) },
  ...(['lineLongest', 'dollars', 'slashes', 'digits', 'repeats'] as const).map(logSum),
  ...(['capitals', 'longWords', 'capitalWords'] as const).map((name) => share(name, name === 'capitals' ? 'letters' : 'words')),
  share('letters', 'words'),
  share('signs', 'words'),
  share('stops', 'words'),
  share('commas', 'words'),
  share('words', 'breaks'),
  ...(['questions', 'backticks', 'braces', 'bullets', 'options', 'wides', 'numbers', 'blankLines', 'dollars'] as const).map(some),
  endsWith('?'),
  endsWith(':'),
  endsWith('.'),
  endsWith('!'),
  endsWith('"\')”'),
  { name: 'starts small', of: ({ firstCode }) => (firstCode >= 0x61 && firstCode <= 0x7a ? 1 : 0) },
  { name: 'one line', of: ({ sums }) => (sums[SUM.breaks] === 0 ? 1 : 0) },
]

/** Two columns per unit; `writeAsked` fills them. */
const ASKED: readonly string[] = UNIT_GROUPS.flatMap((unit) => [`some ${unit} asked for`, `${unit} asked for`])

/** Three columns per group of keywords; `writeWords` fills them. */
const WORDS: readonly string[] = KEYWORD_GROUPS.flatMap((group) => [`leads with ${group}`, `has ${group}`, `first ${group}`])

const group = (name: string): number => KEYWORD_GROUPS.indexOf(name)
const COPIES = ['translate', 'rewrite', 'correct'].map(group)
const PICKS = ['choose', 'survey', 'classify'].map(group)
const leadsWith = ({ leads }: Scan, groups: readonly number[]): boolean => groups.some((one) => leads[one] === 1)
/** Tokens of `chars` characters in a text of which `wides` are of scripts without spaces: four letters make one, wide signs one each. */
const tokensOf = (chars: number, wides: number): number => Math.max(0, chars - wides) / 4 + Math.min(chars, wides)
/** Rules of thumb count from here: the logarithm of a usual answer's tokens, so that "no rule" is 0. */
export const USUAL = 4.6

/** Rules of thumb that hold across sets: who copies answers as long as the payload, who picks as long as an option. */
const RULES: readonly Feature[] = [
  {
    name: 'copies payload',
    // The very first telling word decides: languages and mistakes are mentioned in many a prompt that wants neither translated nor corrected.
    of: ({ sums, firstGroup }) => {
      const payload = sums[SUM.payloadChars] as number
      if (payload === 0 || !COPIES.includes(firstGroup)) return 0
      return log(tokensOf(payload, sums[SUM.wides] as number)) - USUAL
    },
  },
  {
    name: 'picks',
    of: (scan) => {
      const items = scan.sums[SUM.items] as number
      if (items < 2 || !leadsWith(scan, PICKS)) return 0
      return log((scan.sums[SUM.itemChars] as number) / items / 4) - USUAL
    },
  },
  {
    name: 'asked length',
    of: ({ units }) =>
      (units[0] as number) > 0
        ? log((units[0] as number) * 1.3) - USUAL
        : (units[1] as number) > 0
          ? log((units[1] as number) * 20) - USUAL
          : 0,
  },
]

const FEATURES: readonly Feature[] = [...LAYOUT, ...RULES]

/** Names in order: part of a model's feature hash. */
export const HAND_FEATURES: readonly string[] = [...FEATURES.map((one) => one.name), ...ASKED, ...WORDS]

/** Columns that foretell the length by themselves where they are not 0: USUAL + value is ln tokens. */
export const RULES_OF_THUMB: readonly number[] = ['copies payload', 'picks'].map((name) => HAND_FEATURES.indexOf(name))

/** Writes the features of a scan to `out` from `at`. */
export function writeHandFeatures(scan: Scan, out: Float32Array, at: number): void {
  for (let i = 0; i < FEATURES.length; i++) out[at + i] = (FEATURES[i] as Feature).of(scan)
  writeAsked(scan, out, at + FEATURES.length)
  writeWords(scan, out, at + FEATURES.length + ASKED.length)
}

function writeAsked({ units }: Scan, out: Float32Array, at: number): void {
  for (let i = 0; i < units.length; i++) {
    const asked = units[i] as number
    out[at + 2 * i] = asked > 0 ? 1 : 0
    out[at + 2 * i + 1] = log(asked)
  }
}

/** Most groups have no word in a prompt: all three of their columns are 0. */
function writeWords({ leads, groups, firstGroup }: Scan, out: Float32Array, at: number): void {
  for (let i = 0; i < groups.length; i++) {
    const words = groups[i] as number
    out[at + 3 * i] = leads[i] as number
    out[at + 3 * i + 1] = words === 0 ? 0 : log(words)
    out[at + 3 * i + 2] = firstGroup === i ? 1 : 0
  }
}
