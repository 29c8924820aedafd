import type { Door } from './door.ts'

/** Who switched Phasewise off and when. */
export interface SwitchedOff {
  readonly by: string
  readonly sinceUnixMs: number
}

/** The setting that holds it, as JSON. */
const KEY = 'switch.off'

/** Reads who switched Phasewise off; undefined while it is on. */
export function readSwitchedOff(door: Door): SwitchedOff | undefined {
  const value = door.get<{ value: string }>('SELECT value FROM setting WHERE key = ?', [KEY])?.value
  return value === undefined ? undefined : (JSON.parse(value) as SwitchedOff)
}

/** Remembers a turn of the switch that was obeyed; other kinds of intent are left alone. */
export function rememberSwitch(
  door: Door,
  { kind, askedBy }: { readonly kind: string; readonly askedBy: string },
  nowUnixMs: number,
): void {
  if (kind === 'switch on') door.run('DELETE FROM setting WHERE key = ?', [KEY])
  if (kind !== 'switch off') return
  const value = JSON.stringify({ by: askedBy, sinceUnixMs: nowUnixMs } satisfies SwitchedOff)
  const sql = 'INSERT INTO setting (key, value, changed_unix_ms) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING'
  door.run(sql, [KEY, value, nowUnixMs])
}
