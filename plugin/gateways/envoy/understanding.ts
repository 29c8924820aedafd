import type { Api, Call } from '../../call/call.ts'
import { readCaller } from '../../call/caller.ts'
import { apiError, type ErrorParts, modelNotFound, rateLimited, unavailable } from '../../call/errors.ts'
import type { BodyFields } from '../../call/fields.ts'
import { apiOf, parseCall } from '../../call/parse.ts'
import type { PlacementError, Router } from '../../router.ts'
import type { Arrived, Verdict } from './conversation.ts'

/** What the picker makes of a request. */
export type Understood =
  | {
      readonly kind: 'call'
      readonly call: Call
      /** Where the body's fields stand; absent where the body goes on as it came. */
      readonly fields?: BodyFields
      /** Models to try in turn where the call itself names none: any healthy instance will do. */
      readonly anyOf?: readonly string[]
    }
  | { readonly kind: 'refused'; readonly verdict: Verdict & { readonly kind: 'refuse' } }

export interface UnderstandParts {
  readonly arrived: Arrived
  readonly router: Pick<Router, 'models' | 'poolFor'>
  readonly callId: number
  readonly arrivedUnixMs: number
  readonly textFeatures: boolean
  readonly readText?: (text: string) => Float32Array | undefined
  readonly count: (what: string) => void
}

/**
 * The call in a request: read as usual where its path and body allow it; by its model's name alone where the body is too large, encoded or
 * of an unknown path; and as a call of any model where even that is not told, e.g. `GET /v1/models`.
 */
export function understand(parts: UnderstandParts): Understood {
  const { headers, body, ended } = parts.arrived
  const path = headers[':path'] ?? '/'
  const readable = body !== undefined && ended !== undefined && isPlain(headers['content-encoding'])
  if (!readable || headers[':method'] !== 'POST' || !apiOf(path)) return passThrough(parts)
  try {
    const { callId, arrivedUnixMs, textFeatures, readText } = parts
    const parsed = parseCall({ path, headers, body, callId, arrivedUnixMs, textFeatures, ...(readText ? { readText } : {}) })
    if (parsed.kind === 'call') return { kind: 'call', call: parsed.call, fields: parsed.fields }
    parts.count(`refused: status ${parsed.error.status}`)
    return { kind: 'refused', verdict: refusal(parsed.api, parsed.error) }
  } catch (error) {
    parts.count(`parsing failed: ${error instanceof Error ? error.name : 'unknown'}`)
    return passThrough(parts)
  }
}

/** An error in the shape of the caller's API. */
export function refusal(api: Api, error: ErrorParts, retryAfterMs?: number): Verdict & { readonly kind: 'refuse' } {
  const retry = retryAfterMs === undefined ? [] : [['retry-after', String(Math.max(1, Math.ceil(retryAfterMs / 1_000)))] as const]
  return {
    kind: 'refuse',
    status: error.status,
    headers: [['content-type', 'application/json'], ...retry],
    body: JSON.stringify(apiError(api, error)),
    details: `phasewise: ${error.code ?? error.type}`,
  }
}

/** What a caller is told where no placement was possible. */
export function refusalOf(error: PlacementError, model: string): ErrorParts {
  switch (error.kind) {
    case 'unknown model':
      return modelNotFound(model)
    case 'shed':
      return rateLimited(error.message)
    case 'no instance':
    case 'subset empty':
    case 'client gone':
      return unavailable(error.message)
  }
}

/** Error shapes follow the path; what reads a prompt and gives no tokens back is nearest to embeddings. */
export function apiAt(path: string): Api {
  return apiOf(path) ?? (path.startsWith('/v1/messages') ? 'anthropic-messages' : 'openai-embeddings')
}

function isPlain(encoding: string | undefined): boolean {
  return encoding === undefined || encoding === 'identity'
}

/** The model's name is looked for in this much of a body: callers' libraries write it first or right after the messages. */
const MODEL_SCAN_BYTES = 65_536

function passThrough(parts: UnderstandParts): Understood {
  const { arrived, router } = parts
  const named = modelIn(arrived.body)
  const models = named !== undefined && router.poolFor(named) ? [named] : onePerPool(router)
  return { kind: 'call', call: bareCall(parts, models[0] ?? named ?? ''), anyOf: models }
}

/** The first `"model": "…"` of the text: a quote inside another text is escaped and does not match. */
function modelIn(body: Buffer | undefined): string | undefined {
  const match = body && /"model"\s*:\s*"([^"\\]{1,256})"/.exec(body.toString('latin1', 0, MODEL_SCAN_BYTES))
  return match?.[1]
}

function onePerPool(router: Pick<Router, 'models'>): readonly string[] {
  const first = new Map<string, string>()
  for (const { id, pool } of router.models()) if (!first.has(pool)) first.set(pool, id)
  return [...first.values()]
}

function bareCall({ arrived, callId, arrivedUnixMs }: UnderstandParts, model: string): Call {
  const declared = Number(arrived.headers['content-length'])
  return {
    callId,
    arrivedUnixMs,
    api: apiAt(arrived.headers[':path'] ?? '/'),
    model,
    stream: false,
    promptBytes: Math.max(arrived.body?.length ?? 0, Number.isSafeInteger(declared) ? declared : 0),
    request: { answers: 1, stops: 0, tools: 0, turns: 1, responseFormat: 'text', wantsStreamUsage: true, systemHash: 0 },
    caller: readCaller(arrived.headers, undefined),
    prefixBlocks: new BigUint64Array(0),
    textFeatures: new Uint32Array(0),
  }
}
