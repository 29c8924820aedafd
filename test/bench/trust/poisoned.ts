import { evaluate } from '../../../plugin/learning/evaluate.ts'
import { BASE_POLICY_FOLDER, readPolicyModel } from '../../../plugin/learning/policy-folder.ts'
import { trainPolicy } from '../../../plugin/learning/policy-train.ts'
import { calibratedFleet, calibrateProfiles, type ProfileCall } from '../../../plugin/learning/profiles.ts'
import { createRng, type Rng } from '../../../plugin/rng.ts'
import type { MachineSpec } from '../../../plugin/simulation/fleet/machine.ts'
import type { TwinCall } from '../../../plugin/simulation/fleet/twin-call.ts'
import { profileNamed } from '../../../plugin/simulation/profiles.ts'
import { instanceCallsPerS } from '../../../plugin/simulation/saturation.ts'
import { parseArm, playArm } from '../../../plugin/simulation/scenario/arm.ts'
import { generateCalls } from '../../../plugin/simulation/scenario/generated.ts'
import { drawWide } from '../../../plugin/simulation/scenario/mixes.ts'
import type { TraceCall } from '../../../plugin/simulation/traces.ts'
import { type Estimate, estimate } from '../placement/statistics.ts'
import { hideProfile, logDay } from './hidden.ts'

/** What may be wrong with a log. */
export const POISONS = [
  'nothing',
  'absurd latencies',
  'flooding caller',
  'outage',
  'doubled rows',
  'shuffled labels',
  'another fleet',
] as const
export type Poison = (typeof POISONS)[number]

export interface PoisonedRow {
  readonly poison: Poison
  readonly promoted: boolean
  readonly verdict: string
  /** Mean E2E after the night over least-request's, − 1, over paired seeds; `ungated` if the challenger served whatever the gate says. */
  readonly loss: Estimate
  readonly ungated: Estimate
}

const PROFILES = ['v100-32g', 'v100-32g', 'a100-7b', 'a100-7b']
const LOG_CALLS = 14_000
const HELD_OUT_CALLS = 5_000
const JUDGED_CALLS = 2_000
const LOAD = 0.75
/** A short night: what is tested is that a bad log does no harm, not how much a good one gains. */
const NIGHT = { population: 12, generations: 4, tasks: 4, averagedGenerations: 2, validationTasks: 0 }

/** A night on a poisoned log of a fleet, then `seeds` paired runs on the fleet itself against least-request. */
export async function sleepOn(poison: Poison, given: { readonly seed: number; readonly seeds: number }): Promise<PoisonedRow> {
  const rng = createRng(given.seed)
  const fleet = hiddenFleet(rng.stream('fleet'))
  const callsOf = (calls: number, name: string): TwinCall[] => drawCalls(fleet, calls, rng.stream(name))
  const served = poison === 'another fleet' ? hiddenFleet(rng.stream('another fleet')) : fleet
  const { rows, scrapes } = logDay(served, { calls: callsOf(LOG_CALLS, 'log'), rng: rng.stream('day') })
  const log = poisonRows(rows, poison, rng.stream('poison'))
  const split = log[log.length - HELD_OUT_CALLS]!.arrivedUnixMs
  const training = log.filter((row) => row.arrivedUnixMs < split)
  const instances = fleet.map(({ name, speed, profile }) => ({ name, speed: speed!, kvTokens: profile.kvBlocks * 16 }))
  const twin = calibratedFleet(calibrateProfiles({ instances, calls: training, scrapes }), instances)
  const trained = await trainPolicy({
    domain: { kind: 'own', fleet: twin, calls: asTrace(training) },
    seed: given.seed,
    champion: readPolicyModel(BASE_POLICY_FOLDER),
    plan: NIGHT,
    workers: 0,
  })
  const verdict = await evaluate({
    fleet: twin,
    calls: log.filter((row) => row.arrivedUnixMs >= split),
    serving: { arm: 'least-request' },
    challenger: { arm: 'learned', model: trained.model },
    scrapeMs: 50,
    networkMs: 1.5,
    seed: given.seed,
  })
  const shapes = new Map(twin.map(({ name, profile }) => [name, profile]))
  const losses = Array.from({ length: given.seeds }, (_, seed) => {
    const calls = callsOf(JUDGED_CALLS, `judge ${seed}`)
    const scenario = { name: 'after', label: 'after the night', fleet, callsPerS: Number.NaN, calls: () => calls }
    const least = playArm(parseArm('least-request'), { scenario, calls, seed })
    const learned = playArm(parseArm('learned'), { scenario, calls, seed, model: trained.model, believes: (name) => shapes.get(name)! })
    return learned.meanE2eMs / least.meanE2eMs - 1
  })
  return {
    poison,
    promoted: verdict.passed,
    verdict: verdict.words,
    loss: estimate(losses.map((loss) => (verdict.passed ? loss : 0))),
    ungated: estimate(losses),
  }
}

