import type { Api } from './call.ts'
import { type JsonObject, listIn, objectIn, textIn } from './json.ts'

/** What the prompt says, taken from the parsed body of any of the APIs. Lives only while the call is parsed: the text goes no further. */
export interface Prompt {
  /** Every text of the prompt, in order, system prompt and tool calls included. */
  readonly pieces: readonly string[]
  /** Images, sounds and files. */
  readonly media: number
  readonly system: string
  /** The last text of the user; the prompt itself where there are no turns. */
  readonly lastUser: string
  /** Messages, input items or, where there are none, prompts. */
  readonly turns: number
  /** Prompts in the body: 1 but for `prompt` and `input` arrays. */
  readonly prompts: number
  /** Present where the caller sent token ids. */
  readonly tokens?: number
}

interface Gathered {
  readonly pieces: string[]
  media: number
}

/** Part types whose bytes are not text; matched as a word inside `type` ('image_url', 'input_image', 'document'). */
const MEDIA_TYPES = /image|audio|video|file|document/

/** Content inside content goes no deeper than a tool result's parts. */
const DEPTH_MAX = 4

/** The prompt of a parsed body; of odd shapes, what can be read. */
export function readPrompt(api: Api, body: JsonObject): Prompt {
  if (Array.isArray(body.messages)) return readMessages(body.messages, api === 'anthropic-messages' ? body.system : undefined)
  if (api === 'openai-completions') return readPrompts(body.prompt)
  if (api === 'openai-responses' && Array.isArray(body.input)) return readMessages(body.input, body.instructions)
  if (api === 'openai-responses') return readOneText(body.input, body.instructions)
  return readPrompts(body.input)
}

function readMessages(messages: readonly unknown[], systemField: unknown): Prompt {
  const gathered: Gathered = { pieces: [], media: 0 }
  gatherContent(gathered, systemField, 0)
  let system = gathered.pieces.join('\n')
  let lastUser = ''
  for (const entry of messages) {
    const message = objectIn(entry)
    if (!message) continue
    const from = gathered.pieces.length
    gatherMessage(gathered, message)
    if (message.role === 'user') lastUser = spoken(gathered.pieces, from) ?? lastUser
    else if (message.role === 'system' || message.role === 'developer') system += gathered.pieces.slice(from).join('\n')
  }
  return { ...gathered, system, lastUser: lastUser || (gathered.pieces.at(-1) ?? ''), turns: messages.length, prompts: 1 }
}

/** The texts from index `from` on; undefined where there are none (a turn of tool results alone keeps the question before it). */
function spoken(pieces: readonly string[], from: number): string | undefined {
  if (pieces.length === from) return undefined
  return pieces.length === from + 1 ? pieces[from] : pieces.slice(from).join('\n')
}

/** One turn of chat, Anthropic or Responses: its content, tool calls and their results. */
function gatherMessage(gathered: Gathered, message: JsonObject): void {
  gatherContent(gathered, message.content, 0)
  for (const entry of listIn(message.tool_calls)) gatherFunction(gathered, objectIn(objectIn(entry)?.function))
  gatherFunction(gathered, objectIn(message.function_call))
  if (message.type === 'function_call') gatherFunction(gathered, message)
  if (message.type === 'function_call_output') gatherContent(gathered, message.output, 0)
}

function gatherFunction(gathered: Gathered, call: JsonObject | undefined): void {
  for (const text of [textIn(call?.name), textIn(call?.arguments)]) if (text) gathered.pieces.push(text)
}

function gatherContent(gathered: Gathered, content: unknown, depth: number): void {
  const text = textIn(content)
  if (text) gathered.pieces.push(text)
  if (!Array.isArray(content) || depth > DEPTH_MAX) return
  for (const entry of content) {
    const part = objectIn(entry)
    if (!part) gatherContent(gathered, textIn(entry), depth + 1)
    else if (textIn(part.text)) gathered.pieces.push(part.text as string)
    else if (part.type === 'tool_use') gathered.pieces.push(String(part.name), JSON.stringify(part.input ?? {}))
    else if (part.content !== undefined) gatherContent(gathered, part.content, depth + 1)
    else if (typeof part.type === 'string' && MEDIA_TYPES.test(part.type)) gathered.media++
  }
}

function readOneText(input: unknown, instructions: unknown): Prompt {
  const system = textIn(instructions) ?? ''
  const text = textIn(input) ?? ''
  return { pieces: [system, text].filter(Boolean), media: 0, system, lastUser: text, turns: 1, prompts: 1 }
}

/** A string, strings, token ids or lists of token ids. */
function readPrompts(prompt: unknown): Prompt {
  const list = listIn(prompt)
  const plain = { pieces: [] as string[], media: 0, system: '', lastUser: '', turns: 1, prompts: 1 }
  if (list.length === 0) {
    const text = textIn(prompt)
    return text ? { ...plain, pieces: [text], lastUser: text } : plain
  }
  if (typeof list[0] === 'number') return { ...plain, tokens: list.length }
  const turns = { turns: list.length, prompts: list.length }
  if (Array.isArray(list[0])) return { ...plain, ...turns, tokens: list.reduce<number>((sum, ids) => sum + listIn(ids).length, 0) }
  const pieces = list.filter((text): text is string => typeof text === 'string')
  return { ...plain, ...turns, pieces, lastUser: pieces.at(-1) ?? '' }
}
