import type { Door } from './door.ts'

/** An instance that is not what it was, as the router noticed. */
export interface InstanceChange {
  readonly pool: string
  readonly instance: string
  /** Its time per token over what it was at the same load; below 1: faster. */
  readonly factor: number
  readonly words: string
  /** When it began, as estimated. */
  readonly sinceUnixMs: number
  readonly noticedUnixMs: number
}

/** The intent by which people say that a changed instance is to be taken for what it is now. */
export const ACCEPT_CHANGE = 'accept change'

/** Changes that hold, in order of pool and name. */
export function listInstanceChanges(door: Door): InstanceChange[] {
  return door.all<InstanceChange>(
    `SELECT pool, instance, factor, words, since_unix_ms AS sinceUnixMs, noticed_unix_ms AS noticedUnixMs
     FROM instance_change ORDER BY pool, instance`,
  )
}

/** Remembers a change in the place of any earlier one of the instance. */
export function rememberInstanceChange(door: Door, change: InstanceChange): void {
  const { pool, instance, factor, words, sinceUnixMs, noticedUnixMs } = change
  const sql = `INSERT OR REPLACE INTO instance_change (pool, instance, factor, words, since_unix_ms, noticed_unix_ms) VALUES (?, ?, ?, ?, ?, ?)`
  door.run(sql, [pool, instance, factor, words, Math.floor(sinceUnixMs), Math.floor(noticedUnixMs)])
}

/** Forgets a change; false where there was none. */
export function forgetInstanceChange(door: Door, { pool, instance }: Pick<InstanceChange, 'pool' | 'instance'>): boolean {
  return door.run('DELETE FROM instance_change WHERE pool = ? AND instance = ?', [pool, instance]).changes > 0
}
