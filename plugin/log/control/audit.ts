import type { Clock } from '../../clock.ts'
import type { Door } from './door.ts'
import { type Page, pageLimit } from './intents.ts'

/** Who did what to what, from where; `before` and `after` are JSON or words, null where there is nothing to compare. */
export interface AuditEntry {
  readonly auditId: number
  readonly atUnixMs: number
  readonly who: string
  readonly address: string
  readonly action: string
  readonly subject: string
  readonly before: string | null
  readonly after: string | null
}

/** What is written of a deed; the time is the writer's. */
export type AuditDeed = Pick<AuditEntry, 'who' | 'address' | 'action' | 'subject'> & { readonly before?: string; readonly after?: string }

export interface Audit {
  append(deed: AuditDeed): number
  /** Newest first. */
  list(page: Page & AuditFilter): AuditEntry[]
  /** Everybody and every action there is an entry of, in order. */
  choices(): { readonly who: readonly string[]; readonly actions: readonly string[] }
}

/** What narrows a list of entries; all that is given must hold. */
export interface AuditFilter {
  readonly who?: string
  readonly action?: string
  /** Stands in subject, before or after, whatever its case. */
  readonly text?: string
  readonly sinceUnixMs?: number
  readonly untilUnixMs?: number
}

export interface Settings {
  get(key: string): string | undefined
  all(): Readonly<Record<string, string>>
  set(key: string, value: string): void
  remove(key: string): void
}

const ENTRY = 'audit_id AS auditId, at_unix_ms AS atUnixMs, who, address, action, subject, before, after'

/** Adds a row, within whatever transaction is open. */
export function addAudit(door: Door, { who, address, action, subject, before, after }: AuditDeed, nowUnixMs: number): number {
  const sql = 'INSERT INTO audit (at_unix_ms, who, address, action, subject, before, after) VALUES (?, ?, ?, ?, ?, ?, ?)'
  return door.run(sql, [nowUnixMs, who, address, action, subject, before ?? null, after ?? null]).lastId
}

/** The audit as stored behind `door`; rows are only ever added. */
export function createAudit(door: Door, clock: Clock): Audit {
  return {
    append: (deed) => addAudit(door, deed, clock.nowUnixMs()),
    list({ beforeId, limit, who, action, text, sinceUnixMs, untilUnixMs }) {
      const sql = `SELECT ${ENTRY} FROM audit WHERE audit_id < @before AND (@who IS NULL OR who = @who)
        AND (@action IS NULL OR action = @action) AND at_unix_ms >= @since AND at_unix_ms < @until
        AND (@text IS NULL OR instr(lower(subject || char(10) || coalesce(before, '') || char(10) || coalesce(after, '')), lower(@text)) > 0)
        ORDER BY audit_id DESC LIMIT @limit`
      return door.all<AuditEntry>(sql, {
        before: beforeId ?? Number.MAX_SAFE_INTEGER,
        who: who ?? null,
        action: action ?? null,
        text: text ?? null,
        since: sinceUnixMs ?? 0,
        until: untilUnixMs ?? Number.MAX_SAFE_INTEGER,
        limit: pageLimit(limit),
      })
    },
    choices: () => ({
      who: door.all<{ who: string }>('SELECT DISTINCT who FROM audit ORDER BY who').map((row) => row.who),
      actions: door.all<{ action: string }>('SELECT DISTINCT action FROM audit ORDER BY action').map((row) => row.action),
    }),
  }
}

/** A setting's value as it is stored; undefined where there is none. */
export function readSetting(door: Door, key: string): string | undefined {
  return door.get<{ value: string }>('SELECT value FROM setting WHERE key = ?', [key])?.value
}

/** Stores a setting in the place of any earlier one, within whatever transaction is open. */
export function storeSetting(door: Door, { key, value }: { readonly key: string; readonly value: string }, nowUnixMs: number): void {
  const sql = `INSERT INTO setting (key, value, changed_unix_ms) VALUES (?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, changed_unix_ms = excluded.changed_unix_ms`
  door.run(sql, [key, value, nowUnixMs])
}

/** Takes a setting away, within whatever transaction is open. */
export function removeSetting(door: Door, key: string): void {
  door.run('DELETE FROM setting WHERE key = ?', [key])
}

/** Settings as stored behind `door`. */
export function createSettings(door: Door, clock: Clock): Settings {
  return {
    get: (key) => readSetting(door, key),
    all: () => Object.fromEntries(door.all<{ key: string; value: string }>('SELECT key, value FROM setting').map((s) => [s.key, s.value])),
    set: (key, value) => storeSetting(door, { key, value }, clock.nowUnixMs()),
    remove: (key) => removeSetting(door, key),
  }
}
