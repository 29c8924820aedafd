import { existsSync } from 'node:fs'
import { systemClock } from './clock.ts'
import type { Config } from './config.ts'
import { openControl } from './log/control.ts'
import { databasePath } from './log/migrate.ts'
import type { Finding } from './main-doctor.ts'

/** Names of the admin's API keys that may place now; none where there is no database yet, or it cannot be read. */
export function storedPlacers({ dataDir }: Pick<Config, 'dataDir'>): readonly string[] {
  const path = databasePath(dataDir, 'control')
  if (!existsSync(path)) return []
  try {
    const control = openControl({ path, clock: systemClock })
    try {
      return control.apiKeys.usable().flatMap(({ name, scopes }) => (scopes.includes('place') ? [name] : []))
    } finally {
      control.close()
    }
  } catch {
    // An older database without the table, or a broken one: examined and said elsewhere.
    return []
  }
}

/** Doctor's look at the placement API: whether anybody may place. */
export function examinePlacements(config: Config): Finding[] {
  const { listen, socket, keys, loopbackWithoutKey } = config.gateways.placements
  if (!listen && socket === undefined) return []
  const about = 'gateways.placements.keys'
  const named = [...keys.flatMap(({ name, scopes }) => (scopes.includes('place') ? [name] : [])), ...storedPlacers(config)]
  if (named.length > 0) return [{ level: 'ok', about, found: `${named.join(', ')} may place` }]
  if (loopbackWithoutKey) return [{ level: 'ok', about, found: 'none; programs on this machine may place without one' }]
  return [
    {
      level: 'warn',
      about,
      found: 'nobody may place: every gateway that asks is refused, and routes as without Phasewise',
      remedy:
        'make a key with the scope place in the admin, or here: keys: [{name: litellm, key: {env: NAME}}], or set loopbackWithoutKey: true',
    },
  ]
}
