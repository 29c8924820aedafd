import type { BodyFields, FieldRange } from './fields.ts'

/**
 * A large body made short for the JSON parser: of each very long text (a pasted document) windows are kept, the rest is left out. Placement
 * asks for counts, for the words at both ends and for where the top-level fields stand, and V8 puts everything that it parses out of a text of
 * 100 KB or more into its old generation, so that each such body brings the next full collection nearer: half of a large call's CPU.
 */
export interface Shortened {
  readonly bytes: Buffer
  /** In ascending order: from `shortAt` on, so many bytes of the body were left out before. Empty where nothing was. */
  readonly cuts: readonly { readonly shortAt: number; readonly leftOutBytes: number }[]
}

/** Smaller bodies are parsed whole: it costs less than looking for long texts. */
export const WHOLE_BYTES_MAX = 65_536
/** Texts longer than this are cut. */
const LONG_BYTES = 32_768
/** Kept of a long text: both ends, whose words are features, and windows spread evenly between, for the counts. */
const HEAD_BYTES = 4_096
const TAIL_BYTES = 4_096
const WINDOWS = 16
const WINDOW_BYTES = 512
/** A body with more texts than this is not one with a long text; looking at each costs some 60 ns. */
const TEXTS_MAX = 2_000
/** A place where a text may be cut is looked for this far: no escape (`\u0041` is six bytes) and no character of several bytes is split. */
const ESCAPE_BYTES = 6
const LOOK_BYTES = 64

const QUOTE = 0x22
const BACKSLASH = 0x5c

/** The body itself where it is small or holds no long text. */
export function shorten(body: Buffer): Shortened {
  if (body.length <= WHOLE_BYTES_MAX) return { bytes: body, cuts: [] }
  const kept: Buffer[] = []
  const cuts: { shortAt: number; leftOutBytes: number }[] = []
  let from = 0
  let shortAt = 0
  const leaveOut = (start: number, end: number): void => {
    kept.push(body.subarray(from, start))
    shortAt += start - from
    from = end
    cuts.push({ shortAt, leftOutBytes: (cuts.at(-1)?.leftOutBytes ?? 0) + end - start })
  }
  let open = body.indexOf(QUOTE)
  for (let texts = 0; open >= 0 && texts < TEXTS_MAX; texts++) {
    const close = closingQuote(body, open)
    if (close < 0) break
    if (close - open > LONG_BYTES) for (const [start, end] of gapsIn(body, open + 1, close)) leaveOut(start, end)
    open = body.indexOf(QUOTE, close + 1)
  }
  if (cuts.length === 0) return { bytes: body, cuts }
  kept.push(body.subarray(from))
  return { bytes: Buffer.concat(kept), cuts }
}

/** Where a position of the short text stands in the body. */
export function placeInBody({ cuts }: Pick<Shortened, 'cuts'>, shortAt: number): number {
  let leftOutBytes = 0
  for (const cut of cuts) {
    if (cut.shortAt > shortAt) break
    leftOutBytes = cut.leftOutBytes
  }
  return shortAt + leftOutBytes
}

/** The fields of the short text as they stand in the body. */
export function fieldsInBody(shortened: Shortened, fields: BodyFields): BodyFields {
  const { cuts } = shortened
  if (cuts.length === 0) return fields
  const ranges = new Map<string, FieldRange>()
  for (const [name, { keyStart, start, end }] of fields.ranges)
    ranges.set(name, { keyStart: placeInBody(shortened, keyStart), start: placeInBody(shortened, start), end: placeInBody(shortened, end) })
  return { openAt: placeInBody(shortened, fields.openAt), ranges }
}

/** The quote that ends the text begun at `open`, or -1; one after an odd run of backslashes belongs to the text. */
function closingQuote(body: Buffer, open: number): number {
  let close = body.indexOf(QUOTE, open + 1)
  while (close > 0 && body[close - 1] === BACKSLASH) {
    let slash = close - 1
    while (body[slash - 1] === BACKSLASH) slash--
    if ((close - slash) % 2 === 0) return close
    close = body.indexOf(QUOTE, close + 1)
  }
  return close
}

/** What to leave out of the long text in [start, end), between its head, its windows and its tail. */
function gapsIn(body: Buffer, start: number, end: number): (readonly [start: number, end: number])[] {
  const middle = end - start - HEAD_BYTES - TAIL_BYTES
  const stride = Math.floor(middle / WINDOWS)
  const gaps: (readonly [number, number])[] = []
  for (let i = 0; i < WINDOWS; i++) {
    const at = start + HEAD_BYTES + i * stride
    const from = splitAt(body, at)
    const to = splitAt(body, at + stride - (i === WINDOWS - 1 ? 0 : WINDOW_BYTES))
    if (from !== undefined && to !== undefined && from < to) gaps.push([from, to])
  }
  return gaps
}

/** The first place from `at` on that splits neither an escape nor a character. */
function splitAt(body: Buffer, at: number): number | undefined {
  for (let place = at; place < at + LOOK_BYTES; place++) {
    const byte = body[place] ?? 0
    if (byte >= 0x80 && byte < 0xc0) continue
    if (!body.subarray(place - ESCAPE_BYTES, place).includes(BACKSLASH)) return place
  }
  return undefined
}
