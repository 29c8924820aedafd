import { instanceSchema } from './config-schema.ts'
import type { DesiredInstance } from './gateways/instances/connections.ts'
import type { FleetChange, FleetIntentKind, FleetIntentSubject } from './log/control/fleet-changes.ts'

/** The instances that every source of the configuration names, with people's changes laid over them. */
export interface ChangedFleet {
  /** A source spoke: the pool's own instances are these now. */
  source(pool: string, instances: readonly DesiredInstance[]): void
  /** Obeys an intent; throws in words what cannot be done. */
  obey(kind: FleetIntentKind, subject: unknown): string
}

export interface ChangedFleetParts {
  readonly changes: readonly FleetChange[]
  readonly env: Readonly<Record<string, string | undefined>>
  /** The pool's instances are these now. */
  readonly publish: (pool: string, instances: readonly DesiredInstance[]) => void
  readonly warn: (text: string) => void
}

type Change = Pick<FleetChange, 'what' | 'settings'>

/** A fleet's lists with the changes that hold since earlier starts. */
export function createChangedFleet(parts: ChangedFleetParts): ChangedFleet {
  const sources = new Map<string, readonly DesiredInstance[]>()
  const changes = new Map<string, Map<string, Change>>()
  const ofPool = (pool: string): Map<string, Change> => {
    const known = changes.get(pool) ?? new Map<string, Change>()
    changes.set(pool, known)
    return known
  }
  for (const { pool, instance, ...change } of parts.changes) ofPool(pool).set(instance, change)
  const list = (pool: string): DesiredInstance[] => laidOver(sources.get(pool) ?? [], ofPool(pool), parts)
  return {
    source(pool, instances) {
      sources.set(pool, instances)
      parts.publish(pool, list(pool))
    },
    obey(kind, subject) {
      const { pool, instance, change, says } = understand(kind, subject, { sources, list, env: parts.env })
      if (change === undefined) ofPool(pool).delete(instance)
      else ofPool(pool).set(instance, change)
      parts.publish(pool, list(pool))
      return says
    },
  }
}

function laidOver(
  own: readonly DesiredInstance[],
  changes: ReadonlyMap<string, Change>,
  { env, warn }: Pick<ChangedFleetParts, 'env' | 'warn'>,
): DesiredInstance[] {
  const kept = own.flatMap((one): DesiredInstance[] => {
    const change = changes.get(one.name)
    if (change === undefined) return [one]
    return change.settings === undefined ? [] : [{ ...one, ...desired(one.name, change.settings, env, warn) }]
  })
  const names = new Set(own.map((one) => one.name))
  const added = [...changes].flatMap(([name, { what, settings }]) =>
    what !== 'added' || settings === undefined || names.has(name) ? [] : [desired(name, settings, env, warn)],
  )
  return [...kept, ...added]
}

function desired(
  name: string,
  { url, weight, speed, apiKeyEnv }: NonNullable<FleetChange['settings']>,
  env: ChangedFleetParts['env'],
  warn: ChangedFleetParts['warn'],
): DesiredInstance {
  const apiKey = apiKeyEnv === undefined ? undefined : env[apiKeyEnv]
  if (apiKeyEnv !== undefined && apiKey === undefined)
    warn(`instance ${name}: the environment variable ${apiKeyEnv} is not set; it is called without a key`)
  return { name, url, weight, speed, ...(apiKey === undefined ? {} : { apiKey }) }
}

interface Understanding {
  readonly sources: ReadonlyMap<string, readonly DesiredInstance[]>
  readonly list: (pool: string) => readonly DesiredInstance[]
  readonly env: ChangedFleetParts['env']
}

function understand(
  kind: FleetIntentKind,
  subject: unknown,
  { sources, list, env }: Understanding,
): { readonly pool: string; readonly instance: string; readonly change: Change | undefined; readonly says: string } {
  const { pool, instance, ...settings } = (subject ?? {}) as Partial<FleetIntentSubject>
  if (typeof pool !== 'string' || typeof instance !== 'string' || !sources.has(pool)) throw new Error(`there is no pool ${pool}`)
  const own = (sources.get(pool) ?? []).some((one) => one.name === instance)
  const now = list(pool)
  const there = now.some((one) => one.name === instance)
  if (kind === 'restore instance') return { pool, instance, change: undefined, says: `${instance} is as the configuration says` }
  if (kind === 'remove instance') {
    if (!there) throw new Error(`there is no instance ${instance} in pool ${pool}`)
    const says = `${instance} takes no new calls, and leaves when its calls have ended`
    return { pool, instance, change: own ? { what: 'removed' } : undefined, says }
  }
  if (kind === 'add instance' && there) throw new Error(`pool ${pool} has an instance ${instance} already`)
  if (kind === 'change instance' && !there) throw new Error(`there is no instance ${instance} in pool ${pool}`)
  const checked = check(settings, instance)
  if (checked.apiKeyEnv !== undefined && env[checked.apiKeyEnv] === undefined)
    throw new Error(`the router's environment has no variable ${checked.apiKeyEnv}`)
  const same = now.find((one) => one.url === checked.url && one.name !== instance)
  if (same) throw new Error(`${same.name} has that address already`)
  const says = kind === 'add instance' ? `${instance} takes calls as soon as it answers` : `${instance} is changed`
  return { pool, instance, change: { what: own ? 'changed' : 'added', settings: checked }, says }
}

/** The same rules as the file's. */
function check(given: Partial<FleetIntentSubject>, name: string): NonNullable<FleetChange['settings']> {
  const result = instanceSchema.safeParse({ name, url: given.url, weight: given.weight, speed: given.speed })
  if (!result.success)
    throw new Error(result.error.issues.map((issue) => `${issue.path.join('.') || 'instance'}: ${issue.message}`).join('; '))
  const { url, weight, speed } = result.data
  return { url, weight, speed, ...(given.apiKeyEnv === undefined ? {} : { apiKeyEnv: String(given.apiKeyEnv) }) }
}
