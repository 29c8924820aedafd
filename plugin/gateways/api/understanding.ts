import type { Api, Call } from '../../call/call.ts'
import { type Headers, readCaller } from '../../call/caller.ts'
import { scanFields } from '../../call/fields.ts'
import { parseCall } from '../../call/parse.ts'
import { invalidField, Problem } from './problems.ts'
import type { PlaceRequest } from './schemas.ts'

/** The call that a placement is asked for: from its body, or from what the caller says of it. */

export interface Asked {
  readonly request: PlaceRequest
  /** The request's bytes: the call's body is read where it stands in them, so that a prompt hashes the same however the rest looks. */
  readonly bytes: Buffer
  readonly callId: number
  readonly arrivedUnixMs: number
  readonly textFeatures: boolean
  readonly readText?: (text: string) => Float32Array | undefined
  /** Name of the key, for callers who name no application. */
  readonly keyName: string
}

const PATHS: Readonly<Record<Api, string>> = {
  'openai-chat': '/v1/chat/completions',
  'openai-completions': '/v1/completions',
  'openai-responses': '/v1/responses',
  'openai-embeddings': '/v1/embeddings',
  'anthropic-messages': '/v1/messages',
}

/** Throws the Problem where neither body nor features tell enough. */
export function understandCall(asked: Asked): Call {
  const { request } = asked
  if (request.body && request.features) throw invalidField('/features', 'send the body or the features, not both')
  const call = request.body ? fromBody(asked) : fromFeatures(asked)
  return { ...call, caller: readCaller(headersOf(asked), undefined) }
}

function fromBody(asked: Asked): Call {
  const { request, callId, arrivedUnixMs, textFeatures, readText } = asked
  const path = PATHS[request.api ?? guessApi(request.body ?? {})]
  const reading = readText ? { textFeatures, readText } : { textFeatures }
  const parsed = parseCall({ path, headers: {}, body: bodyIn(asked), callId, arrivedUnixMs, ...reading })
  if (parsed.kind === 'refused') throw invalidField(`/body${parsed.error.param ? `/${parsed.error.param}` : ''}`, parsed.error.message)
  return request.model === undefined ? parsed.call : { ...parsed.call, model: request.model }
}

/** The body's own bytes; only a body without a model, which stands beside it, is written anew. */
function bodyIn({ request, bytes }: Asked): Buffer {
  if (request.model !== undefined && typeof request.body?.model !== 'string')
    return Buffer.from(JSON.stringify({ model: request.model, ...request.body }))
  const range = scanFields(bytes.toString('latin1')).ranges.get('body')
  if (!range) throw new Problem({ kind: 'failed', status: 500, detail: 'The body was lost on its way.' })
  return bytes.subarray(range.start, range.end)
}

function guessApi(body: Readonly<Record<string, unknown>>): Api {
  if ('messages' in body) return 'openai-chat'
  if ('input' in body) return 'openai-responses'
  return 'prompt' in body ? 'openai-completions' : 'openai-chat'
}

const NO_BLOCKS = new BigUint64Array(0)
const NO_FEATURES = new Uint32Array(0)

function fromFeatures({ request, callId, arrivedUnixMs, textFeatures }: Asked): Call {
  const { model, features: told } = request
  if (model === undefined) throw invalidField('/model', 'name the model, or send the body with it')
  const { promptTokens, maxTokens, temperature } = told ?? {}
  return {
    callId,
    arrivedUnixMs,
    api: request.api ?? 'openai-chat',
    model,
    stream: told?.stream ?? false,
    promptBytes: told?.promptBytes ?? 0,
    ...(promptTokens === undefined ? {} : { promptTokensExact: promptTokens }),
    request: {
      ...(maxTokens === undefined ? {} : { maxTokens }),
      ...(temperature === undefined ? {} : { temperature }),
      answers: told?.answers ?? 1,
      stops: told?.stops ?? 0,
      tools: told?.tools ?? 0,
      turns: told?.turns ?? 1,
      responseFormat: told?.responseFormat ?? 'text',
      wantsStreamUsage: false,
      systemHash: told?.systemHash ?? 0,
    },
    caller: { application: 'unknown', tenant: 'unknown', priority: 0 },
    prefixBlocks: told?.prefixBlocks ? BigUint64Array.from(told.prefixBlocks, (block) => BigInt(`0x${block}`)) : NO_BLOCKS,
    textFeatures: textFeatures && told?.textFeatures ? Uint32Array.from(told.textFeatures) : NO_FEATURES,
  }
}

/** Hints take the way that the headers of a proxied call take, so that they mean the same. */
function headersOf({ request, keyName }: Asked): Headers {
  const { hints } = request
  const of = (value: string | number | undefined): string | undefined => (value === undefined ? undefined : String(value))
  return {
    'x-phasewise-application': hints?.application ?? keyName,
    'x-phasewise-tenant': hints?.tenant,
    'x-phasewise-task': hints?.task,
    'x-phasewise-priority': of(hints?.priority),
    'x-slo-ttft-ms': of(hints?.sloTtftMs),
    'x-slo-tpot-ms': of(hints?.sloTpotMs),
  }
}
