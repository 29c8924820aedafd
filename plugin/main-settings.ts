import { existsSync } from 'node:fs'
import { systemClock } from './clock.ts'
import { type Config, ConfigError, type ConfigParts } from './config.ts'
import { type Setting, settingGroups } from './config-catalogue.ts'
import { type Overrides, overlay, settingPath, valueAt } from './config-settings.ts'
import { openControl } from './log/control.ts'
import { databasePath } from './log/migrate.ts'
import type { Log } from './log/rows.ts'
import { configOf } from './main-config.ts'
import { routerPool } from './main-pools.ts'
import type { LearnedModel } from './placement/learned-model.ts'
import { LEARNED, SELECTABLE_POLICY_NAMES } from './placement/policies.ts'
import type { LiveRouter } from './router-place.ts'

/** The file with what people set in the admin laid over it. */
export interface Settled {
  readonly config: Config
  /** What the database holds cannot be used, in words: the file alone counts. */
  readonly refused?: string
}

/**
 * The configuration that counts. The database goes before the file, unless the file says `admin.settings: file`; overrides that no longer
 * fit what the file says are left out as a whole, and told. Throws ConfigError when the file itself is wrong.
 */
export function settle(input: ConfigParts['input']): Settled {
  const config = configOf(input)
  if (config.admin.settings === 'file') return { config }
  const overrides = readOverrides(config)
  if (Object.keys(overrides).length === 0) return { config }
  try {
    return { config: configOf(overlay(input, overrides).input) }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return { config, refused: `what was set in the admin does not fit the file and is left out: ${error.message}` }
  }
}

function readOverrides(config: Config): Overrides {
  const path = databasePath(config.dataDir, 'control')
  if (!existsSync(path)) return {}
  const control = openControl({ path, clock: systemClock })
  try {
    return Object.fromEntries(Object.entries(control.settings.all()).filter(([key]) => settingPath(key) !== undefined))
  } finally {
    control.close()
  }
}

/** What a running router takes over without a restart, and what it says of the rest. */
export interface LiveSettings {
  /** Reads the database again and obeys it; the answer is for whoever changed it. Throws in words when it cannot be obeyed. */
  obey(): string
  /** The configuration that counts now, where it is live. */
  readonly pools: () => Config['pools']
}

/** Settings over a router that was started with `started`. */
export function createLiveSettings(parts: {
  readonly input: ConfigParts['input']
  readonly started: Config
  readonly router: Pick<LiveRouter, 'configure'>
  readonly log: Pick<Log, 'retain'>
  /** What `learned` decides by, read when a pool first needs it; undefined where it cannot be had. */
  readonly model: () => LearnedModel | undefined
}): LiveSettings {
  const { input, started, router, log } = parts
  let running = started
  return {
    pools: () => running.pools,
    obey() {
      const { config, refused } = settle(input)
      if (refused !== undefined) throw new Error(refused)
      const changed = settingsThatDiffer(running, config)
      for (const pool of config.pools)
        if (changed.some(({ path, effect }) => effect === 'live' && path[0] === 'pools' && path[1] === pool.name))
          router.configure(routerPool(pool, pool.policy === LEARNED ? parts.model() : undefined))
      if (changed.some(({ path }) => path[0] === 'log')) log.retain(retentionOf(config))
      const live = changed.filter(({ effect }) => effect === 'live').length
      running = config
      const waiting = settingsThatDiffer(started, config).filter(({ effect }) => effect === 'restart')
      const names = waiting.map(({ label }) => label.toLowerCase()).join(', ')
      return [
        live === 1 ? '1 setting counts now.' : `${live} settings count now.`,
        ...(waiting.length === 0 ? [] : [`Waiting for a restart: ${names}.`]),
      ].join(' ')
    },
  }
}

/** How long and how much of the log is kept. */
export const retentionOf = ({ log }: Config) => ({ days: log.retentionDays, bytes: log.maxGiB * 1024 ** 3 })

function settingsThatDiffer(a: Config, b: Config): readonly Setting[] {
  const pools = b.pools.map(({ name }) => name)
  return settingGroups({ pools, policies: SELECTABLE_POLICY_NAMES })
    .flatMap(({ settings }) => settings)
    .filter(({ path }) => JSON.stringify(valueAt(a, path)) !== JSON.stringify(valueAt(b, path)))
}
