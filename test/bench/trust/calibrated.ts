import { calibrateProfiles, type ProfileCall } from '../../../plugin/learning/profiles.ts'
import { createRng } from '../../../plugin/rng.ts'
import { profileNamed } from '../../../plugin/simulation/profiles.ts'
import { drawPaper, drawWide } from '../../../plugin/simulation/scenario/mixes.ts'
import { hideProfile, logDay, swingingCalls, type TwinErrors, twinErrors } from './hidden.ts'

/** Shipped profiles from which hidden ones are made. */
export const CALIBRATED = ['v100-32g', 'a100-7b', 'a100-8b', 'v100-paper', 'rtx4090-llama-3.1-8b', 'h100-llama-2-7b']

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

/** Two instances of one hidden profile: 20,000 calls to learn from, the next 5,000 to be judged on. */
export function calibrateHidden(name: string, seed: number): CalibratedRow {
  const rng = createRng(seed).stream(name)
  const hidden = hideProfile(profileNamed(name), rng)
  const fleet = ['a', 'b'].map((one) => ({ name: one, profile: hidden }))
  const mix = name === 'v100-paper' ? drawPaper : drawWide
  const day = logDay(fleet, { calls: swingingCalls(fleet, { calls: KNOWN_CALLS + LATER_CALLS, mix, rng }), rng })
  const fromUnixMs = day.rows[KNOWN_CALLS]!.arrivedUnixMs
  const instances = fleet.map((one) => ({ name: one.name, speed: 1, kvTokens: hidden.kvBlocks * 16 }))
  const scrapes = day.scrapes.filter((one) => one.takenUnixMs < fromUnixMs)
  const found = calibrateProfiles({ instances, calls: day.rows.slice(0, KNOWN_CALLS), scrapes })
  const known = fleet.map((one) => ({ instance: one.name, profile: hidden, overheadMs: OVERHEAD_MS }))
  const dice = rng.stream('moved')
  const plays = Array.from({ length: MOVED_PLAYS }, () => {
    const rows = day.rows.map((row): ProfileCall => ({ ...row, arrivedUnixMs: row.arrivedUnixMs + dice.next() }))
    return { fitted: twinErrors(rows, { profiles: found, fromUnixMs }), true: twinErrors(rows, { profiles: known, fromUnixMs }) }
  })
  const versus = (kind: 'ttft' | 'tpot' | 'e2e'): number =>
    plays.reduce((sum, play) => sum + 1 + play.fitted[kind], 0) / plays.reduce((sum, play) => sum + 1 + play.true[kind], 0) - 1
  return {
    hidden: `${name}, ${hidden.kvBlocks} blocks, ${hidden.seats} seats`,
    state: found[0]!.state,
    seats: found[0]!.limits.seats,
    seatsFrom: found[0]!.limits.seatsFrom,
    errors: twinErrors(day.rows, { profiles: found, fromUnixMs }),
    truth: twinErrors(day.rows, { profiles: known, fromUnixMs }),
    chanceTtft: deviation(plays.map((play) => play.true.ttft)),
    versusTruth: { ttft: versus('ttft'), tpot: versus('tpot'), e2e: versus('e2e') },
  }
}

function deviation(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1))
}
