import { systemClock } from './clock.ts'
import type { Config } from './config.ts'
import type { FleetRow } from './fleet/fleet.ts'
import type { FleetAnswer } from './gateways/api/schemas.ts'
import { createPlacementApi } from './gateways/api/server.ts'
import { openControl } from './log/control.ts'
import { databasePath } from './log/migrate.ts'
import { openStoredKeys } from './main-api-keys.ts'
import { listenProblem } from './main-child.ts'
import type { LiveFleet } from './main-fleet.ts'
import { VERSION } from './main-version.ts'
import type { LiveRouter } from './router-place.ts'

/** The placement API in the router process, or undefined where it is off. Throws Unusable where it cannot listen. */
export async function openPlacements(parts: {
  readonly config: Config
  readonly live: LiveFleet
  readonly router: LiveRouter
  readonly count: (what: string) => void
  readonly nextCallId: () => number
}): Promise<{ readonly address: string; close(drainMs: number): Promise<void> } | undefined> {
  const { config, live, router, count, nextCallId } = parts
  const { listen, socket, tls, keys, loopbackWithoutKey, bodyLimitMiB, settleLimitMs } = config.gateways.placements
  if (!listen && socket === undefined) return undefined
  const stored = openStoredKeys({ path: databasePath(config.dataDir, 'control'), clock: systemClock, count })
  try {
    const api = await createPlacementApi({
      listen,
      socket,
      tls,
      keys,
      stored,
      openLoopback: loopbackWithoutKey,
      bodyLimitBytes: bodyLimitMiB * 1024 ** 2,
      settleLimitMs,
      textFeatures: config.log.textFeatures,
      router,
      instances: () => live.fleet.pools().flatMap((pool) => live.fleet.instances(pool)),
      fleet: () => describeFleet(config, live.fleet.rows(systemClock.nowMs())),
      askDrain: ({ pool, instance, drained, askedBy }) =>
        live.fleet.instance(pool, instance) &&
        appendIntent(config, { kind: drained ? 'drain' : 'undrain', subject: { pool, instance }, askedBy }),
      version: VERSION,
      clock: systemClock,
      nextCallId,
      count,
    })
    return {
      address: [api.url, socket].filter((one) => one !== undefined).join(' and '),
      async close(drainMs) {
        await api.close(drainMs)
        stored.close()
      },
    }
  } catch (error) {
    stored.close()
    throw listenProblem(
      error,
      `gateways.placements.${listen ? 'listen' : 'socket'}`,
      listen ? `${listen.host}:${listen.port}` : `${socket}`,
    )
  }
}

/** Rare, and a tiny transaction: the database is opened for it alone. */
function appendIntent(config: Config, intent: { readonly kind: string; readonly subject: unknown; readonly askedBy: string }): number {
  const control = openControl({ path: databasePath(config.dataDir, 'control'), clock: systemClock })
  try {
    return control.intents.append(intent)
  } finally {
    control.close()
  }
}

function describeFleet(config: Config, rows: readonly FleetRow[]): FleetAnswer {
  return {
    pools: config.pools.map(({ name, models }) => ({
      name,
      models: [...models],
      instances: rows.filter((row) => row.instance.pool === name).map(describeInstance),
    })),
  }
}

function describeInstance(row: FleetRow): FleetAnswer['pools'][number]['instances'][number] {
  const { instance, state, stateReason, speed, weight, inFlight, placed, expectedShareRatio } = row
  return {
    name: instance.name,
    url: instance.url,
    state,
    ...(stateReason === undefined ? {} : { stateReason }),
    speed,
    weight,
    inFlight,
    placed,
    waiting: known(row.waiting),
    running: known(row.running),
    kvUsageRatio: known(row.kvUsageRatio),
    foreignInFlight: known(row.foreignInFlight),
    scrapeAgeMs: known(row.scrapeAgeMs),
    expectedShareRatio,
  }
}

/** JSON has no NaN: unknown is null. */
function known(value: number): number | null {
  return Number.isFinite(value) ? value : null
}
