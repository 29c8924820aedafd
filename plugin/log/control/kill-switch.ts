import { readSetting, removeSetting, storeSetting } from './audit.ts'
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
  const value = readSetting(door, KEY)
  return value === undefined ? undefined : (JSON.parse(value) as SwitchedOff)
}

/** Remembers a turn of the switch that was obeyed; other kinds of intent are left alone. */
export function rememberSwitch(
  door: Door,
  { kind, askedBy }: { readonly kind: string; readonly askedBy: string },
  nowUnixMs: number,
): void {
  if (kind === 'switch on') removeSetting(door, KEY)
  // Who switched it off first stands there.
  if (kind !== 'switch off' || readSetting(door, KEY) !== undefined) return
  const value = JSON.stringify({ by: askedBy, sinceUnixMs: nowUnixMs } satisfies SwitchedOff)
  storeSetting(door, { key: KEY, value }, nowUnixMs)
}
