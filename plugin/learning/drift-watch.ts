import type { DriftDayRecord } from '../log/control/drift.ts'
import type { ModelRecord } from '../log/control/models.ts'
import { SET_ASIDE, type SetAsideSubject, TAKE_UP } from '../log/control/set-aside.ts'
import type { Control } from '../log/control.ts'
import { readOldestCall } from '../log/read/now.ts'
import type { Reader } from '../log/read/reader.ts'
import type { TimeRange } from '../log/read/traffic.ts'
import { DRIFT_CALLS_LEAST, type DriftReference, type DriftReport, describeDay, fallBackState, judgeDrift } from './drift.ts'
import { gatherDriftDay } from './drift-day.ts'

export interface DriftWatching {
  readonly control: Control
  readonly reader: Reader
  readonly nowUnixMs: number
  /** A pool places by the learned policy that ships: without a champion there is something to fall back from all the same. */
  readonly shippedPolicyServes: boolean
}

const DAY_MS = 86_400_000
/** Days that are looked at again where nobody did: a supervisor that was down for a week. */
const DAYS_BACK = 7
/** Who asks: intents and audit rows name it. */
export const DRIFT = 'drift'
const SHIPPED = 'shipped'

/**
 * Judges the days since the policy that serves was promoted, the running one so far included, against what it learned from; and asks the router to set it aside when it is out
 * of its depth on two of the last three days, or to take it up again when it no longer is. Whatever people decide stands until two more bad days.
 */
export async function watchDrift(parts: DriftWatching): Promise<void> {
  const { control, nowUnixMs } = parts
  const champion = control.models.withAlias('policy', 'champion')
  const subject = champion?.version ?? SHIPPED
  const reference = await referenceOf(parts, { champion, subject })
  if (!reference) return
  const beginUnixMs = Math.max(reference.toUnixMs, champion ? promotedUnixMs(control, champion) : 0)
  const today = Math.floor(nowUnixMs / DAY_MS) * DAY_MS
  const known = control.drift.days({ subject, limit: DAYS_BACK + 1 })
  for (let dayUnixMs = today - DAYS_BACK * DAY_MS; dayUnixMs <= today; dayUnixMs += DAY_MS) {
    const endUnixMs = dayUnixMs + DAY_MS
    if (endUnixMs <= beginUnixMs || isDone(known, dayUnixMs)) continue
    const range = { fromUnixMs: Math.max(dayUnixMs, beginUnixMs), toUnixMs: Math.min(endUnixMs, nowUnixMs) }
    const report = await judge(parts.reader, reference.known, range)
    const { level, calls, words, fallsBack, ...figures } = report
    control.drift.setDay({ subject, dayUnixMs, level, calls, words, fallsBack: fallsBack ? 1 : 0, numbers: JSON.stringify(figures) })
  }
  ask(parts, { champion, subject })
}

const isDone = (known: readonly DriftDayRecord[], dayUnixMs: number): boolean =>
  known.some((day) => day.dayUnixMs === dayUnixMs && day.judgedUnixMs >= dayUnixMs + DAY_MS)

/** A part of a day has other hours than a whole one, and so other loads and callers: only what was promised is held against it. */
async function judge(reader: Reader, reference: DriftReference, range: TimeRange): Promise<DriftReport> {
  const day = await gatherDriftDay(reader, range)
  const isWhole = range.toUnixMs - range.fromUnixMs >= DAY_MS
  return judgeDrift(reference, isWhole ? day : { ...day, features: new Map() })
}

interface Subject {
  readonly champion: ModelRecord | undefined
  readonly subject: string
}

/** What the subject may count on, worked out once: of the last day that it was trained on, else of its first. */
async function referenceOf(
  { control, reader, nowUnixMs }: DriftWatching,
  { champion, subject }: Subject,
): Promise<{ readonly toUnixMs: number; readonly known: DriftReference } | undefined> {
  const stored = control.drift.reference(subject)
  if (stored) return { toUnixMs: stored.toUnixMs, known: JSON.parse(stored.reference) as DriftReference }
  const first = champion ? promotedUnixMs(control, champion) : reader.read(readOldestCall)
  const ends = [...(champion ? [splitOf(champion)] : []), ...(first === undefined ? [] : [first + DAY_MS])]
  for (const toUnixMs of ends.filter((end) => end <= nowUnixMs)) {
    const range = { fromUnixMs: toUnixMs - DAY_MS, toUnixMs }
    const day = await gatherDriftDay(reader, range)
    if (day.calls < DRIFT_CALLS_LEAST) continue
    const known = describeDay(day)
    control.drift.setReference({ subject, ...range, reference: JSON.stringify(known) })
    return { toUnixMs, known }
  }
  return undefined
}

/** Calls before this moment trained it; Infinity where its card does not say. */
function splitOf({ card }: ModelRecord): number {
  const { data } = JSON.parse(card) as { readonly data?: { readonly splitUnixMs?: number } }
  return data?.splitUnixMs ?? Number.POSITIVE_INFINITY
}

function promotedUnixMs(control: Control, { modelId, registeredUnixMs }: ModelRecord): number {
  const promoted = control.models.history({ limit: 20, kind: 'policy' }).find((one) => one.modelId === modelId && one.action !== 'refused')
  return promoted?.atUnixMs ?? registeredUnixMs
}

function ask({ control, shippedPolicyServes }: DriftWatching, { champion, subject }: Subject): void {
  if (!champion && !shippedPolicyServes) return
  const aside = control.setAside()
  const takenUpUnixMs = control.takenUp()
  const days = control.drift
    .days({ subject, limit: DAYS_BACK + 1 })
    // A day of few calls says neither.
    .filter(({ dayUnixMs, calls }) => dayUnixMs + DAY_MS > takenUpUnixMs && calls >= DRIFT_CALLS_LEAST)
    .slice(0, 3)
    .reverse()
  const { fallsBack } = fallBackState(days.map((day) => ({ fallsBack: day.fallsBack === 1 })))
  const kind = fallsBack && !aside ? SET_ASIDE : !fallsBack && aside?.by === DRIFT ? TAKE_UP : undefined
  if (kind === undefined || control.intents.open([SET_ASIDE, TAKE_UP]).length > 0) return
  const rule = champion && bestRuleOf(control, champion)
  const bad = days.findLast((day) => day.fallsBack === 1)
  const why = kind === SET_ASIDE ? `${bad?.words ?? ''}, on two of the last three days` : 'what it promises comes again'
  control.intents.append({ kind, subject: { why, ...(rule === undefined ? {} : { rule }) } satisfies SetAsideSubject, askedBy: DRIFT })
}

/** The best heuristic of the night that judged the model. */
function bestRuleOf(control: Control, { modelId }: ModelRecord): string | undefined {
  const [verdict] = control.models.verdicts(modelId)
  const { bestRule } = JSON.parse(verdict?.numbers ?? '{}') as { readonly bestRule?: string }
  // 'least-kv + kv-time' is a rule with an order: holding stays as the pool is configured.
  return bestRule?.split(' + ')[0]
}
