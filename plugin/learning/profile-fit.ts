import { solveSymmetric } from '../call/solve.ts'
import type { Profile } from '../simulation/profiles.ts'
import { type EngineTimes, playEngine } from './play-engine.ts'
import { COEFFICIENTS, type Frame, type Point, profileAt } from './profile-law.ts'
import type { InstanceLog } from './profile-rows.ts'
import { moved, type NormalEquations } from './profile-step.ts'

/** A fitted point with what it leaves unexplained. */
export interface Fit {
  readonly frame: Frame
  readonly point: Point
  readonly cost: number
  /** Standard error of each coefficient, in the frame's units; NaN where the log cannot tell. */
  readonly errors: Float64Array
}

/** Rounds of the search; each plays the log twice per coefficient and a few times more. */
export const ROUNDS = 14
/**
 * Step of the numerical derivatives to either side, in units of the coefficient or, where larger, its own size: about a hundredth of a step's time, large beside the jitter that
 * scheduling gives the groups' means. Chosen with `npm run bench -- trust --only calibrated`: noise in the derivatives looks like curvature and stops the search in the long
 * valley where one coefficient stands in for another.
 */
const STEP = 0.12
/** Beyond so many spreads a residual pulls no harder (Huber, 1964). */
const HUBER = 1.345
/** Relative error below which residuals are taken for measuring noise. */
const SPREAD_LEAST = 0.003
/** Groups by which residuals are averaged: stretches of time, lengths of prompt and answer, calls under way. */
const GROUPS = 12
const GROUPINGS = 4
/** Of each group's residuals this share is left out at either end: one call in ten may be absurd. */
const TRIMMED = 0.15
/** Pairs whose ratio lies further than this (ln) from the usual one are left out of the means of stretches. */
const HELD = 1.5
/** A logged TTFT of 0 must not be infinitely wrong. */
const FLOOR_MS = 1

interface Residuals {
  readonly values: Float64Array
  readonly weights: Float64Array
}

/**
 * Levenberg (1944) and Marquardt (1963) on the step law: the calls are played through the engine with the placements that were made, and derivatives are taken by playing
 * again. A microsecond can put a call into another step, so that single calls scatter whatever the coefficients are; residuals are therefore
 * trimmed means of ln(played ÷ logged) over groups of calls, for TTFT, decoding and E2E, and ln of the ratio of the means over stretches of time. Huber weights.
 */
export function fitPoint(frame: Frame, start: Point, logs: readonly InstanceLog[], rounds = ROUNDS): Fit {
  let point = start.slice()
  let here = residualsAt(frame, point, logs)
  let cost = costOf(here)
  let damping = 1e-2
  let normal: Float64Array = new Float64Array(0)
  for (let round = 0; round < rounds; round++) {
    const step = normalEquations({ frame, point, logs, here })
    normal = step.normal
    let improved = false
    for (let attempt = 0; attempt < 5 && !improved; attempt++) {
      const trial = moved(point, step, damping)
      const there = residualsAt(frame, trial, logs)
      const trialCost = costOf(there)
      improved = trialCost < cost
      damping = improved ? Math.max(1e-4, damping / 5) : damping * 6
      if (!improved) continue
      const gained = 1 - trialCost / cost
      point = trial
      here = there
      cost = trialCost
      if (gained < 1e-4) return { frame, point, cost, errors: errorsOf(normal, here) }
    }
    if (!improved) break
  }
  return { frame, point, cost, errors: errorsOf(normal, here) }
}

/** Cost of a profile as it is, on the same scale as `Fit.cost`. */
export function costAt(frame: Frame, point: Point, logs: readonly InstanceLog[]): number {
  return costOf(residualsAt(frame, point, logs))
}

interface Tried {
  readonly at: number
  readonly values: Float64Array
}

