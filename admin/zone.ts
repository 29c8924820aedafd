import { AsyncLocalStorage } from 'node:async_hooks'

/**
 * The zone that times are shown and read in: the visitor's, told by a cookie that the small script sets or the Access page; the server's until then.
 * It is carried beside the request, since every page shows times and none decides by the zone.
 */
const zones = new AsyncLocalStorage<string>()

const SERVER_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone

/** Zones by name, as the runtime knows them. */
export const ZONES: readonly string[] = ['UTC', ...Intl.supportedValuesOf('timeZone').filter((name) => name !== 'UTC')]

/** Runs `work`, and what it awaits, in this zone; in the server's where it is none that is known. */
export function inZone<T>(zone: string | undefined, work: () => T): T {
  return zones.run(isZone(zone) ? zone : SERVER_ZONE, work)
}

/** The zone that times are shown in, e.g. "UTC" or "Europe/Berlin". */
export const zoneName = (): string => zones.getStore() ?? SERVER_ZONE

/** The runtime knows a zone of this name. */
export function isZone(name: string | undefined): name is string {
  return name !== undefined && /^[A-Za-z][\w+/-]{1,63}$/.test(name) && (KNOWN.has(name) || isKnown(name))
}

const KNOWN = new Set(ZONES)

/** Browsers may know older names of a zone (Asia/Calcutta): the runtime reads those too. */
function isKnown(name: string): boolean {
  try {
    return Intl.DateTimeFormat('en-GB', { timeZone: name }).resolvedOptions().timeZone !== ''
  } catch (cause) {
    if (cause instanceof RangeError) return false
    throw cause
  }
}

const formatters = new Map<string, Intl.DateTimeFormat>()
/** A formatter costs some 50 µs and 20 kB; a company's visitors sit in a few zones, and a guesser in at most so many. */
const FORMATTERS_MAX = 400

/** The formatter of this name in the present zone, made once per zone. */
export function formatter(name: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${name} ${zoneName()}`
  let known = formatters.get(key)
  if (known === undefined) {
    if (formatters.size >= FORMATTERS_MAX) formatters.clear()
    known = new Intl.DateTimeFormat('en-GB', { ...options, timeZone: zoneName() })
    formatters.set(key, known)
  }
  return known
}

const LOCAL = /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,3})?)?)?$/

/**
 * Unix ms of a time as a form or a person gives it: with a zone of its own (…Z, …+02:00) as it says, else in the present zone. Undefined
 * when it is no time. Of an hour that a change of clocks skips or repeats, one of the two that it may mean.
 */
export function parseInstant(text: string): number | undefined {
  const local = LOCAL.exec(text.trim())
  if (local === null) {
    const value = /\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text.trim()) : Number.NaN
    return Number.isNaN(value) ? undefined : value
  }
  const [year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0] = local.slice(1).map((part) => Number(part ?? 0))
  const asIfUtc = Date.UTC(year, month - 1, day, hour, minute, second)
  if (new Date(asIfUtc).getUTCDate() !== day || hour > 23 || minute > 59 || second > 59) return undefined
  // Twice: the offset may be another on the other side of a change of clocks.
  const once = asIfUtc - offsetMs(asIfUtc)
  return asIfUtc - offsetMs(once)
}

const OFFSET = { timeZoneName: 'longOffset' } as const

/** How far the present zone's clocks are ahead of UTC then, ms. */
function offsetMs(unixMs: number): number {
  const name =
    formatter('offset', OFFSET)
      .formatToParts(unixMs)
      .find((part) => part.type === 'timeZoneName')?.value ?? ''
  const [, sign = '+', hours = '0', minutes = '0', seconds = '0'] = /GMT([+-])(\d\d):(\d\d)(?::(\d\d))?/.exec(name) ?? []
  return (sign === '-' ? -1 : 1) * ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1000
}

/** An instant as a field for date and time holds it, in the present zone: 2026-11-22T14:03. */
export const localInput = (unixMs: number): string => new Date(unixMs + offsetMs(unixMs)).toISOString().slice(0, 16)
