import type { Ticket } from '../../router.ts'
import type { Desk } from './desk.ts'
import { FULL_DUPLEX_STREAMED, LB_NAMESPACE, type MetadataContext, type ProtocolConfig, SERVED_KEY } from './messages.ts'
import type { Endpoint } from './subset.ts'

/** Counters that doctor reads back: what Envoy was seen to do that makes placement worse. */
export const SEEN = {
  requestBodies: 'envoy: request bodies not FULL_DUPLEX_STREAMED',
  responseBodies: 'envoy: response bodies not FULL_DUPLEX_STREAMED',
  notHttp2: 'envoy: HTTP/1 to the picker',
  callersDestination: 'envoy: a caller named a destination',
} as const

/** Counts body modes in which the picker sees less than it should. */
export function noteModes(protocol: ProtocolConfig, count: (what: string) => void): void {
  if (protocol.requestBodyMode !== FULL_DUPLEX_STREAMED) count(SEEN.requestBodies)
  if (protocol.responseBodyMode !== FULL_DUPLEX_STREAMED) count(SEEN.responseBodies)
}

/** The instances as a subset may name them; those whose name was not looked up yet are left out. */
export function endpointsOf({ instanceUrls, addresses }: Pick<Desk, 'instanceUrls' | 'addresses'>): readonly Endpoint[] {
  return instanceUrls().flatMap((url) => {
    const address = addresses.known(url)
    return address === undefined ? [] : [{ endpoint: endpointOf(url), address }]
  })
}

/** "host:port" of an instance's url, as the router compares it with a subset. */
function endpointOf(url: string): string {
  const { hostname, port, protocol } = new URL(url)
  return `${hostname}:${port || (protocol === 'https:' ? '443' : '80')}`
}

/** A gateway that went on to a fallback by itself says so: the call is then booked where it really ran. */
export function noteServed(given: {
  readonly ticket: Ticket
  readonly metadata: MetadataContext | undefined
  readonly desk: Pick<Desk, 'addresses' | 'count'>
}): void {
  const { ticket, metadata, desk } = given
  const namespace = metadata?.[LB_NAMESPACE] as { readonly [key: string]: unknown } | undefined
  const served = namespace?.[SERVED_KEY]
  if (typeof served !== 'string' || desk.addresses.known(ticket.instance.url) === served) return
  desk.count('served elsewhere')
  for (;;) {
    const next = ticket.retry({ kind: 'connect', error: 'connect: the gateway went on to a fallback' })
    if (!next || desk.addresses.known(next.url) === served) return
  }
}