function hiddenFleet(rng: Rng): MachineSpec[] {
  const byType = new Map([...new Set(PROFILES)].map((name) => [name, hideProfile(profileNamed(name), rng.stream(name))]))
  const speeds = new Map([...byType].map(([name, profile]) => [name, instanceCallsPerS(profile, drawWide)]))
  const slowest = Math.min(...speeds.values())
  return PROFILES.map((name, i) => ({
    name: `i${i}`,
    profile: byType.get(name)!,
    speed: Math.round((10 * speeds.get(name)!) / slowest) / 10,
  }))
}

function drawCalls(fleet: readonly MachineSpec[], calls: number, rng: Rng): TwinCall[] {
  const capacity = fleet.reduce((sum, { profile }) => sum + instanceCallsPerS(profile, drawWide), 0)
  const stream = generateCalls({ mix: drawWide, callsPerS: LOAD * capacity, calls, sigma: 0.5, rng })
  return Array.from({ length: calls }, () => stream.next()!)
}

/** The log as it would be read after it was spoilt. */
export function poisonRows(rows: readonly ProfileCall[], poison: Poison, rng: Rng): ProfileCall[] {
  switch (poison) {
    case 'nothing':
    case 'another fleet':
      return [...rows]
    case 'absurd latencies':
      return rows.map((row) => (rng.next() < 0.1 ? absurd(row, rng) : row))
    case 'flooding caller':
      return rows.map((row) =>
        rng.next() < 0.3
          ? { ...row, application: 'flood', tenant: 'flood', outputTokens: Math.min(100_000, 20 * (row.outputTokens ?? 1)) }
          : row,
      )
    case 'outage': {
      const from = Math.floor(0.4 * rows.length)
      const to = Math.floor(0.65 * rows.length)
      return rows.map((row, i) =>
        i >= from && i < to
          ? { ...row, outcome: 'instance error', ttftMs: null, tpotMs: null, outputTokens: null, e2eMs: 60_000 * rng.next() }
          : row,
      )
    }
    case 'doubled rows':
      return rows.flatMap((row) => [row, row])
    case 'shuffled labels': {
      const order = rows.map((_, i) => i)
      for (let i = order.length - 1; i > 0; i--) {
        const k = rng.int(i + 1)
        ;[order[i], order[k]] = [order[k]!, order[i]!]
      }
      return rows.map((row, i) => {
        const { outcome, ttftMs, tpotMs, e2eMs, outputTokens } = rows[order[i]!]!
        return { ...row, outcome, ttftMs, tpotMs, e2eMs, outputTokens }
      })
    }
  }
}

function absurd(row: ProfileCall, rng: Rng): ProfileCall {
  const factor = rng.next() < 0.5 ? 1e-3 : 10 ** (1 + 3 * rng.next())
  return {
    ...row,
    ttftMs: row.ttftMs === null ? null : row.ttftMs * factor,
    tpotMs: row.tpotMs === null ? null : row.tpotMs * factor,
    e2eMs: row.e2eMs * factor,
  }
}

function asTrace(rows: readonly ProfileCall[]): TraceCall[] {
  const startUnixMs = rows[0]?.arrivedUnixMs ?? 0
  return rows.map((row) => ({
    atMs: row.arrivedUnixMs - startUnixMs,
    promptTokens: row.promptTokens,
    outputTokens: Math.max(1, Math.round(row.outputTokens ?? row.predictedOutputTokens ?? 1)),
    application: row.application,
  }))
}
