import { createPolicy } from '../../../plugin/placement/policies.ts'
import type { MachineSpec } from '../../../plugin/simulation/fleet/machine.ts'
import { instanceCallsPerS } from '../../../plugin/simulation/saturation.ts'
import { drawPaper, drawWide, type Mix } from '../../../plugin/simulation/scenario/mixes.ts'
import { generatedScenario, sameMachines } from '../../../plugin/simulation/scenario/scenarios.ts'
import { badModel, playCanary, type Watched, watch } from './canary.ts'

export const BAD_KINDS = ['constant', 'inverted', 'NaN', 'slow', 'late tail'] as const

interface GuardedFleet {
  readonly name: string
  readonly fleet: readonly MachineSpec[]
  readonly mix: Mix
}

const GUARDED: readonly GuardedFleet[] = [
  { name: 'v100-32g ×4, wide', fleet: sameMachines('v100-32g', 4), mix: drawWide },
  { name: 'a100-7b ×4, wide', fleet: sameMachines('a100-7b', 4), mix: drawWide },
  { name: 'v100-paper ×4, paper', fleet: sameMachines('v100-paper', 4), mix: drawPaper },
  {
    name: '2 v100-32g + 2 a100-7b, wide',
    fleet: [...sameMachines('v100-32g', 2, 'v'), ...sameMachines('a100-7b', 2, 'a').map((one) => ({ ...one, speed: 3 }))],
    mix: drawWide,
  },
]

/** Control alone teaches the guard this long; then blocks of a minute. */
const TAUGHT_MS = 780_000
const BLOCK_MS = 60_000
const WASHOUT_MS = 10_000

export interface WatchedRow extends Watched {
  readonly fleet: string
  readonly load: number
  readonly kind: (typeof BAD_KINDS)[number] | 'A/A'
  readonly seed: number
}

/** Canaries of every kind on every fleet at every load. */
export function* watchBad(given: { readonly loads: readonly number[]; readonly seeds: number }): Generator<WatchedRow> {
  for (const guarded of GUARDED)
    for (const load of given.loads)
      for (const kind of BAD_KINDS)
        for (let seed = 1; seed <= given.seeds; seed++) yield watchOne(guarded, { load, kind, seed, minutes: 24, shareRatio: 0.1 })
}

/** The same policy in both arms: every withdrawal is a false one. */
export function* watchAlike(given: {
  readonly loads: readonly number[]
  readonly seeds: number
  readonly first: number
}): Generator<WatchedRow> {
  for (const guarded of GUARDED)
    for (const load of given.loads)
      for (let seed = given.first; seed < given.first + given.seeds; seed++)
        yield watchOne(guarded, { load, kind: 'A/A', seed, minutes: 33, shareRatio: 0.3 })
}

interface Watching {
  readonly load: number
  readonly kind: WatchedRow['kind']
  readonly seed: number
  readonly minutes: number
  readonly shareRatio: number
}

function watchOne({ name, fleet, mix }: GuardedFleet, { load, kind, seed, minutes, shareRatio }: Watching): WatchedRow {
  const callsPerS = load * fleet.reduce((sum, { profile }) => sum + instanceCallsPerS(profile, mix), 0)
  const scenario = generatedScenario({ name, fleet, mix, mixName: 'guarded', callsPerS, calls: Math.round(callsPerS * 60 * minutes) })
  const control = () => createPolicy('least-request-speed')
  const run = {
    fleet,
    calls: scenario.calls({ seed }),
    control,
    challenger: control,
    plan: { seed, startUnixMs: TAUGHT_MS, blockMs: BLOCK_MS, washoutMs: WASHOUT_MS, shareRatio },
    seed,
    ...(kind === 'A/A' ? {} : badModel(kind, control)),
  }
  return { fleet: name, load, kind, seed, ...watch(playCanary(run)) }
}
