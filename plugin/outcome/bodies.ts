import type { Api } from '../call/call.ts'
import { listIn, objectIn, textIn } from '../call/json.ts'
import { readResponseObject } from './events.ts'
import { noteError, noteFinish, noteUsage, type Reading } from './reading.ts'

/** Reads a whole JSON answer of `api` into `reading`; false where it is no JSON object, so cut or not what it says it is. */
export function readBody(api: Api, text: string, reading: Reading): boolean {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    // The caller of this function makes an outcome of it.
    return false
  }
  const body = objectIn(parsed)
  if (!body) return false
  if (body.error !== undefined && body.error !== null) noteError(reading, body.error)
  else if (body.object === 'error') noteError(reading, body)
  else if (api === 'openai-responses') readResponseObject(body, reading)
  else {
    const usage = objectIn(body.usage)
    if (usage) noteUsage(reading, usage)
    const reasons = [body.stop_reason, ...listIn(body.choices).map((choice) => objectIn(choice)?.finish_reason)]
    for (const reason of reasons) if (textIn(reason)) noteFinish(reading, reason as string)
  }
  return true
}

const USAGE_NUMBERS =
  /"(prompt_tokens|completion_tokens|input_tokens|output_tokens|cache_read_input_tokens|cache_creation_input_tokens)"\s*:\s*(\d+)/g
const CACHED_NUMBER = /"cached_tokens"\s*:\s*(\d+)/
const REASON = /"(?:finish_reason|stop_reason)"\s*:\s*"([a-z_]+)"/g

/**
 * Reads the last bytes of an answer too large to keep: usage, which all servers write after the output, and the last finish reason.
 * Patterns suffice, because inside JSON strings every quote is escaped.
 */
export function readTail(tail: string, reading: Reading): void {
  for (const [, reason] of tail.matchAll(REASON)) if (reason) noteFinish(reading, reason)
  const at = tail.lastIndexOf('"usage"')
  if (at < 0) return
  const told = tail.slice(at)
  const usage: Record<string, unknown> = {}
  for (const [, name, digits] of told.matchAll(USAGE_NUMBERS)) if (name && usage[name] === undefined) usage[name] = Number(digits)
  const cached = CACHED_NUMBER.exec(told)?.[1]
  if (cached !== undefined) usage.prompt_tokens_details = { cached_tokens: Number(cached) }
  noteUsage(reading, usage)
}
