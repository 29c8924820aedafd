import type { Ticket } from '../../router.ts'
import type { CallSpan } from '../../telemetry/spans.ts'
import { prepareBody } from '../openai/prepare-body.ts'
import type { Arrived, Verdict } from './conversation.ts'
import type { Desk } from './desk.ts'
import { DESTINATION_KEY, type Destination, type SetHeader } from './messages.ts'
import type { Understood } from './understanding.ts'

export interface DirectParts {
  readonly desk: Desk
  readonly gateway: string
  readonly arrived: Arrived
  readonly understood: Understood & { readonly kind: 'call' }
  readonly ticket: Ticket
  /** "ip:port" of the instance and of the fallbacks to name after it. */
  readonly addresses: readonly string[]
}

export interface Directed {
  readonly verdict: Verdict
  /** The answer will hold a usage chunk that the caller did not ask for. */
  readonly stripUsage: boolean
  readonly span: CallSpan | undefined
}

/** Where the call goes, and what is changed on its way: the destination, the instance's own key, trace context, model name, length. */
export function direct(parts: DirectParts): Directed {
  const { desk, arrived, understood, ticket, addresses } = parts
  const endpoints = addresses.join(',')
  const destination: Destination = {
    endpoints,
    // The placement keeps no costs, but it keeps their order.
    ...(desk.scores ? { scores: Object.fromEntries(addresses.map((address, i) => [address, 1 / (i + 1)])) } : {}),
  }
  const setHeaders: SetHeader[] = [[DESTINATION_KEY, endpoints]]
  const own = desk.authorization?.(ticket.instance.url)
  if (own !== undefined) setHeaders.push(['authorization', own])
  const span = startSpan(parts, setHeaders)
  const { body, ended } = arrived
  // A body that trailers end has no length; one that is still coming keeps the one it came with.
  if (body === undefined || ended !== 'body') return { verdict: { kind: 'go', destination, setHeaders }, stripUsage: false, span }
  const prepared = prepareBody({ body, fields: understood.fields, call: ticket.call, pool: ticket.pool, count: desk.count })
  setHeaders.push(['content-length', String(prepared.body.length)])
  return { verdict: { kind: 'go', destination, setHeaders, body: prepared.body }, stripUsage: prepared.stripUsage, span }
}

function startSpan({ desk, gateway, arrived, ticket }: DirectParts, setHeaders: SetHeader[]): CallSpan | undefined {
  if (!desk.startCall) return undefined
  try {
    const { traceparent, tracestate } = arrived.headers
    const span = desk.startCall({ traceparent, tracestate, call: ticket.call, gateway, pool: ticket.pool.name })
    span.placed(ticket.placement, ticket.instance)
    const { headers } = span
    if (headers.traceparent) setHeaders.push(['traceparent', headers.traceparent])
    if (headers.traceparent && headers.tracestate) setHeaders.push(['tracestate', headers.tracestate])
    return span
  } catch (error) {
    desk.count(`bookkeeping failed: ${error instanceof Error ? error.name : 'unknown'}`)
    return undefined
  }
}
