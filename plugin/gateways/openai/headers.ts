import type { IncomingHttpHeaders } from 'node:http'
import type { Call } from '../../call/call.ts'
import { formatId } from '../../call/id.ts'
import type { Ticket } from '../../router.ts'

/** What may cross the door. Header names are in lower case on both sides. */

/** RFC 9110, section 7.6.1, and the older ones that proxies still meet. */
const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]

const KEPT_FROM_INSTANCE: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  // Made anew for this connection.
  'host',
  'content-length',
  'expect',
  // The caller's secrets are for this door only.
  'authorization',
  'x-api-key',
  'api-key',
  'cookie',
  // A compressed answer could not be metered.
  'accept-encoding',
  // Sent on purpose, see `instanceHeaders`.
  'x-request-id',
  'traceparent',
  'tracestate',
])

const KEPT_FROM_CALLER: ReadonlySet<string> = new Set([...HOP_BY_HOP, 'x-request-id'])

const VIRTUAL_PREFIX = 'x-virtual-'
const OWN_PREFIX = 'x-phasewise-'

/** W3C trace context to send on. */
export interface TraceContext {
  readonly traceparent?: string | undefined
  readonly tracestate?: string | undefined
}

/** The trace context that the caller sent. */
export function traceIn(headers: IncomingHttpHeaders): TraceContext {
  const { traceparent, tracestate } = headers
  return { traceparent: oneOf(traceparent), tracestate: oneOf(tracestate) }
}

function oneOf(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0]
}

export interface InstanceHeadersParts {
  readonly headers: IncomingHttpHeaders
  readonly requestId: string
  readonly trace: TraceContext
  /** The instance is a virtual one: `x-virtual-*` is for it. */
  readonly virtual: boolean
}

/** The caller's headers as the instance gets them, flat; all but its own Authorization, which differs from attempt to attempt. */
export function instanceHeaders({ headers, requestId, trace, virtual }: InstanceHeadersParts): string[] {
  const named = headers.connection === undefined ? undefined : namedIn(headers.connection)
  const flat = ['accept-encoding', 'identity', 'x-request-id', requestId]
  for (const name in headers) {
    if (KEPT_FROM_INSTANCE.has(name) || named?.has(name)) continue
    if (name.startsWith('x-') && (name.startsWith(OWN_PREFIX) || (!virtual && name.startsWith(VIRTUAL_PREFIX)))) continue
    const value = headers[name]
    if (typeof value === 'string') flat.push(name, value)
    else if (value) for (const each of value) flat.push(name, each)
  }
  if (trace.traceparent !== undefined) flat.push('traceparent', trace.traceparent)
  if (trace.traceparent !== undefined && trace.tracestate !== undefined) flat.push('tracestate', trace.tracestate)
  return flat
}

/** The instance's reply headers as the caller gets them, flat, with `own` in front. `keepLength` is false where the body is changed on its way. */
export function callerHeaders(parts: {
  readonly headers: IncomingHttpHeaders
  readonly own: readonly string[]
  readonly keepLength: boolean
}): string[] {
  const { headers, keepLength } = parts
  const named = headers.connection === undefined ? undefined : namedIn(headers.connection)
  const flat = [...parts.own]
  for (const name in headers) {
    if (KEPT_FROM_CALLER.has(name) || named?.has(name) || name.startsWith(OWN_PREFIX)) continue
    if (name === 'content-length' && !keepLength) continue
    const value = headers[name]
    if (typeof value === 'string') flat.push(name, value)
    else if (value) for (const each of value) flat.push(name, each)
  }
  return flat
}

/** Header names that a Connection header declares to be for this hop only; undefined for the everyday values. */
function namedIn(connection: string | readonly string[]): ReadonlySet<string> | undefined {
  if (connection === 'keep-alive' || connection === 'close') return undefined
  return new Set(
    String(connection)
      .toLowerCase()
      .split(',')
      .map((name) => name.trim()),
  )
}

const REQUEST_ID = /^[\x21-\x7e]{1,128}$/

/** The caller's `x-request-id` where it is one line of at most 128 printable characters, otherwise `made`. */
export function requestIdOf(headers: IncomingHttpHeaders, made: string): string {
  const sent = headers['x-request-id']
  return typeof sent === 'string' && REQUEST_ID.test(sent) ? sent : made
}

/** The reply headers by which a call can be found again: its id, and where `ticket` is given (debug headers) how it was placed. */
export function marksOf({ call, ticket }: { readonly call: Call; readonly ticket: Ticket | undefined }): string[] {
  const marks = ['x-phasewise-call', formatId(call.callId)]
  if (!ticket) return marks
  const { policy, reason, policyVersion, lengthVersion } = ticket.placement
  marks.push('x-phasewise-placement', policy, 'x-phasewise-instance', ticket.instance.name, 'x-phasewise-reason', reason)
  marks.push('x-phasewise-model-version', `policy=${policyVersion}, length=${lengthVersion}`)
  return marks
}
