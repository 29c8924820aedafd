import type { Call } from '../../call/call.ts'
import { type BodyFields, modelEdit, replaceField, spliceBody, usageEdit } from '../../call/fields.ts'
import type { PoolFacts } from '../../router.ts'

export interface PrepareParts {
  readonly body: Buffer
  readonly fields: BodyFields | undefined
  readonly call: Call
  readonly pool: PoolFacts
  /** The place in the engine's own order, where it keeps one. */
  readonly enginePriority?: number | undefined
  readonly count: (what: string) => void
}

/**
 * The body as the instances get it: the caller's bytes, but for the model's name where the caller used an alias, `include_usage` where
 * the caller did not ask for it and the pool is to be asked, and `priority` where the engine orders by it. `stripUsage` tells that the answer will hold more than the caller asked for.
 */
export function prepareBody({ body, fields, call, pool, enginePriority, count }: PrepareParts): {
  readonly body: Buffer
  readonly stripUsage: boolean
} {
  if (!fields) return { body, stripUsage: false }
  const isAlias = pool.upstreamModel !== call.model
  const asksUsage = pool.requestUsage && call.stream && !call.request.wantsStreamUsage && STREAMS_USAGE_ON_REQUEST.has(call.api)
  const ordered = enginePriority !== undefined && TAKES_PRIORITY.has(call.api)
  if (!isAlias && !asksUsage && !ordered) return { body, stripUsage: false }
  try {
    const usage = asksUsage ? usageEdit(body, fields) : undefined
    const edits = [
      ...(isAlias ? [modelEdit(fields, pool.upstreamModel)] : []),
      ...(usage ? [usage] : []),
      ...(ordered ? [replaceField(fields, 'priority', String(enginePriority))] : []),
    ]
    return { body: spliceBody(body, edits), stripUsage: usage !== undefined }
  } catch (error) {
    count(`body left as it was: ${error instanceof Error ? error.name : 'unknown'}`)
    return { body, stripUsage: false }
  }
}

/** The other APIs tell usage unasked. */
const STREAMS_USAGE_ON_REQUEST: ReadonlySet<string> = new Set(['openai-chat', 'openai-completions'])

/** Where vLLM knows the field; elsewhere it would be a mistake of the request. */
const TAKES_PRIORITY: ReadonlySet<string> = new Set(['openai-chat', 'openai-completions'])
