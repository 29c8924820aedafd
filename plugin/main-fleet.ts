import type { Clock } from './clock.ts'
import { type Config, type PoolConfig, parseInstancesFile } from './config.ts'
import { createFleet, type Fleet, type LiveInstance, type ScrapeMark } from './fleet/fleet.ts'
import { FLEET_DEFAULTS, type FleetOptions } from './fleet/options.ts'
import { type Connections, createConnections, type DesiredInstance } from './gateways/instances/connections.ts'
import { createDiscovery, type Discovery } from './gateways/instances/discovery.ts'
import { createScraper } from './gateways/instances/scraper.ts'
import type { FleetChange } from './log/control/fleet-changes.ts'
import { type ChangedFleet, createChangedFleet } from './main-fleet-changes.ts'
import type { Rng } from './rng.ts'

/** The fleet with what feeds it: discovery, connections and scrapes. */
export interface LiveFleet {
  readonly fleet: Fleet
  readonly connections: Connections
  /** Adds, changes and removes instances while it runs. */
  readonly changed: ChangedFleet
  /** Resolves when every source of instances was looked at once. */
  readonly found: Promise<void>
  close(graceMs: number): Promise<void>
}

export interface LiveFleetParts {
  readonly config: Config
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  readonly rng: Rng
  /** What people changed of the list in earlier starts. */
  readonly changes: readonly FleetChange[]
  readonly warn: (text: string) => void
  readonly count: (what: string) => void
}

/** Starts discovery and scrapes for every pool of the configuration. */
export function startFleet(parts: LiveFleetParts): LiveFleet {
  const { config, clock, count } = parts
  const fleet = createFleet({
    options: fleetOptions(config),
    onStateChange: ({ instance, from, to, reason }) => {
      if (to === 'ejected') count('ejected')
      parts.warn(`${instance.pool}/${instance.name}: ${from} → ${to}${reason ? ` (${reason})` : ''}`)
    },
  })
  const connections = createConnections({ connectTimeoutMs: config.timeouts.connectMs, onProblem: parts.warn })
  const scraper = createScraper<LiveInstance, ScrapeMark>({
    intervalMs: config.scrape.intervalMs,
    timeoutMs: config.scrape.timeoutMs,
    nowMs: clock.nowMs,
    random: parts.rng.stream('scraper').next,
    connections,
    begin: (target, nowMs) => fleet.beginScrape(target, nowMs),
    onText: (target, mark, text, nowMs) => fleet.applyScrape(target, mark, text, nowMs),
    onFailure: (target, failure, nowMs) => {
      count('scrape failed')
      fleet.scrapeFailed(target, failure.kind, nowMs)
    },
  })
  const changed = createChangedFleet({
    changes: parts.changes,
    env: parts.env,
    warn: parts.warn,
    publish(pool, instances) {
      connections.configure(pool, instances)
      fleet.reconcile(pool, instances)
      scraper.track(fleet.pools().flatMap((name) => fleet.instances(name).filter((one) => !one.leaving)))
    },
  })
  const discoveries = config.pools.map((pool) => discoverPool(pool, parts, (instances) => changed.source(pool.name, instances)))
  return {
    fleet,
    connections,
    changed,
    found: Promise.all(discoveries.map((one) => one.ready)).then(() => undefined),
    async close(graceMs) {
      for (const one of discoveries) one.close()
      await scraper.close()
      await connections.close(graceMs)
    },
  }
}

function discoverPool(pool: PoolConfig, parts: LiveFleetParts, onInstances: (instances: readonly DesiredInstance[]) => void): Discovery {
  const { instancesFile, dns } = pool
  const parse = (text: string): readonly DesiredInstance[] => parseInstancesFile({ path: instancesFile ?? '', text, env: parts.env })
  return createDiscovery({
    fixed: pool.instances,
    ...(instancesFile ? { file: { path: instancesFile, parse } } : {}),
    ...(dns ? { dns } : {}),
    onInstances,
    onProblem: (problem) => {
      parts.count('discovery failed')
      parts.warn(`pool ${pool.name}: ${problem}`)
    },
  })
}

function fleetOptions({ health, retry }: Config): FleetOptions {
  return {
    ...FLEET_DEFAULTS,
    health: {
      ...FLEET_DEFAULTS.health,
      // A 5xx weighs two points (FAILURE_POINTS): so many of them in a row eject.
      ejectAtPoints: 2 * health.failuresToEject,
      ejectionMs: health.ejectMs,
      ejectionMsMax: health.ejectMaxMs,
      slowStartMs: health.slowStartMs,
    },
    retry: { ...FLEET_DEFAULTS.retry, budgetRatio: retry.budgetRatio },
  }
}
