import type { Api } from '../call/call.ts'
import { type JsonObject, listIn, objectIn, textIn } from '../call/json.ts'
import { noteError, noteFinish, noteUsage, type Reading } from './reading.ts'
import type { SseEvent } from './sse.ts'

/**
 * What one stream event is. 'content' carries output; 'opening' comes around it and says nothing of success (role, item and block
 * frames); 'usage' is OpenAI's extra chunk of usage alone; 'end' tells a finish reason, an error or the end mark; 'other' is a comment, a ping or unknown.
 */
export type EventSign = 'content' | 'opening' | 'usage' | 'end' | 'other'

/** Reads one event of a stream of `api` into `reading`. Data that is no JSON is 'other'. */
export function readStreamEvent(api: Api, event: SseEvent, reading: Reading): EventSign {
  const { data } = event
  if (data === undefined || data === '') return 'other'
  if (isPlainDelta(api, data)) {
    reading.chunks++
    return 'content'
  }
  if (data === '[DONE]') {
    reading.done = true
    return 'end'
  }
  const told = parsedData(data)
  if (!told) return 'other'
  const sign = readTold(api, event.name, told, reading)
  if (sign === 'content') reading.chunks++
  return sign
}

/**
 * The ordinary chunk, seen without parsing it: text, no finish, no usage. Inside JSON strings every quote is escaped, so these byte
 * patterns stand only where they mean what they say; another writer's spacing merely takes the slow way.
 */
function isPlainDelta(api: Api, data: string): boolean {
  if (api === 'openai-chat') return isUnfinishedAfter(data, textAt(data, '"content":"'))
  if (api === 'openai-completions') return isUnfinishedAfter(data, textAt(data, '"text":"'))
  if (api === 'anthropic-messages') return data.startsWith('{"type":"content_block_delta"') && textAt(data, '"text":"') >= 0
  return data.startsWith('{"type":"response.output_text.delta"') && textAt(data, '"delta":"') >= 0
}

/** Where the key's non-empty text begins; -1 where there is none. */
function textAt(data: string, key: string): number {
  const at = data.indexOf(key)
  return at >= 0 && data[at + key.length] !== '"' ? at + key.length : -1
}

const FINISH = '"finish_reason":'

/** The one finish reason stands after the text and is null, and no usage follows it. */
function isUnfinishedAfter(data: string, textFrom: number): boolean {
  if (textFrom < 0) return false
  const at = data.indexOf(FINISH)
  const after = at + FINISH.length
  return at > textFrom && data.startsWith('null', after) && data.indexOf(FINISH, after) < 0 && data.indexOf('"usage":{', after) < 0
}

function parsedData(data: string): JsonObject | undefined {
  try {
    return objectIn(JSON.parse(data))
  } catch {
    // No JSON: some writers send words; the bytes pass on and tell nothing here. A stream that never ends properly is judged as such.
    return undefined
  }
}

function readTold(api: Api, name: string, told: JsonObject, reading: Reading): EventSign {
  if (told.error !== undefined && told.error !== null) {
    noteError(reading, told.error)
    return 'end'
  }
  if (name === 'error' || told.type === 'error' || told.object === 'error') {
    noteError(reading, told)
    return 'end'
  }
  if (api === 'anthropic-messages') return readAnthropic(told, reading)
  if (api === 'openai-responses') return readResponses(told, reading)
  return readChoices(told, reading)
}

/** A chunk of chat or of completions. */
function readChoices(told: JsonObject, reading: Reading): EventSign {
  const usage = objectIn(told.usage)
  if (usage) noteUsage(reading, usage)
  const choices = listIn(told.choices)
  if (choices.length === 0) return usage ? 'usage' : 'opening'
  let sign: EventSign = 'opening'
  for (const entry of choices) {
    const choice = objectIn(entry)
    const reason = textIn(choice?.finish_reason)
    if (reason) noteFinish(reading, reason)
    if (textIn(choice?.text) || carriesOutput(objectIn(choice?.delta))) sign = 'content'
    else if (reason && sign === 'opening') sign = 'end'
  }
  return sign
}

function carriesOutput(delta: JsonObject | undefined): boolean {
  if (!delta) return false
  if (textIn(delta.content) || textIn(delta.reasoning_content) || textIn(delta.reasoning) || textIn(delta.refusal)) return true
  return listIn(delta.tool_calls).length > 0 || listIn(delta.content).length > 0 || objectIn(delta.function_call) !== undefined
}

function readResponses(told: JsonObject, reading: Reading): EventSign {
  const type = textIn(told.type) ?? ''
  if (type.endsWith('.delta')) return textIn(told.delta) ? 'content' : 'opening'
  const response = objectIn(told.response)
  if (type !== 'response.completed' && type !== 'response.incomplete' && type !== 'response.failed') return 'opening'
  reading.done = true
  readResponseObject(response ?? {}, reading)
  if (type === 'response.failed') noteError(reading, response?.error)
  return 'end'
}

/** A whole Responses object, at a stream's end or as a body: status, usage, error. */
export function readResponseObject(response: JsonObject, reading: Reading): void {
  const usage = objectIn(response.usage)
  if (usage) noteUsage(reading, usage)
  const status = textIn(response.status) ?? 'completed'
  if (status === 'failed') noteError(reading, response.error)
  else noteFinish(reading, status === 'incomplete' ? (textIn(objectIn(response.incomplete_details)?.reason) ?? 'incomplete') : status)
}

function readAnthropic(told: JsonObject, reading: Reading): EventSign {
  switch (told.type) {
    case 'message_start': {
      // Its output count is of the opening alone: only the prompt's is taken.
      const { output_tokens: _, ...usage } = objectIn(objectIn(told.message)?.usage) ?? {}
      noteUsage(reading, usage)
      return 'opening'
    }
    case 'content_block_delta': {
      const delta = objectIn(told.delta)
      return textIn(delta?.text) || textIn(delta?.partial_json) || textIn(delta?.thinking) ? 'content' : 'opening'
    }
    case 'content_block_start':
    case 'content_block_stop':
      return 'opening'
    case 'message_delta':
      return readMessageDelta(told, reading)
    case 'message_stop':
      reading.done = true
      return 'end'
    default:
      return 'other'
  }
}

function readMessageDelta(told: JsonObject, reading: Reading): EventSign {
  const usage = objectIn(told.usage)
  if (usage) noteUsage(reading, usage)
  const reason = textIn(objectIn(told.delta)?.stop_reason)
  if (reason) noteFinish(reading, reason)
  return reason ? 'end' : 'opening'
}
