import { scaleLaw } from '../impact/engine-shape.ts'
import type { MachineSpec } from '../simulation/fleet/machine.ts'
import type { ServedInstance } from '../simulation/log-replay/traffic.ts'
import { KV_BLOCK_TOKENS, type Profile, profileNamed } from '../simulation/profiles.ts'
import { percent } from './percent.ts'
import { errorsOfProfile, HELD_OUT_RATIO, type HeldOutErrors } from './profile-errors.ts'
import { type Fit, fitPoint } from './profile-fit.ts'
import { COEFFICIENTS, type Coefficient, profileAt } from './profile-law.ts'
import { type InstanceLog, instanceLogs, type ProfileCall, partOf } from './profile-rows.ts'
import { fitFromShipped, type Limits, limitsOf, type ProfileScrape } from './profile-start.ts'

export type { HeldOutErrors } from './profile-errors.ts'
export type { ProfileCall } from './profile-rows.ts'
export type { Limits, ProfileScrape } from './profile-start.ts'

/** An instance of the log; instances of one type are fitted together. By default those of one speed and one memory are one type. */
export interface ProfiledInstance extends ServedInstance {
  readonly type?: string
}

export interface CalibrationInput {
  readonly instances: readonly ProfiledInstance[]
  /** In any order; of all instances. */
  readonly calls: readonly ProfileCall[]
  readonly scrapes?: readonly ProfileScrape[]
  /** What is believed of an instance so far: kept where the log cannot tell better. A common shape at its speed by default. */
  readonly priorOf?: (instance: ProfiledInstance) => Profile
  /** Told after each type, 0..1. */
  readonly onProgress?: (ratio: number) => void
}

/** What the log says about one instance. Plain JSON. */
export interface CalibratedProfile {
  readonly instance: string
  readonly type: string
  readonly profile: Profile
  /** Between router and instance and back, in each TTFT and E2E, ms. */
  readonly overheadMs: number
  /** 'fitted' from the type's calls, 'own' where this instance differs from its type, 'prior' where the log did not suffice. */
  readonly state: 'fitted' | 'own' | 'prior'
  /** Why, in words. */
  readonly words: string
  /** Calls that it was judged by; of this instance, and of its type. */
  readonly calls: number
  readonly typeCalls: number
  readonly coefficients: Readonly<Record<Coefficient, { readonly value: number; readonly error: number }>>
  readonly limits: Limits
  readonly heldOut: HeldOutErrors | undefined
  /** Rows left out, by reason. */
  readonly dropped: Readonly<Record<string, number>>
}

/** Judged calls of a type below which its prior stays: fewer fix eight coefficients to no better than a tenth. Chosen with `npm run bench -- trust`. */
export const CALLS_LEAST = 1_000
/** Calls of a type that are played, the newest: where an engine is full, a hundredth in the law is a tenth in TTFT, and fewer do not tell it so exactly. */
const CALLS_MAX = 20_000
/** Mean errors on held-out calls beyond which a fit is not believed unless the prior is worse still. */
const ERROR_MOST = 0.1
/** An instance whose own pace differs this much from its type's is fitted by itself. */
const DIFFERENT = 0.08
const OWN_ROUNDS = 8

/**
 * Profiles of a fleet from what its calls were logged to take: nothing is asked of the engines. Per type: limits, the shipped profile that is nearest as a start, then the
 * coefficients by playing the log again and again (`fitPoint`); an instance that differs from its type is fitted further on its own calls. What was found has to
 * hold on the newest fifth of the calls, which it has not seen; else the prior stays. The same input gives the same profiles.
 */
export function calibrateProfiles(input: CalibrationInput): CalibratedProfile[] {
  const { instances, calls, scrapes = [], onProgress } = input
  const priorOf = input.priorOf ?? priorBySpeed
  const types = Map.groupBy(instances, (one) => one.type ?? `${one.speed} ${one.kvTokens}`)
  const logs = instanceLogs(calls)
  const found: CalibratedProfile[] = []
  let done = 0
  for (const [type, members] of types) {
    const own = members.flatMap((instance) => {
      const log = logs.get(instance.name)
      return log ? [{ instance, log: newest(log, Math.floor(CALLS_MAX / members.length)) }] : []
    })
    found.push(...calibrateType({ type, members, own, scrapes, priorOf }))
    onProgress?.(++done / types.size)
  }
  return found.sort((a, b) => (a.instance < b.instance ? -1 : 1))
}

