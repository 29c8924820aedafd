import { createRng } from '../rng.ts'
import type { Profile } from '../simulation/profiles.ts'
import { type EngineTimes, playEngine } from './play-engine.ts'
import { type Frame, type Point, profileAt } from './profile-law.ts'
import type { InstanceLog } from './profile-rows.ts'

/** Beyond so many spreads a residual pulls no harder (Huber, 1964). */
const HUBER = 1.345
/** Relative error below which residuals are taken for measuring noise. */
const SPREAD_LEAST = 0.003
/** Groups by which residuals are averaged: stretches of time, lengths of prompt and answer, calls under way, prompts of calls that met few others. */
export const GROUPS = 12
const GROUPINGS = 5
/** Of each group's residuals this share is left out at either end: one call in ten may be absurd. */
const TRIMMED = 0.15
/** Pairs whose ratio lies further than this (ln) from the usual one are left out of the means of stretches. */
const HELD = 1.5
/** A logged TTFT of 0 must not be infinitely wrong. */
const FLOOR_MS = 1

/** What a point leaves unexplained, one value per group of calls, kind of time and log, ln; and what each counts. */
export interface Residuals {
  readonly values: Float64Array
  readonly weights: Float64Array
}

/** Plays the logs at a point. With `spreads` each residual counts by what chance alone does to it. */
export function residualsAt(frame: Frame, point: Point, logs: readonly InstanceLog[], spreads?: Float64Array): Residuals {
  const { profile, overheadMs } = profileAt(frame, point)
  const parts = logs.map((log, i) => residualsOf(profile, overheadMs, log, spreads?.subarray(i * PER_LOG, (i + 1) * PER_LOG)))
  const values = Float64Array.from(parts.flatMap((part) => Array.from(part.values)))
  const weights = Float64Array.from(parts.flatMap((part) => Array.from(part.weights)))
  return { values, weights }
}

const KINDS = 3
const PER_KIND = GROUPINGS * GROUPS + GROUPS
const PER_LOG = KINDS * PER_KIND

function residualsOf(profile: Profile, overheadMs: number, log: InstanceLog, spreads?: Float64Array): Residuals {
  const times = playEngine(profile, log.calls)
  const groups = groupsOf(log)
  const values = new Float64Array(KINDS * PER_KIND)
  const weights = new Float64Array(values.length)
  for (let kind = 0; kind < KINDS; kind++) {
    const pairs = pairsOf(kind, { log, times, overheadMs })
    const at = kind * PER_KIND
    for (const [g, grouping] of groups.entries()) writeTrimmed(pairs, grouping, { values, weights, at: at + g * GROUPS })
    writeMeans(pairs, groups[0] as Uint8Array, { values, weights, at: at + GROUPINGS * GROUPS })
    robust(values.subarray(at, at + PER_KIND), weights.subarray(at, at + PER_KIND), spreads?.subarray(at, at + PER_KIND))
  }
  return { values, weights }
}

interface Pairs {
  readonly played: Float64Array
  readonly logged: Float64Array
  /** ln(played ÷ logged); NaN where one is unknown. */
  readonly ratio: Float64Array
}

function pairsOf(kind: number, given: { readonly log: InstanceLog; readonly times: EngineTimes; readonly overheadMs: number }): Pairs {
  const { log, times, overheadMs } = given
  const count = log.judged.length
  const pairs: Pairs = { played: new Float64Array(count), logged: new Float64Array(count), ratio: new Float64Array(count).fill(Number.NaN) }
  for (let i = 0; i < count; i++) {
    if (log.judged[i] === 0 || (kind === 1 && (log.calls.outputTokens[i] as number) < 2)) continue
    const [ttftMs, e2eMs] = [times.ttftMs[i] as number, times.e2eMs[i] as number]
    const played = kind === 0 ? ttftMs + overheadMs : kind === 1 ? e2eMs - ttftMs : e2eMs + overheadMs
    const logged = kind === 0 ? (log.ttftMs[i] as number) : (log.e2eMs[i] as number) - (kind === 1 ? (log.ttftMs[i] as number) : 0)
    if (!(played >= 0) || !(logged >= 0)) continue
    pairs.played[i] = played
    pairs.logged[i] = logged
    pairs.ratio[i] = Math.log((played + FLOOR_MS) / (logged + FLOOR_MS))
  }
  return pairs
}

interface Into {
  readonly values: Float64Array
  readonly weights: Float64Array
  readonly at: number
}

function writeTrimmed({ ratio }: Pairs, grouping: Uint8Array, { values, weights, at }: Into): void {
  const groups = Array.from({ length: GROUPS }, (): number[] => [])
  for (let i = 0; i < ratio.length; i++) if (!Number.isNaN(ratio[i])) groups[grouping[i] as number]?.push(ratio[i] as number)
  groups.forEach((own, g) => {
    if (own.length < 10) return
    const sorted = Float64Array.from(own).sort()
    const cut = Math.floor(TRIMMED * sorted.length)
    const kept = sorted.subarray(cut, sorted.length - cut)
    values[at + g] = kept.reduce((sum, one) => sum + one, 0) / kept.length
    weights[at + g] = 1
  })
}

