import type { Call } from '../../plugin/call/call.ts'
import { type CallParts, parseCall } from '../../plugin/call/parse.ts'

/** The parts of a call as a door hands them over, from a body given as data or as text. */
export function partsOf(path: string, body: unknown, more: Partial<CallParts> = {}): CallParts {
  const bytes = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
  return { path, headers: {}, body: bytes, callId: 1, arrivedUnixMs: 1_767_225_600_000, textFeatures: true, ...more }
}

/** The parsed call; throws where it was refused. */
export function callOf(path: string, body: unknown, more: Partial<CallParts> = {}): Call {
  const parsed = parseCall(partsOf(path, body, more))
  if (parsed.kind !== 'call') throw new Error(`refused: ${parsed.error.message}`)
  return parsed.call
}

/** A chat call of one user turn. */
export function chatOf(text: string): Call {
  return callOf('/v1/chat/completions', { model: 'm', messages: [{ role: 'user', content: text }] })
}