interface Member {
  readonly instance: ProfiledInstance
  readonly log: InstanceLog
}

interface TypeInput {
  readonly type: string
  readonly members: readonly ProfiledInstance[]
  readonly own: readonly Member[]
  readonly scrapes: readonly ProfileScrape[]
  readonly priorOf: (instance: ProfiledInstance) => Profile
}

function calibrateType({ type, members, own, scrapes, priorOf }: TypeInput): CalibratedProfile[] {
  const typeCalls = own.reduce((sum, { log }) => sum + log.judgedCount, 0)
  const richest = own.reduce<Member | undefined>(
    (best, one) => (best && best.log.judgedCount >= one.log.judgedCount ? best : one),
    undefined,
  )
  const kept = (instance: ProfiledInstance, words: string, heldOut?: HeldOutErrors): CalibratedProfile =>
    keepPrior({
      type,
      instance,
      prior: priorOf(instance),
      words,
      typeCalls,
      log: own.find((one) => one.instance === instance)?.log,
      heldOut,
    })
  if (!richest || typeCalls < CALLS_LEAST)
    return members.map((one) => kept(one, `${typeCalls} calls of at least ${CALLS_LEAST}: the prior is kept`))
  const limits = limitsOf({
    log: richest.log,
    toldKvTokens: richest.instance.kvTokens,
    scrapes: scrapes.filter((one) => own.some(({ instance }) => instance.name === one.instance)),
    prior: priorOf(richest.instance),
  })
  const fit = fitFromShipped(
    own.map(({ log }) => fittedPart(log)),
    limits,
  )
  return members.map((instance) => {
    const member = own.find((one) => one.instance === instance)
    if (!member) return describe({ type, instance, fit, limits, typeCalls, state: 'fitted', log: undefined, heldOut: undefined })
    const shared = errorsOn(fit, member.log)
    const differs =
      Math.max(Math.abs(shared.tpot), Math.abs(shared.e2e)) > DIFFERENT && member.log.judgedCount >= CALLS_LEAST / 2 && own.length > 1
    const single = differs ? fitPoint(fit.frame, fit.point, [fittedPart(member.log)], { rounds: OWN_ROUNDS }) : fit
    const heldOut = differs ? errorsOn(single, member.log) : shared
    const prior = errorsOfProfile(priorOf(instance), 0, member.log)
    if (worst(heldOut) > ERROR_MOST && worst(heldOut) >= worst(prior))
      return kept(
        instance,
        `the best fit misses held-out calls by ${percent(worst(heldOut))}, the prior by ${percent(worst(prior))}: the prior is kept`,
        prior,
      )
    return describe({ type, instance, fit: single, limits, typeCalls, state: differs ? 'own' : 'fitted', log: member.log, heldOut })
  })
}

interface Described {
  readonly type: string
  readonly instance: ProfiledInstance
  readonly fit: Fit
  readonly limits: Limits
  readonly typeCalls: number
  readonly state: 'fitted' | 'own'
  readonly log: InstanceLog | undefined
  readonly heldOut: HeldOutErrors | undefined
}

function describe({ type, instance, fit, limits, typeCalls, state, log, heldOut }: Described): CalibratedProfile {
  const { profile, overheadMs } = profileAt(fit.frame, fit.point)
  const calls = log?.judgedCount ?? 0
  const said = heldOut
    ? `; on ${heldOut.calls} calls it has not seen the twin's mean E2E is off by ${percent(heldOut.e2e)}, TTFT by ${percent(heldOut.ttft)}, time per token by ${percent(heldOut.tpot)}`
    : '; it served none itself'
  const from =
    state === 'own' ? `fitted to its own ${calls} calls, since it differs from its type` : `fitted to ${typeCalls} calls of its type`
  return {
    instance: instance.name,
    type,
    profile: { ...profile, name: `fitted ${type}`, label: `fitted from the log, nearest to ${fit.frame.base.label}` },
    overheadMs,
    state,
    words: from + said,
    calls,
    typeCalls,
    coefficients: coefficientsOf(fit),
    limits,
    heldOut,
    dropped: log?.dropped ?? {},
  }
}