function normalEquations(given: {
  readonly frame: Frame
  readonly point: Point
  readonly logs: readonly InstanceLog[]
  readonly here: Residuals
}): NormalEquations {
  const { frame, point, logs, here } = given
  const width = COEFFICIENTS.length
  const slopes = Array.from({ length: width }, (_, a) => {
    const step = STEP * Math.max(point[a] as number, 1)
    const [above, below] = [1, -1].map((sign) => {
      const trial = point.slice()
      trial[a] = Math.max(0, (point[a] as number) + sign * step)
      return { at: trial[a] as number, values: trial[a] === point[a] ? here.values : residualsAt(frame, trial, logs).values }
    }) as [Tried, Tried]
    return above.values.map((value, i) => (value - (below.values[i] as number)) / (above.at - below.at))
  })
  const normal = new Float64Array(width * width)
  const gradient = new Float64Array(width)
  for (let i = 0; i < here.values.length; i++) {
    const weight = here.weights[i] as number
    if (weight === 0) continue
    for (let a = 0; a < width; a++) {
      const slope = (slopes[a] as Float64Array)[i] as number
      gradient[a] = (gradient[a] as number) + weight * slope * (here.values[i] as number)
      for (let b = 0; b <= a; b++)
        normal[a * width + b] = (normal[a * width + b] as number) + weight * slope * ((slopes[b] as Float64Array)[i] as number)
    }
  }
  for (let a = 0; a < width; a++) for (let b = 0; b < a; b++) normal[b * width + a] = normal[a * width + b] as number
  return { normal, gradient }
}

function residualsAt(frame: Frame, point: Point, logs: readonly InstanceLog[]): Residuals {
  const { profile, overheadMs } = profileAt(frame, point)
  const parts = logs.map((log) => residualsOf(profile, overheadMs, log))
  const values = Float64Array.from(parts.flatMap((part) => Array.from(part.values)))
  const weights = Float64Array.from(parts.flatMap((part) => Array.from(part.weights)))
  return { values, weights }
}

const KINDS = 3
const PER_KIND = GROUPINGS * GROUPS + GROUPS

function residualsOf(profile: Profile, overheadMs: number, log: InstanceLog): Residuals {
  const times = playEngine(profile, log.calls)
  const groups = groupsOf(log)
  const values = new Float64Array(KINDS * PER_KIND)
  const weights = new Float64Array(values.length)
  for (let kind = 0; kind < KINDS; kind++) {
    const pairs = pairsOf(kind, { log, times, overheadMs })
    const at = kind * PER_KIND
    for (const [g, grouping] of groups.entries()) writeTrimmed(pairs, grouping, { values, weights, at: at + g * GROUPS })
    writeMeans(pairs, groups[0] as Uint8Array, { values, weights, at: at + GROUPINGS * GROUPS })
    robust(values.subarray(at, at + PER_KIND), weights.subarray(at, at + PER_KIND), 1 / PER_KIND)
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
  grouped.set(log, made)
  return made
}

function quantileGroups(by: ArrayLike<number>): Uint8Array {
  const order = Array.from({ length: by.length }, (_, i) => i).sort((a, b) => (by[a] as number) - (by[b] as number) || a - b)
  const groups = new Uint8Array(by.length)
  order.forEach((i, rank) => {
    groups[i] = Math.min(GROUPS - 1, Math.floor((GROUPS * rank) / by.length))
  })
  return groups
}

/** Turns the marks in `weights` into Huber weights times `share`. */
function robust(values: Float64Array, weights: Float64Array, share: number): void {
  const sizes = values
    .filter((_, i) => weights[i] !== 0)
    .map(Math.abs)
    .sort()
  const spread = Math.max(SPREAD_LEAST, 1.4826 * (sizes[Math.floor(sizes.length / 2)] ?? 0))
  for (let i = 0; i < values.length; i++) {
    if (weights[i] === 0) continue
    weights[i] = share * Math.min(1, (HUBER * spread) / Math.max(1e-9, Math.abs(values[i] as number)))
  }
}

/** Weighted mean square: what the search lowers. Weights follow the residuals, so that one that lies far out costs by its distance, not by its square. */
function costOf({ values, weights }: Residuals): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += (weights[i] as number) * (values[i] as number) ** 2
  return sum
}

/** From the curvature and the unexplained rest; calls that share queues are not independent: a group counts as one. */
function errorsOf(normal: Float64Array, here: Residuals): Float64Array {
  const width = COEFFICIENTS.length
  const errors = new Float64Array(width).fill(Number.NaN)
  if (normal.length === 0) return errors
  const rest = costOf(here) / GROUPS
  for (let a = 0; a < width; a++) {
    const lower = normal.slice()
    for (let b = 0; b < width; b++) lower[b * width + b] = (lower[b * width + b] as number) * (1 + 1e-6) + 1e-9
    const unit = new Float64Array(width)
    unit[a] = 1
    errors[a] = Math.sqrt(Math.max(0, solveSymmetric(lower, unit)[a] as number) * rest)
  }
  return errors
}
