import type { Model } from '../../answer.ts'
import { formatCount, formatDuration, formatNumber, formatPercent } from '../../format.ts'

/** A measured value with its 95 % interval, as cards and verdicts hold it. */
export type Triple = readonly [value: number, low: number, high: number]

/** One measure of a card or verdict by its path, e.g. "measured.values.spearman". */
export interface Measure {
  readonly name: string
  readonly value: number
  readonly low: number | undefined
  readonly high: number | undefined
}

const isTriple = (value: unknown): value is Triple =>
  Array.isArray(value) && value.length === 3 && value.every((one) => typeof one === 'number')

/** The members of a value that somebody else wrote; {} where it has none. */
export const membersOf = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Readonly<Record<string, unknown>>) : {}

/** JSON that somebody else wrote; {} where it is none. */
export function parsedObject(text: string): Readonly<Record<string, unknown>> {
  try {
    return membersOf(JSON.parse(text))
  } catch {
    // Shown as having no content; the raw text stands on the page besides.
    return {}
  }
}

/** Every number in `value`, triples with their interval, lists of rows left out; at most MEASURES_MAX. */
export function measuresOf(value: unknown, path = ''): Measure[] {
  if (isTriple(value)) return [{ name: path, value: value[0], low: value[1], high: value[2] }]
  if (typeof value === 'number') return [{ name: path, value, low: undefined, high: undefined }]
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return []
  const below = Object.entries(value).flatMap(([key, one]) => measuresOf(one, path === '' ? key : `${path}.${key}`))
  return below.slice(0, MEASURES_MAX)
}

/** A page shows no more. */
const MEASURES_MAX = 120

/** Measures whose own name would tell too little. */
const WORDS: Readonly<Record<string, string>> = {
  heldOutCalls: 'later calls judged on',
  gain: 'gain over what serves',
  gainNats: 'gain over what serves, nats per answer',
  gainVsLeastRequest: 'gain over least-request',
  gainVsBestRule: 'gain over the best rule',
  ttftP99Ratio: 'TTFT p99 over that of what serves',
  ttftP99VsLeastRequest: 'TTFT p99 over that of least-request',
  largestShare: 'largest share of one instance',
  servingShare: 'the same under what serves',
  lostMore: 'calls lost more than by what serves',
  twinError: 'error of the twin on calls as they were served',
  replays: 'plays in the twin',
  effective: 'effective decisions',
  spread: 'scatter of blocks',
  championScore: 'surprise of what serves, nats per answer',
  challengerScore: 'surprise of this version, nats per answer',
  coveragePoints: 'stated intervals off at worst, points',
  peakMiB: 'memory at most, MiB',
}

/** "medianAccuracy" as "median accuracy"; the groups "measured.values" say nothing. */
export function measureWords(name: string): string {
  const own = name.replace(/^(measured|values|evaluation|numbers)\./g, '').replace(/^values\./, '')
  const split = (word: string): string =>
    word.replace(/Ms$/, '').replace(/([a-z0-9])([A-Z])/g, (_, before: string, after: string) => `${before} ${after.toLowerCase()}`)
  return own
    .split('.')
    .map((word) => WORDS[word] ?? split(word))
    .join(': ')
}

/** Names of shares, which read better in percent. */
const SHARES = /gain|ratio|share|accuracy|coverage|agreement|spread|twinError|Vs[A-Z]/i

/** The measure's value as it is read. */
export function measureText(name: string, value: number | undefined): string {
  if (/Ms$/.test(name)) return formatDuration(value) ?? '–'
  const isShare = SHARES.test(name) && !/nats|points/i.test(name) && value !== undefined && Math.abs(value) <= 1.5
  if (isShare) return formatPercent(value) ?? '–'
  return (Number.isInteger(value) ? formatCount(value) : formatNumber(value)) ?? '–'
}

/** Lines of a table, `other` beside where given. */
export function measureRows(own: readonly Measure[], other?: readonly Measure[]): Model[] {
  const theirs = new Map((other ?? []).map((one) => [one.name, one]))
  return own.map((one) => {
    const beside = theirs.get(one.name)
    return {
      name: measureWords(one.name),
      value: measureText(one.name, one.value),
      range: one.low === undefined ? undefined : `${measureText(one.name, one.low)} to ${measureText(one.name, one.high)}`,
      other: beside === undefined ? undefined : measureText(beside.name, beside.value),
      change: beside === undefined || beside.value === 0 ? undefined : formatPercent(one.value / beside.value - 1),
    }
  })
}

/** Facts of a card that are neither numbers with intervals nor lists: what it was made from, and by which command. */
export function cardFacts(card: Readonly<Record<string, unknown>>): Model[] {
  return Object.entries(card).flatMap(([name, value]) =>
    typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
      ? [{ name: measureWords(name), text: String(value) }]
      : [],
  )
}
