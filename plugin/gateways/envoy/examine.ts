import { DESTINATION_KEY, LB_NAMESPACE, SUBSET_NAMESPACE } from './messages.ts'

/** One thing noticed in an Envoy configuration. */
export interface EnvoyFinding {
  readonly level: 'ok' | 'warn' | 'fail'
  readonly about: string
  readonly found: string
  readonly remedy?: string
}

export interface ExamineParts {
  /** An Envoy configuration as its file or its admin page's /config_dump has it, parsed. */
  readonly config: unknown
  /** gateways.envoy.holdLimitMs. */
  readonly holdLimitMs: number
}

type Loose = Readonly<Record<string, unknown>>

const EXT_PROC = 'envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor'
const CONNECTION_MANAGER = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
/** ExternalProcessor.message_timeout where it is not set. */
const DEFAULT_MESSAGE_TIMEOUT_MS = 200

/** The usual mistakes of an Envoy that asks this picker: what works worse than it could, what would not work, and what to do. */
export function examineEnvoy({ config, holdLimitMs }: ExamineParts): EnvoyFinding[] {
  const managers = [...objectsIn(config)].filter((one) => typeOf(one) === CONNECTION_MANAGER)
  const asking = managers.flatMap((manager) => {
    const filters = listIn(manager.http_filters)
    const at = filters.findIndex((filter) => extProcOf(filter))
    return at < 0 ? [] : [{ manager, before: filters.slice(0, at), filter: extProcOf(filters[at]) as Loose }]
  })
  if (asking.length === 0)
    return [
      {
        level: 'fail',
        about: 'envoy: ext_proc',
        found: 'no listener has an ext_proc filter',
        remedy: 'add the filter envoy.filters.http.ext_proc as in test/e2e/envoy/envoy.yaml',
      },
    ]
  const clusters = clustersIn(config)
  // A dump of the admin page holds each listener more than once.
  const findings = asking.flatMap(({ manager, before, filter }) => [
    ...examineModes(filter),
    examineTimeout(filter, holdLimitMs),
    examineNamespaces(filter),
    examinePickerCluster(filter, clusters),
    examineStripping(manager, before),
    examineFailOpen(filter, manager, { config, clusters }),
  ])
  return [...new Map(findings.map((one) => [JSON.stringify(one), one])).values()]
}

function examineModes(filter: Loose): EnvoyFinding[] {
  const mode = objectOf(filter.processing_mode)
  const about = 'envoy: processing_mode'
  const wrong = [
    ...(['request_body_mode', 'response_body_mode'] as const).filter((key) => mode[key] !== 'FULL_DUPLEX_STREAMED'),
    ...(['request_trailer_mode', 'response_trailer_mode'] as const).filter((key) => mode[key] !== 'SEND'),
    ...(['request_header_mode', 'response_header_mode'] as const).filter((key) => mode[key] === 'SKIP'),
  ]
  if (wrong.length === 0) return [{ level: 'ok', about, found: 'bodies FULL_DUPLEX_STREAMED, headers and trailers sent' }]
  return wrong.map((key) => {
    const wanted = key.endsWith('body_mode') ? 'FULL_DUPLEX_STREAMED' : 'SEND'
    const what = key.startsWith('response')
      ? 'calls are placed but not measured'
      : key.endsWith('body_mode')
        ? 'calls are placed without looking at them'
        : 'a body that trailers end is never placed'
    return { level: 'fail', about, found: `${key} is ${String(mode[key] ?? 'not set')}: ${what}`, remedy: `set ${key}: ${wanted}` }
  })
}

function examineTimeout(filter: Loose, holdLimitMs: number): EnvoyFinding {
  const about = 'envoy: message_timeout'
  const timeoutMs = durationMs(filter.message_timeout) ?? DEFAULT_MESSAGE_TIMEOUT_MS
  if (timeoutMs > holdLimitMs) return { level: 'ok', about, found: `${timeoutMs} ms, the longest hold is ${holdLimitMs} ms` }
  return {
    level: 'fail',
    about,
    found: `${timeoutMs} ms, but Phasewise may hold a call for ${holdLimitMs} ms: Envoy would give it up`,
    remedy: `set message_timeout above ${holdLimitMs / 1_000}s, or gateways.envoy.holdLimitMs below ${timeoutMs}`,
  }
}

function examineNamespaces(filter: Loose): EnvoyFinding {
  const about = 'envoy: metadata_options'
  const options = objectOf(filter.metadata_options)
  const namespaces = (key: string): readonly unknown[] => listIn(objectOf(options[key]).untyped)
  const missing = [
    ...(namespaces('receiving_namespaces').includes(LB_NAMESPACE) ? [] : [`receiving_namespaces lacks ${LB_NAMESPACE}`]),
    ...(namespaces('forwarding_namespaces').includes(LB_NAMESPACE) ? [] : [`forwarding_namespaces lacks ${LB_NAMESPACE}`]),
    ...(namespaces('forwarding_namespaces').includes(SUBSET_NAMESPACE) ? [] : [`forwarding_namespaces lacks ${SUBSET_NAMESPACE}`]),
  ]
  if (missing.length === 0) return { level: 'ok', about, found: 'namespaces are forwarded and received' }
  return {
    level: 'warn',
    about,
    found: `${missing.join('; ')}: the destination is told by header alone, subsets and served endpoints are not seen`,
    remedy: 'add the namespaces to metadata_options as in test/e2e/envoy/envoy.yaml',
  }
}

