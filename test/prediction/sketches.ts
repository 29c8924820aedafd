import type { Call } from '../../plugin/call/call.ts'
import { type CallParts, parseCall } from '../../plugin/call/parse.ts'
import { BASE_FOLDER, readLengthModel, readTextReader } from '../../plugin/learning/model-folder.ts'
import type { LengthModel } from '../../plugin/prediction/length-model.ts'

/** The shipped model and its reader, read once. */
export const readText = readTextReader(BASE_FOLDER)
export const baseModel: LengthModel = readLengthModel(BASE_FOLDER)

let ids = 0

/** A chat call of one user turn as a door would read it. */
export function askedCall(
  prompt: string,
  more: { readonly application?: string; readonly system?: string; readonly maxTokens?: number; readonly unread?: true } = {},
): Call {
  const messages = [...(more.system === undefined ? [] : [{ role: 'system', content: more.system }]), { role: 'user', content: prompt }]
  const body = { model: 'm', messages, ...(more.maxTokens === undefined ? {} : { max_tokens: more.maxTokens }) }
  const parts: CallParts = {
    path: '/v1/chat/completions',
    headers: { 'x-phasewise-application': more.application ?? 'a' },
    body: Buffer.from(JSON.stringify(body)),
    callId: ++ids,
    arrivedUnixMs: 1_795_000_000_000,
    textFeatures: true,
    ...(more.unread ? {} : { readText }),
  }
  const parsed = parseCall(parts)
  if (parsed.kind !== 'call') throw new Error(parsed.error.message)
  return parsed.call
}