function writeMeans({ played, logged, ratio }: Pairs, grouping: Uint8Array, { values, weights, at }: Into): void {
  const usual = medianOf(ratio)
  const sums = new Float64Array(2 * GROUPS)
  for (let i = 0; i < ratio.length; i++) {
    if (!(Math.abs((ratio[i] as number) - usual) <= HELD)) continue
    const g = 2 * (grouping[i] as number)
    sums[g] = (sums[g] as number) + (played[i] as number)
    sums[g + 1] = (sums[g + 1] as number) + (logged[i] as number)
  }
  for (let g = 0; g < GROUPS; g++) {
    const [own, other] = [sums[2 * g] as number, sums[2 * g + 1] as number]
    if (!(own > 0 && other > 0)) continue
    values[at + g] = Math.log(own / other)
    weights[at + g] = 1
  }
}

function medianOf(values: Float64Array): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort()
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}

const grouped = new WeakMap<InstanceLog, readonly Uint8Array[]>()

/** Which group each call is in, by time, prompt, answer and calls under way at its dispatch: the same for every point. */
function groupsOf(log: InstanceLog): readonly Uint8Array[] {
  const known = grouped.get(log)
  if (known) return known
  const { dispatchedMs, promptTokens, outputTokens } = log.calls
  const underWay = new Float64Array(dispatchedMs.length)
  let open: number[] = []
  for (let i = 0; i < underWay.length; i++) {
    const nowMs = dispatchedMs[i] as number
    open = open.filter((endMs) => endMs > nowMs)
    underWay[i] = open.length
    open.push(nowMs + (log.e2eMs[i] as number))
  }
  const made = [dispatchedMs, promptTokens, outputTokens, underWay].map((by) => quantileGroups(by))
  // Queues drown what a prompt itself takes; the third of the calls that met the fewest others shows it.
  const calm = made[3] as Uint8Array
  const alone = Float64Array.from(promptTokens, (tokens, i) => ((calm[i] as number) < GROUPS / 3 ? tokens : Number.NaN))
  made.push(quantileGroups(alone))
  grouped.set(log, made)
  return made
}

function quantileGroups(by: ArrayLike<number>): Uint8Array {
  const order = Array.from({ length: by.length }, (_, i) => i)
    .filter((i) => !Number.isNaN(by[i]))
    .sort((a, b) => (by[a] as number) - (by[b] as number) || a - b)
  const groups = new Uint8Array(by.length).fill(GROUPS)
  order.forEach((i, rank) => {
    groups[i] = Math.min(GROUPS - 1, Math.floor((GROUPS * rank) / order.length))
  })
  return groups
}

/** Turns the marks in `weights` into Huber weights, over the square of what chance does to each residual. */
function robust(values: Float64Array, weights: Float64Array, spreads: Float64Array | undefined): void {
  const unitOf = (i: number): number => (spreads ? Math.hypot(SPREAD_LEAST, spreads[i] as number) : 1)
  const sizes = values
    .map((value, i) => (weights[i] === 0 ? Number.NaN : Math.abs(value) / unitOf(i)))
    .filter((size) => !Number.isNaN(size))
    .sort()
  const spread = Math.max(spreads ? 1 : SPREAD_LEAST, 1.4826 * (sizes[Math.floor(sizes.length / 2)] ?? 0))
  for (let i = 0; i < values.length; i++) {
    if (weights[i] === 0) continue
    const size = Math.abs(values[i] as number) / unitOf(i)
    weights[i] = Math.min(1, (HUBER * spread) / Math.max(1e-9, size)) / (PER_KIND * unitOf(i) ** 2)
  }
}

/** Weighted mean square: what the search lowers. Weights follow the residuals, so that one that lies far out costs by its distance, not by its square. */
export function costOf({ values, weights }: Residuals): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += (weights[i] as number) * (values[i] as number) ** 2
  return sum
}

/** Cost of a profile as it is, on the same scale as `Fit.cost`. */
export function costAt(frame: Frame, point: Point, logs: readonly InstanceLog[], spreads?: Float64Array): number {
  return costOf(residualsAt(frame, point, logs, spreads))
}

/** Plays by which chance is measured. */
const CHANCE_PLAYS = 6

/**
 * What chance does to each residual. A full engine amplifies: half a millisecond decides who is admitted first, and so what hundreds of calls wait, so that some groups scatter by 10 %
 * whatever the law is, others by 0.1 %. Measured by playing the calls with arrivals moved within the millisecond to which a log rounds them.
 */
export function spreadsAt(frame: Frame, point: Point, logs: readonly InstanceLog[]): Float64Array {
  const dice = createRng(1).stream('moved arrivals')
  const plays = Array.from({ length: CHANCE_PLAYS }, () => {
    const moved = logs.map((log) => {
      const dispatchedMs = log.calls.dispatchedMs.map((atMs) => atMs + dice.next()).sort()
      const other = { ...log, calls: { ...log.calls, dispatchedMs } }
      grouped.set(other, groupsOf(log))
      return other
    })
    return residualsAt(frame, point, moved).values
  })
  return Float64Array.from(plays[0] as Float64Array, (_, i) => {
    const own = plays.map((values) => values[i] as number)
    const mean = own.reduce((sum, one) => sum + one, 0) / own.length
    return Math.sqrt(own.reduce((sum, one) => sum + (one - mean) ** 2, 0) / (own.length - 1))
  })
}
