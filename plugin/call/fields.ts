/**
 * Where the top-level values of a JSON body stand, in bytes, so that a door can change one field and leave every other byte as the
 * caller sent it: re-serialising would reorder keys, round big numbers and change escapes.
 *
 * The scan works on the body's latin1 text, whose positions are byte positions and whose ASCII is JSON's own: every structural sign is
 * ASCII and no byte of a UTF-8 sequence is. It trusts that the body is valid JSON (parse it first); on anything else it still ends, with
 * ranges that mean nothing.
 */

/** One top-level member: `keyStart` at the key's opening quote, the value in [start, end), all byte offsets in the body. */
export interface FieldRange {
  readonly keyStart: number
  readonly start: number
  readonly end: number
}

/** The members of an object by name (a name given twice: the last one, as JSON.parse has it); `openAt` is the offset after its `{`. */
export interface BodyFields {
  readonly openAt: number
  readonly ranges: ReadonlyMap<string, FieldRange>
}

/** A replacement of the bytes in [start, end); an insertion where they are equal. */
export interface Edit {
  readonly start: number
  readonly end: number
  readonly bytes: Buffer
}

const QUOTE = 0x22
const COMMA = 0x2c
const BACKSLASH = 0x5c
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

/** The members of the JSON object that starts at or after `from` in `latin1`, the latin1 text of a valid JSON body. */
export function scanFields(latin1: string, from = 0): BodyFields {
  const ranges = new Map<string, FieldRange>()
  const openAt = skipBlanks(latin1, from) + 1
  let at = skipBlanks(latin1, openAt)
  while (at < latin1.length && latin1.charCodeAt(at) === QUOTE) {
    const keyStart = at
    const keyEnd = skipString(latin1, at)
    const start = skipBlanks(latin1, skipBlanks(latin1, keyEnd) + 1)
    const end = skipValue(latin1, start)
    ranges.set(nameIn(latin1, { start: keyStart, end: keyEnd }), { keyStart, start, end })
    at = skipBlanks(latin1, end)
    if (latin1.charCodeAt(at) === COMMA) at = skipBlanks(latin1, at + 1)
  }
  return { openAt, ranges }
}

/** The body with the edits made, as a new Buffer; `edits` must not overlap. */
export function spliceBody(body: Buffer, edits: readonly Edit[]): Buffer {
  if (edits.length === 0) return body
  const parts: Buffer[] = []
  let at = 0
  for (const edit of [...edits].sort((a, b) => a.start - b.start)) {
    if (edit.start < at) throw new Error(`edits overlap at byte ${edit.start}`)
    parts.push(body.subarray(at, edit.start), edit.bytes)
    at = edit.end
  }
  parts.push(body.subarray(at))
  return Buffer.concat(parts)
}

/** The edit that puts `value` (JSON text) in place of the named member's value, or adds the member at the front. */
export function replaceField(fields: BodyFields, name: string, value: string): Edit {
  const range = fields.ranges.get(name)
  if (range) return { start: range.start, end: range.end, bytes: Buffer.from(value) }
  const comma = fields.ranges.size > 0 ? ',' : ''
  return { start: fields.openAt, end: fields.openAt, bytes: Buffer.from(`${JSON.stringify(name)}:${value}${comma}`) }
}

/** The edit that makes the body ask for the model `model`. */
export function modelEdit(fields: BodyFields, model: string): Edit {
  return replaceField(fields, 'model', JSON.stringify(model))
}

/**
 * The edit that makes a streamed body ask for the usage chunk, whatever `stream_options` it has; undefined where it asks already, or
 * where its `stream_options` is neither object nor null and the instance will say so.
 */
export function usageEdit(body: Buffer, fields: BodyFields): Edit | undefined {
  const range = fields.ranges.get('stream_options')
  if (!range) return replaceField(fields, 'stream_options', '{"include_usage":true}')
  const value = body.toString('latin1', range.start, range.end)
  if (value === 'null') return replaceField(fields, 'stream_options', '{"include_usage":true}')
  if (value.charCodeAt(0) !== OPEN_BRACE) return undefined
  const inner = scanFields(value)
  const asked = inner.ranges.get('include_usage')
  if (asked && value.slice(asked.start, asked.end) === 'true') return undefined
  const edit = replaceField(inner, 'include_usage', 'true')
  return { start: range.start + edit.start, end: range.start + edit.end, bytes: edit.bytes }
}

function nameIn(latin1: string, quoted: { readonly start: number; readonly end: number }): string {
  const plain = latin1.slice(quoted.start + 1, quoted.end - 1)
  for (let i = 0; i < plain.length; i++) {
    const code = plain.charCodeAt(i)
    if (code === BACKSLASH || code > 0x7f) return decodedName(latin1.slice(quoted.start, quoted.end))
  }
  return plain
}

function decodedName(quoted: string): string {
  try {
    return String(JSON.parse(Buffer.from(quoted, 'latin1').toString('utf8')))
  } catch {
    // Only in what is no JSON at all: then it is no name anybody asks for.
    return quoted
  }
}

function skipBlanks(text: string, from: number): number {
  let at = from
  while (at < text.length && isBlank(text.charCodeAt(at))) at++
  return at
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09
}

/** Offset after the string whose opening quote is at `from`; a quote counts unless an odd run of backslashes stands before it. */
function skipString(text: string, from: number): number {
  let end = text.indexOf('"', from + 1)
  while (end > 0 && text.charCodeAt(end - 1) === BACKSLASH) {
    let slash = end - 1
    while (text.charCodeAt(slash - 1) === BACKSLASH) slash--
    if ((end - slash) % 2 === 0) break
    end = text.indexOf('"', end + 1)
  }
  return end < 0 ? text.length : end + 1
}

function skipValue(text: string, from: number): number {
  const first = text.charCodeAt(from)
  if (first === QUOTE) return skipString(text, from)
  if (first === OPEN_BRACE || first === OPEN_BRACKET) return skipNested(text, from)
  let at = from
  while (at < text.length) {
    const code = text.charCodeAt(at)
    if (code === COMMA || code === CLOSE_BRACE || code === CLOSE_BRACKET || isBlank(code)) break
    at++
  }
  return at
}

function skipNested(text: string, from: number): number {
  let depth = 0
  let at = from
  while (at < text.length) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) {
      at = skipString(text, at)
      continue
    }
    at++
    if (code === OPEN_BRACE || code === OPEN_BRACKET) depth++
    else if ((code === CLOSE_BRACE || code === CLOSE_BRACKET) && --depth === 0) break
  }
  return at
}
