import { type MetadataContext, type MetadataValue, SUBSET_KEY, SUBSET_NAMESPACE } from './messages.ts'

/** An instance as the subset may name it. */
export interface Endpoint {
  /** "host:port" of its url, as the router knows it. */
  readonly endpoint: string
  /** "ip:port" as the gateway knows it. */
  readonly address: string
}

/**
 * The candidates that the gateway allows, as the router's endpoints: a list of texts or one text with commas, each "ip:port" or an ip
 * alone, which means every port of it. Undefined where the gateway says nothing; empty where it allows none that we know.
 */
export function readSubset(metadata: MetadataContext | undefined, known: () => readonly Endpoint[]): readonly string[] | undefined {
  const namespace = metadata?.[SUBSET_NAMESPACE]
  if (typeof namespace !== 'object' || namespace === null || Array.isArray(namespace)) return undefined
  const hint = (namespace as { readonly [key: string]: MetadataValue })[SUBSET_KEY]
  if (hint === undefined || hint === null) return undefined
  const allowed = new Set(namesIn(hint))
  return known()
    .filter(({ endpoint, address }) => allowed.has(address) || allowed.has(hostOf(address)) || allowed.has(endpoint))
    .map(({ endpoint }) => endpoint)
}

function namesIn(hint: MetadataValue): readonly string[] {
  const texts = Array.isArray(hint) ? hint : [hint]
  return texts.flatMap((text) => (typeof text === 'string' ? text.split(',') : [])).flatMap((name) => name.trim() || [])
}

function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '')
}
