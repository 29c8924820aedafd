import { scanFields } from '../call/fields.ts'
import type { SseEvent } from './sse.ts'

/**
 * The event's bytes without a top-level `"usage":null`, which a server adds to each chunk when asked for usage; the same buffer where there is
 * none. Data over several lines is left alone: no server writes it so.
 */
export function withoutNullUsage(event: SseEvent): Buffer {
  const { data, dataAt, raw } = event
  if (data === undefined || dataAt < 0 || !data.startsWith('{') || !data.includes('"usage"')) return raw
  const usage = scanFields(data).ranges.get('usage')
  if (!usage || data.slice(usage.start, usage.end) !== 'null') return raw
  const { start, end } = withItsComma(data, { start: usage.keyStart, end: usage.end })
  return Buffer.concat([raw.subarray(0, dataAt + start), raw.subarray(dataAt + end)])
}

/** The member's span with the comma before it or, for a first member, the one after it. */
function withItsComma(
  data: string,
  member: { readonly start: number; readonly end: number },
): { readonly start: number; readonly end: number } {
  const before = data.slice(0, member.start).trimEnd()
  if (before.endsWith(',')) return { start: before.length - 1, end: member.end }
  const after = /^\s*,\s*/.exec(data.slice(member.end))
  return { start: member.start, end: member.end + (after?.[0].length ?? 0) }
}