function examinePickerCluster(filter: Loose, clusters: ReadonlyMap<string, Loose>): EnvoyFinding {
  const about = 'envoy: cluster of the picker'
  const name = String(objectOf(objectOf(filter.grpc_service).envoy_grpc).cluster_name ?? '')
  const cluster = clusters.get(name)
  if (!cluster)
    return {
      level: 'warn',
      about,
      found: `cluster ${JSON.stringify(name)} is not in this configuration`,
      remedy: 'check its name, or its HTTP/2 options where it is made',
    }
  if (!speaksHttp2(cluster))
    return {
      level: 'fail',
      about,
      found: `${name} speaks HTTP/1 to the picker, which speaks gRPC`,
      remedy: 'add typed_extension_protocol_options with explicit_http_config: {http2_protocol_options: {}}',
    }
  const guarded = listIn(cluster.health_checks).length > 0 || cluster.outlier_detection !== undefined
  if (filter.failure_mode_allow === true && !guarded)
    return {
      level: 'warn',
      about,
      found: `${name} has neither health_checks nor outlier_detection: while the picker is away calls with a body fail instead of failing open`,
      remedy: 'add both as in test/e2e/envoy/envoy.yaml',
    }
  return { level: 'ok', about, found: `${name} speaks HTTP/2` }
}

function speaksHttp2(cluster: Loose): boolean {
  if (cluster.http2_protocol_options !== undefined) return true
  const options = objectOf(objectOf(cluster.typed_extension_protocol_options)['envoy.extensions.upstreams.http.v3.HttpProtocolOptions'])
  return [...objectsIn(options)].some((one) => one.http2_protocol_options !== undefined)
}

/** What callers send under the destination's name must be gone before the picker is asked. */
function examineStripping(manager: Loose, before: readonly unknown[]): EnvoyFinding {
  const about = 'envoy: destination header'
  const early = listIn(manager.early_header_mutation_extensions)
  const removes = [...before, ...early].some((filter) => [...objectsIn(filter)].some((one) => one.remove === DESTINATION_KEY))
  if (removes) return { level: 'ok', about, found: 'what callers send under its name is removed before the picker is asked' }
  return {
    level: 'fail',
    about,
    found: `callers can send ${DESTINATION_KEY} themselves: where the picker is away they reach any address from here`,
    remedy: 'remove it with the filter envoy.filters.http.header_mutation in front of ext_proc',
  }
}

interface Whole {
  readonly config: unknown
  readonly clusters: ReadonlyMap<string, Loose>
}

/** Failing open needs a way to go that does not depend on the destination header. */
function examineFailOpen(filter: Loose, manager: Loose, { config, clusters }: Whole): EnvoyFinding {
  const about = 'envoy: failing open'
  if (filter.failure_mode_allow !== true)
    return { level: 'ok', about, found: 'failure_mode_allow is off: without the picker calls are answered with 500' }
  const inline =
    manager.route_config === undefined
      ? [...objectsIn(config)].filter((one) => Array.isArray(one.virtual_hosts))
      : [objectOf(manager.route_config)]
  const routes = inline.flatMap((one) => [...objectsIn(one)]).filter((one) => one.match !== undefined && one.route !== undefined)
  const open = routes.filter((route) => !listIn(objectOf(route.match).headers).some((header) => objectOf(header).name === DESTINATION_KEY))
  const clusterOf = (route: Loose): string => String(objectOf(route.route).cluster ?? '')
  const proxies = open.filter((route) => clusters.get(clusterOf(route))?.type === 'ORIGINAL_DST').map(clusterOf)
  if (proxies.length > 0)
    return {
      level: 'fail',
      about,
      found: `a route without the destination header leads to ${proxies[0]}, an ORIGINAL_DST cluster: failing open would be an open proxy or a loop`,
      remedy: 'match the header on that route, and let a second route lead to a static cluster of instances',
    }
  if (open.length === 0)
    return {
      level: 'warn',
      about,
      found: 'failure_mode_allow is on, but no route is left without the destination header',
      remedy: 'add a last route to a static cluster of instances',
    }
  return { level: 'ok', about, found: `without the picker calls go to ${clusterOf(open[0] as Loose)}` }
}

/** Every object in a tree, the tree itself first. */
function* objectsIn(value: unknown): Generator<Loose> {
  if (Array.isArray(value)) for (const one of value) yield* objectsIn(one)
  else if (typeof value === 'object' && value !== null) {
    yield value as Loose
    for (const one of Object.values(value)) yield* objectsIn(one)
  }
}

function clustersIn(config: unknown): ReadonlyMap<string, Loose> {
  const found = [...objectsIn(config)].filter(
    (one) =>
      typeof one.name === 'string' &&
      (one.connect_timeout !== undefined || one.load_assignment !== undefined || one.lb_policy !== undefined),
  )
  return new Map(found.map((one) => [String(one.name), one]))
}

function extProcOf(filter: unknown): Loose | undefined {
  return [...objectsIn(filter)].find((one) => typeOf(one) === EXT_PROC)
}

function typeOf(value: Loose): string {
  return (
    String(value['@type'] ?? '')
      .split('/')
      .at(-1) ?? ''
  )
}

function objectOf(value: unknown): Loose {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Loose) : {}
}

function listIn(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** protobuf's JSON durations: "1.5s". */
function durationMs(value: unknown): number | undefined {
  const match = /^([\d.]+)s$/.exec(String(value ?? ''))
  return match ? Number(match[1]) * 1_000 : undefined
}
