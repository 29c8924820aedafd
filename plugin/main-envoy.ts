import { systemClock } from './clock.ts'
import type { Config } from './config.ts'
import { createEnvoyPicker, type EnvoyPicker } from './gateways/envoy/picker.ts'
import { listenProblem, Unusable } from './main-child.ts'
import type { LiveFleet } from './main-fleet.ts'
import type { LiveRouter } from './router-place.ts'
import type { Telemetry } from './telemetry/telemetry.ts'

export interface OpenEnvoyParts {
  readonly config: Config
  readonly live: LiveFleet
  readonly router: LiveRouter
  readonly telemetry: Telemetry
  readonly count: (what: string) => void
  readonly warn: (text: string) => void
  readonly nextCallId: () => number
  readonly readText: (text: string) => Float32Array | undefined
}

/** Opens the Envoy door as configured; undefined where it is off. Throws Unusable where it cannot listen or its TLS files cannot be read. */
export async function openEnvoy(parts: OpenEnvoyParts): Promise<EnvoyPicker | undefined> {
  const { config, live, router, telemetry, count, warn, nextCallId, readText } = parts
  const { listen, tls, bodyLimitMiB, ...options } = config.gateways.envoy
  if (!listen) return undefined
  const { fleet, connections } = live
  try {
    return await createEnvoyPicker({
      ...options,
      listen,
      ...(tls ? { tls } : {}),
      router,
      instanceUrls: () => fleet.pools().flatMap((pool) => fleet.instances(pool).map(({ url }) => url)),
      authorization: (url) => connections.authorization(url),
      anyInstance: (model) => {
        const { count: eligible, instances } = fleet.candidates(router.poolFor(model)?.name ?? '')
        return eligible > 0 ? instances[0] : undefined
      },
      bodyLimitBytes: bodyLimitMiB * 1024 ** 2,
      textFeatures: config.log.textFeatures,
      readText,
      clock: systemClock,
      telemetry,
      providerOf: (pool) => config.pools.find((one) => one.name === pool)?.engine ?? 'other',
      count,
      warn,
      nextCallId,
    })
  } catch (error) {
    if (error instanceof Error && 'path' in error)
      throw new Unusable(`gateways.envoy.tls: ${error.message}; make the file readable for this user, or name another`, error)
    throw listenProblem(error, 'gateways.envoy.listen', `${listen.host}:${listen.port}`)
  }
}
