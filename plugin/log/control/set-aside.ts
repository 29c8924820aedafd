import { addAudit, readSetting, removeSetting, storeSetting } from './audit.ts'
import type { Door } from './door.ts'
import { addNotice } from './notices.ts'

/** The learned policy was set aside: the best rule that is known places in its stead. */
export interface SetAside {
  readonly by: string
  readonly sinceUnixMs: number
  readonly why: string
  /** The rule that places, where one is named; else what the configuration names. */
  readonly rule?: string
}

/** The intents that set the learned policy aside and take it up again. */
export const SET_ASIDE = 'set aside'
export const TAKE_UP = 'take up'

/** What the intent `set aside` says. */
export type SetAsideSubject = Pick<SetAside, 'why' | 'rule'>

/** The settings that hold it, and when it was last taken up again, as JSON. */
const KEY = 'policy.setAside'
const TAKEN_UP_KEY = 'policy.takenUp'

/** Who set the learned policy aside and why; undefined while it may decide. */
export function readSetAside(door: Door): SetAside | undefined {
  const value = readSetting(door, KEY)
  return value === undefined ? undefined : (JSON.parse(value) as SetAside)
}

/** When the learned policy was last taken up again; 0 where it never was. */
export function readTakenUp(door: Door): number {
  return Number(readSetting(door, TAKEN_UP_KEY) ?? 0)
}

/** Remembers what the router obeyed, with audit row and notice; other kinds of intent are left alone. A policy that is put in anew is not set aside. */
export function rememberSetAside(
  door: Door,
  { kind, subject, askedBy }: { readonly kind: string; readonly subject: unknown; readonly askedBy: string },
  nowUnixMs: number,
): void {
  if (kind === 'serve' && (subject as { readonly kind?: unknown }).kind === 'policy') removeSetting(door, KEY)
  if (kind !== SET_ASIDE && kind !== TAKE_UP) return
  const { why, rule } = subject as SetAsideSubject
  if (kind === SET_ASIDE) {
    const value: SetAside = { by: askedBy, sinceUnixMs: nowUnixMs, why, ...(rule === undefined ? {} : { rule }) }
    storeSetting(door, { key: KEY, value: JSON.stringify(value) }, nowUnixMs)
  } else {
    removeSetting(door, KEY)
    storeSetting(door, { key: TAKEN_UP_KEY, value: String(nowUnixMs) }, nowUnixMs)
  }
  addAudit(door, { who: askedBy, address: '', action: kind, subject: 'learned policy', after: why }, nowUnixMs)
  const isAside = kind === SET_ASIDE
  const text = isAside ? `The learned policy is set aside: ${why}` : `The learned policy decides again: ${why}`
  addNotice(door, { tone: isAside ? 'bad' : 'good', text, href: '/models#drift' }, nowUnixMs)
}
