import type { Door } from './door.ts'

/** What an instance is given by hand. */
export interface InstanceSettings {
  readonly url: string
  readonly weight: number
  readonly speed: number
  /** Environment variable of the router that holds its key; the key itself is never stored. */
  readonly apiKeyEnv?: string
}

/** One instance added, changed or taken out by people, laid over what the configuration names; it wins until it is taken back. */
export interface FleetChange {
  readonly pool: string
  readonly instance: string
  readonly what: 'added' | 'changed' | 'removed'
  /** Absent where it was removed. */
  readonly settings?: InstanceSettings
  readonly by: string
  readonly sinceUnixMs: number
}

/** Intents that change the fleet, and what they leave; 'restore' takes a change back. */
export const FLEET_INTENTS = {
  'add instance': 'added',
  'change instance': 'changed',
  'remove instance': 'removed',
  'restore instance': 'restored',
} as const
export type FleetIntentKind = keyof typeof FLEET_INTENTS

/** The intent changes the fleet's list. */
export const isFleetIntent = (kind: string): kind is FleetIntentKind => Object.hasOwn(FLEET_INTENTS, kind)

/** What such an intent says. */
export interface FleetIntentSubject extends Partial<InstanceSettings> {
  readonly pool: string
  readonly instance: string
}

interface Stored extends Omit<FleetChange, 'settings'> {
  readonly settings: string
}

/** Changes that hold, in order of pool and name. */
export function listFleetChanges(door: Door): FleetChange[] {
  const sql = 'SELECT pool, instance, what, settings, by, since_unix_ms AS sinceUnixMs FROM fleet_change ORDER BY pool, instance'
  return door.all<Stored>(sql).map(({ settings, ...rest }) => {
    const given = JSON.parse(settings) as Partial<InstanceSettings>
    return { ...rest, ...(given.url === undefined ? {} : { settings: given as InstanceSettings }) }
  })
}

/** Remembers a change that the router obeyed; other kinds of intent are left alone. */
export function rememberFleetChange(
  door: Door,
  { kind, subject, askedBy }: { readonly kind: string; readonly subject: unknown; readonly askedBy: string },
  nowUnixMs: number,
): void {
  if (!isFleetIntent(kind)) return
  const { pool, instance, ...settings } = subject as FleetIntentSubject
  const before = door.get<{ what: string }>('SELECT what FROM fleet_change WHERE pool = ? AND instance = ?', [pool, instance])?.what
  // What was added here and is removed again leaves nothing to remember.
  if (kind === 'restore instance' || (kind === 'remove instance' && before === 'added')) {
    door.run('DELETE FROM fleet_change WHERE pool = ? AND instance = ?', [pool, instance])
    return
  }
  const what = kind === 'change instance' && before === 'added' ? 'added' : FLEET_INTENTS[kind]
  const sql = 'INSERT OR REPLACE INTO fleet_change (pool, instance, what, settings, by, since_unix_ms) VALUES (?, ?, ?, ?, ?, ?)'
  door.run(sql, [pool, instance, what, JSON.stringify(kind === 'remove instance' ? {} : settings), askedBy, nowUnixMs])
}
