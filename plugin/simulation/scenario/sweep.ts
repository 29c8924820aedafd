import type { MachineSpec } from '../fleet/machine.ts'
import { profileNamed } from '../profiles.ts'
import { instanceCallsPerS } from '../saturation.ts'
import type { TaskName } from '../tasks.ts'
import { logNormal } from '../tasks.ts'
import { drawPaper, drawWide, type Mix } from './mixes.ts'
import { generatedScenario, type Scenario, sameMachines } from './scenarios.ts'

/** Lengths as in the Azure 2023 code trace (means 2,048 / 28): the work is prefill. */
const PREFILL_PROMPT = { mean: 2048, cv: 0.9 }
const PREFILL_OUTPUT = { mean: 28, cv: 1.2 }

const drawPrefill: Mix = (rng) => ({
  task: 'generic' as TaskName,
  application: 'completion',
  promptTokens: Math.min(7000, Math.max(8, Math.round(logNormal(PREFILL_PROMPT, rng)))),
  outputTokens: Math.min(1000, Math.max(1, Math.round(logNormal(PREFILL_OUTPUT, rng)))),
})

const MIXES: readonly { readonly name: string; readonly mix: Mix }[] = [
  { name: 'prefill-bound', mix: drawPrefill },
  { name: 'decode-bound', mix: drawPaper },
  { name: 'mixed', mix: drawWide },
]

/**
 * The fleets and mixes that the full protocol sweeps: each at its own measured saturation (`callsPerS` is load 1), so that `rateFactor` is the
 * load. Prefill-bound, decode-bound and mixed apart; equal and unequal instances apart.
 */
export function sweepScenarios(): Scenario[] {
  const fleets: readonly { readonly name: string; readonly fleet: readonly MachineSpec[] }[] = [
    { name: 'a100x4', fleet: sameMachines('a100-7b', 4) },
    { name: 'v100x2+a100x2', fleet: [...sameMachines('v100-32g', 2, 'v'), ...sameMachines('a100-7b', 2, 'a')] },
  ]
  return MIXES.flatMap(({ name, mix }) =>
    fleets.map((one) => {
      const capacities = one.fleet.map(({ profile }) => instanceCallsPerS(profileNamed(profile.name), mix))
      const least = Math.min(...capacities)
      const fleet = one.fleet.map((spec, i) => ({ ...spec, speed: Math.round((10 * (capacities[i] as number)) / least) / 10 }))
      const callsPerS = capacities.reduce((sum, each) => sum + each, 0)
      return generatedScenario({ name: `${name} ${one.name}`, fleet, mix, mixName: name, callsPerS })
    }),
  )
}
