import { createRng } from '../../rng.ts'
import type { FleetEvent, MachineSpec } from '../fleet/machine.ts'
import type { TwinCall } from '../fleet/twin-call.ts'
import { profileNamed } from '../profiles.ts'
import { instanceCallsPerS } from '../saturation.ts'
import { generateCalls } from './generated.ts'
import type { LengthErrors } from './length-errors.ts'
import { drawPaper, drawWide, type Mix } from './mixes.ts'

/** How one scenario is played; everything a policy may be compared under but the policy. */
export interface Scenario {
  /** profile × instances @ calls per second. */
  readonly name: string
  /** What the figure belongs to, in words. */
  readonly label: string
  readonly fleet: readonly MachineSpec[]
  readonly callsPerS: number
  /** The calls of one seed, always the same, at `callsPerS` × `load`; lengths predicted with error σ. */
  readonly calls: (plan: CallsPlan) => readonly TwinCall[]
  readonly script?: readonly FleetEvent[]
  /** What callers do whose call failed. */
  readonly clientRetries?: { readonly times: number; readonly afterMs: number }
}

export interface CallsPlan {
  readonly seed: number
  /** σ of the predicted length; 0.5 by default. */
  readonly sigma?: number
  /** What predicted lengths are instead of log-normally wrong: as a real predictor's. */
  readonly errors?: LengthErrors | undefined
  /** Times the scenario's own rate; 1 by default. */
  readonly rateFactor?: number
}

/** Spread of predicted lengths unless said otherwise; and calls per run. */
export const SIGMA = 0.5
const CALLS = 2000

/** Same profile, numbered names. */
export function sameMachines(profile: string, count: number, prefix = 'i'): MachineSpec[] {
  return Array.from({ length: count }, (_, i) => ({ name: `${prefix}${i}`, profile: profileNamed(profile) }))
}

interface Row {
  readonly name: string
  readonly fleet: readonly MachineSpec[]
  readonly mix: Mix
  readonly mixName: string
  readonly callsPerS: number
  readonly calls?: number
  readonly arrivalCv?: number
  readonly script?: readonly FleetEvent[]
}

/** A scenario whose calls are drawn from a mix. */
export function generatedScenario(row: Row): Scenario {
  const profiles = [...new Set(row.fleet.map((one) => one.profile.name))].join(' + ')
  return {
    name: row.name,
    label: `${profiles}, mix ${row.mixName}`,
    fleet: row.fleet,
    callsPerS: row.callsPerS,
    calls: ({ seed, sigma = SIGMA, errors, rateFactor = 1 }) => {
      const stream = generateCalls({
        mix: row.mix,
        callsPerS: row.callsPerS * rateFactor,
        calls: row.calls ?? CALLS,
        sigma,
        errors,
        rng: createRng(seed).stream(row.mixName),
        ...(row.arrivalCv === undefined ? {} : { arrivalCv: row.arrivalCv }),
      })
      const calls: TwinCall[] = []
      for (let call = stream.next(); call; call = stream.next()) calls.push(call)
      return calls
    },
    ...(row.script ? { script: row.script, clientRetries: CLIENT_RETRIES } : {}),
  }
}

const PAPER = { mix: drawPaper, mixName: 'paper' }
const WIDE = { mix: drawWide, mixName: 'wide' }

/** Speed of the faster half of `mixed@60` as an operator would write it: its capacity for the mix against the slower one's. */
function mixedFleet(): MachineSpec[] {
  const slow = instanceCallsPerS(profileNamed('v100-32g'), drawWide)
  const fast = instanceCallsPerS(profileNamed('a100-7b'), drawWide)
  return [
    ...sameMachines('v100-32g', 2, 'v'),
    ...sameMachines('a100-7b', 2, 'a').map((one) => ({ ...one, speed: Math.round((fast / slow) * 10) / 10 })),
  ]
}

/** One dies for a minute, another is three times slower for two; 18,000 calls, so that both fit. */
const FAILURES: readonly FleetEvent[] = [
  { atMs: 30_000, instance: 'i1', what: 'die' },
  { atMs: 90_000, instance: 'i1', what: 'recover' },
  { atMs: 60_000, instance: 'i2', what: 'slow', factor: 3 },
  { atMs: 180_000, instance: 'i2', what: 'slow', factor: 1 },
]
const FAILURES_CALLS = 18_000
/** Callers whose answer broke off ask again, as client libraries do, so that no call drops out of the mean. */
const CLIENT_RETRIES = { times: 3, afterMs: 1000 }

/** Load of `bursty`, as a share of the fleet's capacity. */
const BURSTY_LOAD = 0.7

/** The named scenarios whose calls are generated: exactly these profiles, rates and mixes, so that a figure means the same everywhere. */
export function generatedScenarios(): Scenario[] {
  const v100Paper = [11, 14, 20].map((callsPerS) => ({ callsPerS, count: 4 }))
  const v100 = [12, 20, 26, 40].map((callsPerS) => ({ callsPerS, count: 4 }))
  const burstyCallsPerS = Math.round(4 * BURSTY_LOAD * instanceCallsPerS(profileNamed('a100-7b'), drawWide))
  return [
    ...[...v100Paper, { callsPerS: 40, count: 8 }].map(({ callsPerS, count }) =>
      generatedScenario({ name: `paper-v100x${count}@${callsPerS}`, fleet: sameMachines('v100-paper', count), callsPerS, ...PAPER }),
    ),
    ...[...v100, { callsPerS: 40, count: 8 }].map(({ callsPerS, count }) =>
      generatedScenario({ name: `v100x${count}@${callsPerS}`, fleet: sameMachines('v100-32g', count), callsPerS, ...WIDE }),
    ),
    generatedScenario({ name: 'a100x4@110', fleet: sameMachines('a100-7b', 4), callsPerS: 110, ...WIDE }),
    generatedScenario({ name: 'mixed@60', fleet: mixedFleet(), callsPerS: 60, ...WIDE }),
    generatedScenario({ name: 'bursty', fleet: sameMachines('a100-7b', 4), callsPerS: burstyCallsPerS, arrivalCv: 5, ...WIDE }),
    generatedScenario({
      name: 'failures',
      fleet: sameMachines('a100-7b', 4),
      callsPerS: 90,
      calls: FAILURES_CALLS,
      script: FAILURES,
      ...WIDE,
    }),
  ]
}