function keepPrior(given: {
  readonly type: string
  readonly instance: ProfiledInstance
  readonly prior: Profile
  readonly words: string
  readonly typeCalls: number
  readonly log: InstanceLog | undefined
  readonly heldOut: HeldOutErrors | undefined
}): CalibratedProfile {
  const { type, instance, prior, words, typeCalls, log, heldOut } = given
  const unknown = { value: Number.NaN, error: Number.NaN }
  return {
    instance: instance.name,
    type,
    profile: prior,
    overheadMs: 0,
    state: 'prior',
    words,
    calls: log?.judgedCount ?? 0,
    typeCalls,
    coefficients: Object.fromEntries(COEFFICIENTS.map((name) => [name, unknown])) as CalibratedProfile['coefficients'],
    limits: { kvBlocks: prior.kvBlocks, kvFrom: 'prior', seats: prior.seats, seatsFrom: 'prior' },
    heldOut,
    dropped: log?.dropped ?? {},
  }
}

function coefficientsOf({ frame, point, errors }: Fit): CalibratedProfile['coefficients'] {
  const values = COEFFICIENTS.map((name, k) => {
    const scale = frame.scale[k] as number
    return [name, { value: (point[k] as number) * scale, error: (errors[k] as number) * scale }] as const
  })
  return Object.fromEntries(values) as CalibratedProfile['coefficients']
}

/** A common shape at the instance's speed: A100 with an 8B model. */
function priorBySpeed({ speed, kvTokens }: ProfiledInstance): Profile {
  const base = profileNamed('a100-llama-3-8b')
  return {
    ...base,
    law: speed > 0 ? scaleLaw(base.law, 1 / speed) : base.law,
    kvBlocks: kvTokens > 0 ? Math.floor(kvTokens / KV_BLOCK_TOKENS) : base.kvBlocks,
  }
}

/** The newest calls, from a moment on at which as little as possible was under way, since what came before is not played. */
function newest(log: InstanceLog, most: number): InstanceLog {
  const count = log.judged.length
  if (count <= most) return log
  const { dispatchedMs } = log.calls
  let from = count - most
  let least = Number.POSITIVE_INFINITY
  for (let i = from; i < count - Math.floor(0.7 * most); i += 1) {
    let open = 0
    for (let k = Math.max(0, i - 512); k < i; k++)
      if ((dispatchedMs[k] as number) + (log.e2eMs[k] as number) > (dispatchedMs[i] as number)) open++
    if (open < least) {
      least = open
      from = i
    }
    if (least === 0) break
  }
  return partOf(log, from, count)
}

/** The same calls, of which only those before the held-out ones are judged. */
function fittedPart(log: InstanceLog): InstanceLog {
  const end = Math.floor((1 - HELD_OUT_RATIO) * log.judged.length)
  return partOf(log, 0, end)
}

function errorsOn(fit: Fit, log: InstanceLog): HeldOutErrors {
  const { profile, overheadMs } = profileAt(fit.frame, fit.point)
  return errorsOfProfile(profile, overheadMs, log)
}

const worst = ({ ttft, tpot, e2e }: HeldOutErrors): number =>
  Math.max(...[ttft, tpot, e2e].map((one) => (Number.isNaN(one) ? 0 : Math.abs(one))))

/** The calibrated fleet as the twin takes it. */
export function calibratedFleet(found: readonly CalibratedProfile[], instances: readonly ServedInstance[]): MachineSpec[] {
  const profiles = new Map(found.map(({ instance, profile }) => [instance, profile]))
  return instances.map(({ name, speed }) => ({
    name,
    speed,
    profile: profiles.get(name) ?? priorBySpeed({ name, speed, kvTokens: Number.NaN }),
  }))
}
