import { formatter } from './zone.ts'

/** Numbers and times as people read them. Undefined in, undefined out: the views show it as "unknown", never as 0. */

const GROUPED = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 })

/** Null, NaN and infinities are unknown. */
export const known = (value: number | null | undefined): number | undefined =>
  value === null || value === undefined || !Number.isFinite(value) ? undefined : value

/** 214,806 */
export function formatCount(value: number | null | undefined): string | undefined {
  const number = known(value)
  return number === undefined ? undefined : GROUPED.format(number)
}

/** Three digits that count: 0.213, 1.92, 13.4, 214. */
export function formatNumber(value: number | null | undefined): string | undefined {
  const number = known(value)
  if (number === undefined) return undefined
  const size = Math.abs(number)
  if (size >= 100 || number === 0) return GROUPED.format(number)
  return number.toFixed(size >= 10 ? 1 : size >= 0.095 ? 2 : 3)
}

/** Milliseconds as seconds without the unit, for columns that name it. */
export function formatSeconds(ms: number | null | undefined): string | undefined {
  const number = known(ms)
  return number === undefined ? undefined : formatNumber(number / 1000)
}

/** 38 %, 0.02 % */
export function formatPercent(ratio: number | null | undefined): string | undefined {
  const number = known(ratio)
  if (number === undefined) return undefined
  const percent = number * 100
  return `${percent === 0 || Math.abs(percent) >= 10 ? percent.toFixed(percent >= 99.5 || percent === 0 ? 0 : 1) : percent.toFixed(2)} %`
}

const SPANS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
] as const

/** 38 % */
export function formatPercentWhole(ratio: number | null | undefined): string | undefined {
  const number = known(ratio)
  return number === undefined ? undefined : `${Math.round(number * 100)} %`
}

/** 120 ms, 1.72 s, 3 min 4 s, 9 d 4 h */
export function formatDuration(ms: number | null | undefined): string | undefined {
  const number = known(ms)
  if (number === undefined) return undefined
  if (number < 1000) return `${number < 10 ? formatNumber(number) : Math.round(number)} ms`
  if (number < 60_000) return `${formatNumber(number / 1000)} s`
  const at = SPANS.findIndex(([, unitMs]) => number >= unitMs)
  const [unit, unitMs] = SPANS[at] ?? SPANS[0]
  const finer = SPANS[at + 1]
  const rest = finer === undefined ? 0 : Math.floor((number % unitMs) / finer[1])
  return `${Math.floor(number / unitMs)} ${unit}${finer === undefined || rest === 0 ? '' : ` ${rest} ${finer[0]}`}`
}

/** 6.2 GB */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB']
  const at = bytes < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3))
  return `${formatNumber(bytes / 1000 ** at)} ${units[at]}`
}

/** An instant in the visitor's zone, with UTC beside it for the title and the machine. */
export interface Instant {
  /** 22 Nov 14:03:22 */
  readonly text: string
  /** 2026-11-22T14:03:22.418Z */
  readonly utc: string
}

/** How instants are written, each in the zone of the visitor whose page is being made. */
const STYLES = {
  dayTime: { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' },
  long: {
    weekday: 'short',
    day: 'numeric',
    month: 'short',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    fractionalSecondDigits: 3,
    hourCycle: 'h23',
  },
  clock: { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
  day: { weekday: 'short', day: 'numeric' },
  date: { day: 'numeric', month: 'short', year: 'numeric' },
} as const satisfies Readonly<Record<string, Intl.DateTimeFormatOptions>>

const written = (style: keyof typeof STYLES, unixMs: number): string => formatter(style, STYLES[style]).format(unixMs).replaceAll(',', '')

const utc = (unixMs: number): string => new Date(unixMs).toISOString()

/** 22 Nov 14:03:22 */
export const formatInstant = (unixMs: number): Instant => ({ text: written('dayTime', unixMs), utc: utc(unixMs) })

/** Sun 22 Nov 2026 14:03:22.418 */
export const formatInstantLong = (unixMs: number): Instant => ({ text: written('long', unixMs), utc: utc(unixMs) })

/** 22 Nov 2026 */
export const formatDate = (unixMs: number): Instant => ({ text: written('date', unixMs), utc: utc(unixMs) })

/** 14:03 */
export const formatClock = (unixMs: number): string => written('clock', unixMs)

/** Sun 22 */
export const formatDay = (unixMs: number): string => written('day', unixMs)
