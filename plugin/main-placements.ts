import { systemClock } from './clock.ts'
import type { Config } from './config.ts'
import type { FleetRow } from './fleet/fleet.ts'
import type { FleetAnswer } from './gateways/api/schemas.ts'
import { createPlacementApi } from './gateways/api/server.ts'
import { openControl } from './log/control.ts'
import { databasePath } from './log/migrate.ts'
import { openStoredKeys } from './main-api-keys.ts'
import { listenProblem } from './main-child.ts'
import { controlParts, LINE_KEY } from './main-control.ts'
import type { LiveFleet } from './main-fleet.ts'
import { VERSION } from './main-version.ts'
import type { LiveRouter } from './router-place.ts'

/** What the API in this process stands on. */
export interface PlacementsParts {
  readonly config: Config
  readonly live: LiveFleet
  readonly router: LiveRouter
  readonly count: (what: string) => void
  readonly nextCallId: () => number
  readonly readText: (text: string) => Float32Array | undefined
}

/** The placement API in the router process, or undefined where it is off. Throws Unusable where it cannot listen. */
export async function openPlacements(
  parts: PlacementsParts,
): Promise<{ readonly address: string; close(drainMs: number): Promise<void> } | undefined> {
  const { listen, socket, tls, keys, loopbackWithoutKey } = parts.config.gateways.placements
  if (!listen && socket === undefined) return undefined
  const stored = openStoredKeys({ path: databasePath(parts.config.dataDir, 'control'), clock: systemClock, count: parts.count })
  try {
    const api = await createPlacementApi({ ...apiParts(parts), listen, socket, tls, keys, stored, openLoopback: loopbackWithoutKey })
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

/**
 * The same API on a port of its own for the admin of this start alone: loopback, and a key that only the two processes know. It is there
 * whatever the configuration says of the placement API, and keeps its port over restarts of the router, where it can.
 */
export async function openLine(
  parts: PlacementsParts,
  line: { readonly key: string; readonly port: number },
): Promise<{ readonly url: string; close(drainMs: number): Promise<void> }> {
  const open = (port: number) =>
    createPlacementApi({
      ...apiParts(parts),
      listen: { host: '127.0.0.1', port },
      keys: [{ name: LINE_KEY, key: line.key, scopes: ['place', 'read', 'control'] }],
      openLoopback: false,
    })
  const api = await open(line.port).catch((error) => {
    if (line.port === 0) throw error
    // Somebody took the port meanwhile: the admin then reaches the router by its intents until it is started again.
    parts.count('admin line moved')
    return open(0)
  })
  return { url: api.url ?? '', close: api.close }
}

function apiParts(parts: PlacementsParts) {
  const { config, live, router, count, nextCallId, readText } = parts
  const { bodyLimitMiB, settleLimitMs } = config.gateways.placements
  return {
    bodyLimitBytes: bodyLimitMiB * 1024 ** 2,
    settleLimitMs,
    textFeatures: config.log.textFeatures,
    readText,
    router,
    instances: () => live.fleet.pools().flatMap((pool) => live.fleet.instances(pool)),
    fleet: () => describeFleet(config, live.fleet.rows(systemClock.nowMs())),
    askDrain: ({ pool, instance, drained, askedBy }: DrainWish) =>
      live.fleet.instance(pool, instance) &&
      appendIntent(config, { kind: drained ? 'drain' : 'undrain', subject: { pool, instance }, askedBy }),
    control: controlParts(parts),
    version: VERSION,
    clock: systemClock,
    nextCallId,
    count,
  }
}

interface DrainWish {
  readonly pool: string
  readonly instance: string
  readonly drained: boolean
  readonly askedBy: string
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
