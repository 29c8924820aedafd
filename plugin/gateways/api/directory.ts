import type { PlaceRequest } from './schemas.ts'

/** An instance as the directory knows it. */
export interface KnownInstance {
  readonly name: string
  readonly pool: string
  readonly url: string
  /** "host:port" of the url. */
  readonly endpoint: string
}

/** A caller's candidates as instances. */
export interface Matched {
  /** In the caller's order, each once, with the caller's name for it. */
  readonly known: readonly { readonly id: string; readonly instance: KnownInstance }[]
  readonly endpoints: readonly string[]
  readonly unknown: readonly string[]
}

export interface Directory {
  match(candidates: NonNullable<PlaceRequest['candidates']>): Matched
  /** The instance that a caller means by name or address. */
  find(named: string): KnownInstance | undefined
}

/** Instances come and go while we run; a list this old is still right but for a moment. */
const FRESH_MS = 250
const ENDPOINTS_MAX = 10_000

/** Finds instances by name or address. A name that two pools use stands for the first. */
export function createDirectory(parts: { readonly instances: () => readonly KnownInstance[]; readonly nowMs: () => number }): Directory {
  const known = new Map<string, KnownInstance>()
  const endpoints = new Map<string, string | undefined>()
  let readMs = Number.NEGATIVE_INFINITY
  const refresh = (): void => {
    const nowMs = parts.nowMs()
    if (nowMs - readMs < FRESH_MS) return
    readMs = nowMs
    known.clear()
    for (const one of parts.instances()) {
      if (!known.has(one.name)) known.set(one.name, one)
      known.set(one.endpoint, one)
    }
  }
  const endpointOf = (url: string): string | undefined => {
    if (endpoints.has(url)) return endpoints.get(url)
    if (endpoints.size >= ENDPOINTS_MAX) endpoints.clear()
    const endpoint = endpointIn(url)
    endpoints.set(url, endpoint)
    return endpoint
  }
  const at = (url: string): KnownInstance | undefined => {
    const endpoint = endpointOf(url)
    if (endpoint === undefined) return undefined
    return known.get(endpoint) ?? (endpoint.startsWith('localhost:') ? known.get(endpoint.replace('localhost', '127.0.0.1')) : undefined)
  }
  const find = (named: string): KnownInstance | undefined => {
    refresh()
    return known.get(named) ?? at(named)
  }
  return {
    find,
    match(candidates) {
      const matched = new Map<string, { readonly id: string; readonly instance: KnownInstance }>()
      const unknown: string[] = []
      for (const one of candidates) {
        const id = typeof one === 'string' ? one : one.id
        const instance = typeof one === 'string' ? find(one) : ((one.url === undefined ? undefined : find(one.url)) ?? find(one.id))
        if (!instance) unknown.push(id)
        else if (!matched.has(instance.endpoint)) matched.set(instance.endpoint, { id, instance })
      }
      return { known: [...matched.values()], endpoints: [...matched.keys()], unknown }
    },
  }
}

/** "host:port" of an address, with the scheme's own port where it names none; of "host:port" itself too. */
function endpointIn(address: string): string | undefined {
  const url = URL.parse(address.includes('://') ? address : `http://${address}`)
  if (!url?.hostname) return undefined
  return `${url.hostname}:${url.port || (url.protocol === 'https:' ? 443 : 80)}`
}
