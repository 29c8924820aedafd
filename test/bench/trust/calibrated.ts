import { type CalibratedProfile, calibrateProfiles, type ProfileCall } from '../../../plugin/learning/profiles.ts'
import { createRng, type Rng } from '../../../plugin/rng.ts'
import { type Profile, profileNamed } from '../../../plugin/simulation/profiles.ts'
import { drawPaper, drawWide } from '../../../plugin/simulation/scenario/mixes.ts'
import { hideProfile, logDay, swingingCalls, type TwinErrors, twinErrors } from './hidden.ts'

/** Instances with hidden profiles, of which 20,000 calls are known. */
export interface HiddenFleet {
  readonly name: string
  /** Shipped profiles from which the hidden ones are made; two instances share one profile where there is one. */
  readonly profiles: readonly string[]
  /** Tokens of a system prompt that all calls of an application share; none by default. */
  readonly systemTokens?: number
}

/** Whole prompts first and chunked prefill, little memory and much, a prefix cache at work, two types in one fleet. */
export const CALIBRATED: readonly HiddenFleet[] = [
  ...['v100-32g', 'a100-7b', 'a100-8b', 'v100-paper', 'rtx4090-llama-3.1-8b', 'h100-llama-2-7b'].map((name) => ({
    name,
    profiles: [name],
  })),
  { name: 'a100-8b, shared prompts', profiles: ['a100-8b'], systemTokens: 512 },
  { name: 'v100-32g beside a100-7b', profiles: ['v100-32g', 'a100-7b'] },
]

const KNOWN_CALLS = 20_000
const LATER_CALLS = 5_000
/** Plays with arrivals moved within the millisecond to which a log rounds them. */
const MOVED_PLAYS = 8
/** Way between router and instance and back in these logs, ms. */
const OVERHEAD_MS = 3

/** How far a twin that was calibrated on 20,000 calls is off on the next 5,000: mean of the twin over mean of the log, − 1. */
export interface CalibratedRow {
  readonly hidden: string
  readonly state: string
  readonly seats: number
  readonly seatsFrom: string
  /** Played from the log as it is. */
  readonly errors: TwinErrors
  /** The same with the profile that was hidden: what no calibration can do better. */
  readonly truth: TwinErrors
  /**
   * Near memory's limit half a millisecond decides who is preempted and who queues, and the log knows arrivals to a millisecond. So also over plays with arrivals moved within
   * theirs: standard deviation of the hidden profile's TTFT error, and mean of the calibrated profile's times over the hidden one's, − 1.
   */
  readonly chanceTtft: number
  readonly versusTruth: Readonly<Record<'ttft' | 'tpot' | 'e2e', number>>
}

/** Two instances with hidden profiles: 20,000 calls to learn from, the next 5,000 to be judged on. One row for each type. */
export function calibrateHidden({ name, profiles, systemTokens = 0 }: HiddenFleet, seed: number): CalibratedRow[] {
  const rng = createRng(seed).stream(name)
  const hidden = profiles.map((one) => hideProfile(profileNamed(one), rng))
  const fleet = ['a', 'b'].map((one, i) => ({ name: one, profile: hidden[i % hidden.length]! }))
  const mix = name === 'v100-paper' ? drawPaper : drawWide
  const day = logDay(fleet, { calls: swingingCalls(fleet, { calls: KNOWN_CALLS + LATER_CALLS, mix, rng, systemTokens }), rng })
  const fromUnixMs = day.rows[KNOWN_CALLS]!.arrivedUnixMs
  const instances = fleet.map((one, i) => ({
    name: one.name,
    speed: 1,
    kvTokens: one.profile.kvBlocks * 16,
    type: profiles[i % profiles.length]!,
  }))
  const scrapes = day.scrapes.filter((one) => one.takenUnixMs < fromUnixMs)
  const found = calibrateProfiles({ instances, calls: day.rows.slice(0, KNOWN_CALLS), scrapes })
  return profiles.map((type, t) => {
    const members = new Set(fleet.filter((_, i) => i % profiles.length === t).map((one) => one.name))
    const judged = { rows: day.rows.filter((row) => members.has(row.instance!)), fromUnixMs, rng }
    return judge(profiles.length > 1 ? `${type} of ${name}` : name, { ...judged, found, hidden: hidden[t]! })
  })
}

interface Judged {
  /** Of the instances of one type. */
  readonly rows: readonly ProfileCall[]
  readonly fromUnixMs: number
  readonly found: readonly CalibratedProfile[]
  readonly hidden: Profile
  readonly rng: Rng
}

function judge(name: string, { rows, fromUnixMs, found, hidden, rng }: Judged): CalibratedRow {
  const known = found.map(({ instance }) => ({ instance, profile: hidden, overheadMs: OVERHEAD_MS }))
  const dice = rng.stream('moved')
  const plays = Array.from({ length: MOVED_PLAYS }, () => {
    const moved = rows.map((row): ProfileCall => ({ ...row, arrivedUnixMs: row.arrivedUnixMs + dice.next() }))
    return { fitted: twinErrors(moved, { profiles: found, fromUnixMs }), true: twinErrors(moved, { profiles: known, fromUnixMs }) }
  })
  const versus = (kind: 'ttft' | 'tpot' | 'e2e'): number =>
    plays.reduce((sum, play) => sum + 1 + play.fitted[kind], 0) / plays.reduce((sum, play) => sum + 1 + play.true[kind], 0) - 1
  const own = found.find(({ instance }) => rows.some((row) => row.instance === instance))!
  return {
    hidden: `${name}, ${hidden.kvBlocks} blocks, ${hidden.seats} seats`,
    state: own.state,
    seats: own.limits.seats,
    seatsFrom: own.limits.seatsFrom,
    errors: twinErrors(rows, { profiles: found, fromUnixMs }),
    truth: twinErrors(rows, { profiles: known, fromUnixMs }),
    chanceTtft: deviation(plays.map((play) => play.true.ttft)),
    versusTruth: { ttft: versus('ttft'), tpot: versus('tpot'), e2e: versus('e2e') },
  }
}

function deviation(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1))
}
