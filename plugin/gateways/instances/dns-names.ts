import { lookup } from 'node:dns/promises'
import { isIPv6 } from 'node:net'
import type { DesiredInstance } from './connections.ts'
import type { Source, SourceParts } from './discovery.ts'

export interface DnsNameParts extends SourceParts {
  readonly host: string
  readonly port: number
  readonly scheme: 'http' | 'https'
  readonly refreshMs: number
  readonly apiKey?: string
  readonly caFile?: string
  /** Every address of a host; throws where it has none. The system's resolver by default. */
  readonly resolve?: (host: string) => Promise<readonly string[]>
}

/**
 * Instances behind a name: every address is one, asked for again and again; a Kubernetes headless service is such a name. A failed
 * lookup keeps the old list: a resolver that is down is no reason to lose a fleet, and who is really gone is found by health.
 */
export function watchDnsName(parts: DnsNameParts): Source {
  const resolve = parts.resolve ?? systemResolve
  let closed = false
  let last: string | undefined
  let timer: NodeJS.Timeout | undefined
  const ask = async (): Promise<void> => {
    try {
      const addresses = [...new Set(await resolve(parts.host))].sort()
      if (closed) return
      if (addresses.length === 0) throw new Error('it has no address')
      const now = addresses.join(' ')
      if (now !== last) parts.onInstances(addresses.map((address) => instanceAt(address, parts)))
      last = now
    } catch (error) {
      if (closed) return
      const kept = last === undefined ? 'no instances from it yet' : 'the previous addresses are kept'
      parts.onProblem(`dns.host ${parts.host} cannot be resolved: ${(error as Error).message} (${kept}); check the name and the resolver`)
    }
    timer = setTimeout(ask, parts.refreshMs).unref()
  }
  return {
    first: ask(),
    close() {
      closed = true
      clearTimeout(timer)
    },
  }
}

function instanceAt(address: string, parts: DnsNameParts): DesiredInstance {
  const endpoint = `${isIPv6(address) ? `[${address}]` : address}:${parts.port}`
  return {
    name: endpoint,
    url: `${parts.scheme}://${endpoint}`,
    weight: 1,
    speed: 1,
    ...(parts.apiKey === undefined ? {} : { apiKey: parts.apiKey }),
    ...(parts.caFile === undefined ? {} : { caFile: parts.caFile }),
    ...(parts.scheme === 'https' ? { serverName: parts.host } : {}),
  }
}

/** As any other program of the machine resolves it: with its hosts file and search domains. */
async function systemResolve(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address)
}
