import { isAscii } from 'node:buffer'
import type { Api, Call, TextCounts } from './call.ts'
import { type Headers, readCaller } from './caller.ts'
import { countText, scaleCounts } from './counts.ts'
import { badRequest, type ErrorParts, unknownPath } from './errors.ts'
import { type BodyFields, scanFields } from './fields.ts'
import { type JsonObject, objectIn, textIn } from './json.ts'
import { prefixBlocks, type Segment } from './prefix.ts'
import { readPrompt } from './prompt.ts'
import { readRequest } from './request.ts'
import { fieldsInBody, shorten } from './shorten.ts'
import { wordFeatures } from './text.ts'

/** What a door knows of one arriving call. */
export interface CallParts {
  readonly path: string
  /** Lower-case names. */
  readonly headers: Headers
  readonly body: Uint8Array
  readonly callId: number
  readonly arrivedUnixMs: number
  /** Off: no word hashes are made. */
  readonly textFeatures: boolean
  /** Makes numbers of the last user message, from which it cannot be told; undefined where it could not. */
  readonly readText?: (text: string) => Float32Array | undefined
  /** Name of the caller's key, where it has one. */
  readonly application?: string
}

/** A call with the places of its body's fields, or why it cannot be one, told in the shape of `api`. */
export type Parsed =
  | { readonly kind: 'call'; readonly call: Call; readonly fields: BodyFields }
  | { readonly kind: 'refused'; readonly api: Api; readonly error: ErrorParts }

const APIS: ReadonlyMap<string, Api> = new Map([
  ['/v1/chat/completions', 'openai-chat'],
  ['/v1/completions', 'openai-completions'],
  ['/v1/responses', 'openai-responses'],
  ['/v1/embeddings', 'openai-embeddings'],
  ['/v1/messages', 'anthropic-messages'],
])

/**
 * Raw fields that make up the prompt, in the order in which chat templates and Anthropic's cache lay them out: what comes first in the
 * engine must come first here, and what grows with the conversation last.
 */
const PROMPT_FIELDS: Readonly<Record<Api, readonly string[]>> = {
  'openai-chat': ['tools', 'messages'],
  'openai-completions': ['prompt'],
  'openai-responses': ['tools', 'instructions', 'input'],
  'openai-embeddings': ['input', 'messages'],
  'anthropic-messages': ['tools', 'system', 'messages'],
}

const NO_FEATURES = new Uint32Array(0)

/** The API a path (query string allowed) belongs to, or undefined. */
export function apiOf(path: string): Api | undefined {
  const query = path.indexOf('?')
  return APIS.get(query < 0 ? path : path.slice(0, query))
}

/**
 * The call in a request's bytes. Lenient: a field of an odd type counts as not sent, the instance will judge it. Refused are only a path
 * without an API (404), a body that is not a JSON object, and one without a model name (400); whether the model exists is the router's to say.
 */
export function parseCall(parts: CallParts): Parsed {
  const api = apiOf(parts.path)
  if (!api) return { kind: 'refused', api: 'openai-chat', error: unknownPath('POST', parts.path) }
  const body = Buffer.isBuffer(parts.body) ? parts.body : Buffer.from(parts.body.buffer, parts.body.byteOffset, parts.body.byteLength)
  const short = shorten(body)
  // Of plain ASCII, which most bodies are, one text serves both the JSON parser and the scan for places.
  const ascii = isAscii(short.bytes) ? short.bytes.toString('latin1') : undefined
  const parsed = parsedObject(ascii ?? short.bytes.toString('utf8'))
  if (typeof parsed === 'string') return { kind: 'refused', api, error: badRequest(parsed) }
  const model = textIn(parsed.model)
  if (!model) return { kind: 'refused', api, error: badRequest("You must provide a 'model': a non-empty string.", 'model') }
  const latin1 = ascii ?? short.bytes.toString('latin1')
  const shortFields = scanFields(latin1)
  const fields = fieldsInBody(short, shortFields)
  return { kind: 'call', call: readCall({ parts, api, body, latin1, parsed, model, fields, shortFields }), fields }
}

function parsedObject(text: string): JsonObject | string {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (error) {
    // The engine's message may quote the body; the caller knows their body, the log need not.
    return `The request body is not valid JSON: ${error instanceof SyntaxError ? 'syntax error' : String(error)}.`
  }
  return objectIn(parsed) ?? 'The request body must be a JSON object.'
}

interface Read {
  readonly parts: CallParts
  readonly api: Api
  readonly body: Buffer
  readonly latin1: string
  readonly parsed: JsonObject
  readonly model: string
  readonly fields: BodyFields
  /** The same in `latin1`, the text that was parsed. */
  readonly shortFields: BodyFields
}

function readCall(read: Read): Call {
  const { parts, api, body, parsed, model, fields, shortFields } = read
  const prompt = readPrompt(api, parsed)
  const request = readRequest(api, parsed, prompt)
  const reading = prompt.lastUser ? parts.readText?.(prompt.lastUser) : undefined
  const segments = PROMPT_FIELDS[api].flatMap((name) => fields.ranges.get(name) ?? [])
  const shortBytes = bytesIn(PROMPT_FIELDS[api].flatMap((name) => shortFields.ranges.get(name) ?? []))
  const counts = (): TextCounts => scaleCounts(countText(withTools(prompt.pieces, read), prompt.media), bytesIn(segments) / shortBytes)
  return {
    callId: parts.callId,
    arrivedUnixMs: parts.arrivedUnixMs,
    api,
    model,
    stream: parsed.stream === true,
    promptBytes: bytesIn(segments.filter((segment) => segment !== fields.ranges.get('tools'))),
    ...(prompt.tokens === undefined ? { promptText: counts() } : {}),
    ...(prompt.tokens === undefined ? {} : { promptTokensExact: prompt.tokens }),
    request,
    caller: readCaller(parts.headers, parts.application),
    prefixBlocks: prefixBlocks({ body, segments, model }),
    textFeatures: parts.textFeatures && prompt.lastUser ? wordFeatures(prompt.lastUser) : NO_FEATURES,
    ...(reading === undefined ? {} : { reading }),
  }
}

function bytesIn(segments: readonly Segment[]): number {
  return segments.reduce((sum, segment) => sum + segment.end - segment.start, 0)
}

/** Templates write tools into the prompt much as they were sent. */
function withTools(pieces: readonly string[], read: Read): readonly string[] {
  const tools = read.shortFields.ranges.get('tools')
  return tools ? [...pieces, read.latin1.slice(tools.start, tools.end)] : pieces
}
