import type { Api, Call } from '../../call/call.ts'
import type { Outcome } from '../../outcome/outcome.ts'
import type { InstanceView, PoolFacts, Ticket } from '../../router.ts'

/** How a call goes on when a part of ours is broken: known by its model name alone, on any instance, without a ledger. */

export interface BareCallParts {
  readonly api: Api
  readonly body: Buffer
  readonly callId: number
  readonly arrivedUnixMs: number
  readonly application: string | undefined
}

/** The least that can be placed: model and size. Undefined where the body is no JSON object with a model name. */
export function bareCall({ api, body, callId, arrivedUnixMs, application = 'unknown' }: BareCallParts): Call | undefined {
  const parsed = objectIn(body)
  if (typeof parsed?.model !== 'string' || parsed.model === '') return undefined
  return {
    callId,
    arrivedUnixMs,
    api,
    model: parsed.model,
    stream: parsed.stream === true,
    promptBytes: body.length,
    request: { answers: 1, stops: 0, tools: 0, turns: 1, responseFormat: 'text', wantsStreamUsage: true, systemHash: 0 },
    caller: { application, tenant: application, priority: 0 },
    prefixBlocks: new BigUint64Array(0),
    textFeatures: new Uint32Array(0),
  }
}

function objectIn(body: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const parsed: unknown = JSON.parse(body.toString('utf8'))
    return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed) ? (parsed as Record<string, unknown>) : undefined
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

export interface MakeshiftParts {
  readonly call: Call
  readonly pool: PoolFacts
  readonly instance: InstanceView
  readonly settled: (outcome: Outcome) => void
}

/** English prose in JSON. */
const BYTES_PER_TOKEN = 4.5

/** A ticket for a call that the router could not place. Only its end is told. */
export function makeshiftTicket({ call, pool, instance, settled }: MakeshiftParts): Ticket {
  return {
    call,
    pool,
    instance,
    placement: {
      instance,
      fallbacks: [],
      policy: 'none',
      reason: 'any reachable instance',
      propensity: 1,
      explored: false,
      policyVersion: 'none',
      lengthVersion: 'none',
    },
    expected: { promptTokens: Math.ceil(call.promptBytes / BYTES_PER_TOKEN) },
    firstToken: () => undefined,
    progress: () => undefined,
    retry: () => undefined,
    servedBy: () => false,
    onStalled: () => undefined,
    settle: settled,
  }
}
