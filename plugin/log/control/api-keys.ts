import type { Clock } from '../../clock.ts'
import type { Door } from './door.ts'

/** What a key may do at the placement API: ask for placements and report outcomes; see the fleet; change it. */
export const KEY_SCOPES = ['place', 'read', 'control'] as const
export type KeyScope = (typeof KEY_SCOPES)[number]

/** An API key as kept: everything but the key. */
export interface ApiKeyRecord {
  readonly keyId: number
  readonly name: string
  readonly scopes: readonly KeyScope[]
  /** SHA-256 of the key's UTF-8 bytes, 64 hexadecimal digits. */
  readonly sha256: string
  /** The key's first characters, by which people tell keys apart. */
  readonly beginning: string
  readonly createdBy: string
  readonly createdUnixMs: number
  /** Null: never. */
  readonly expiresUnixMs: number | null
  /** To the minute; null: never used. */
  readonly lastUsedUnixMs: number | null
  readonly revokedBy: string | null
  readonly revokedUnixMs: number | null
}

/** Two keys in use cannot have one name: the log and the intents tell callers by it. */
export class KeyNameTaken extends Error {
  constructor(name: string) {
    super(`there is a key called ${name} already`)
    this.name = 'KeyNameTaken'
  }
}

export interface ApiKeys {
  /** Throws KeyNameTaken while a key of that name is in use. */
  add(
    key: Pick<ApiKeyRecord, 'name' | 'scopes' | 'sha256' | 'beginning' | 'createdBy'> & { readonly expiresUnixMs?: number | undefined },
  ): ApiKeyRecord
  get(keyId: number): ApiKeyRecord | undefined
  /** All there ever were: those in use first, in order of name. */
  list(): ApiKeyRecord[]
  /** Those that open something now: neither revoked nor expired. A few µs; a router looks again each second and so obeys a revocation within it. */
  usable(): ApiKeyRecord[]
  /** Notes that the key was used now; written at most once a minute, so that a busy caller hardly writes. False when nothing was written. */
  used(keyId: number): boolean
  /** Ends a key for good; false when it had ended before. */
  revoke(keyId: number, by: string): boolean
}

const KEY = `key_id AS keyId, name, scopes, sha256, beginning, created_by AS createdBy, created_unix_ms AS createdUnixMs,
  expires_unix_ms AS expiresUnixMs, last_used_unix_ms AS lastUsedUnixMs, revoked_by AS revokedBy, revoked_unix_ms AS revokedUnixMs`

/** Use is noted to the minute. */
const NOTE_EVERY_MS = 60_000

interface StoredKey extends Omit<ApiKeyRecord, 'scopes'> {
  readonly scopes: string
}

/** API keys as stored behind `door`. */
export function createApiKeys(door: Door, clock: Clock): ApiKeys {
  const get = (keyId: number): ApiKeyRecord | undefined => {
    const stored = door.get<StoredKey>(`SELECT ${KEY} FROM api_key WHERE key_id = ?`, [keyId])
    return stored && parsed(stored)
  }
  return {
    add({ name, scopes, sha256, beginning, createdBy, expiresUnixMs }) {
      const sql = `INSERT INTO api_key (name, scopes, sha256, beginning, created_by, created_unix_ms, expires_unix_ms)
        VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`
      const values = [name, JSON.stringify(scopes), sha256, beginning, createdBy, clock.nowUnixMs(), expiresUnixMs ?? null]
      const { changes, lastId } = door.run(sql, values)
      const added = changes === 1 ? get(lastId) : undefined
      if (added === undefined) throw new KeyNameTaken(name)
      return added
    },
    get,
    list: () => door.all<StoredKey>(`SELECT ${KEY} FROM api_key ORDER BY revoked_unix_ms IS NOT NULL, name, key_id DESC`).map(parsed),
    usable() {
      const sql = `SELECT ${KEY} FROM api_key WHERE revoked_unix_ms IS NULL AND (expires_unix_ms IS NULL OR expires_unix_ms > ?) ORDER BY name`
      return door.all<StoredKey>(sql, [clock.nowUnixMs()]).map(parsed)
    },
    used(keyId) {
      const now = clock.nowUnixMs()
      const sql = 'UPDATE api_key SET last_used_unix_ms = ? WHERE key_id = ? AND coalesce(last_used_unix_ms, 0) <= ?'
      return door.run(sql, [now, keyId, now - NOTE_EVERY_MS]).changes === 1
    },
    revoke(keyId, by) {
      const sql = 'UPDATE api_key SET revoked_by = ?, revoked_unix_ms = ? WHERE key_id = ? AND revoked_unix_ms IS NULL'
      return door.run(sql, [by, clock.nowUnixMs(), keyId]).changes === 1
    },
  }
}

/** What is no scope any more opens nothing. */
function parsed(stored: StoredKey): ApiKeyRecord {
  const scopes = JSON.parse(stored.scopes) as unknown[]
  return { ...stored, scopes: KEY_SCOPES.filter((scope) => scopes.includes(scope)) }
}
