import type { EngineShape } from '../impact/engine-shape.ts'
import type { LearnedModel } from '../placement/learned-model.ts'
import { createPolicy, LEARNED } from '../placement/policies.ts'
import type { Rng } from '../rng.ts'
import type { MachineSpec } from '../simulation/fleet/machine.ts'
import type { Gain } from './evaluate-intervals.ts'
import { estimateOffPolicy, type LoggedChoice } from './off-policy.ts'

/** What logged decisions alone say of a challenger. Plain JSON. */
export interface SecondOpinion {
  readonly words: string
  /** Absent where there is no opinion. */
  readonly gain?: Gain
  readonly decisions: number
  readonly agreement?: number
  readonly effective?: number
}

/** A doubly robust estimate beside the twin's promise; where the log cannot tell, that in words. It decides nothing. */
export function secondOpinion(
  choices: readonly LoggedChoice[],
  { model, fleet, rng }: { readonly model: LearnedModel; readonly fleet: readonly MachineSpec[]; readonly rng: Rng },
): SecondOpinion {
  const profileOf = ({ name }: { readonly name: string }): EngineShape | undefined => fleet.find((one) => one.name === name)?.profile
  // Where every choice was certain, what the others would have cost is extrapolated from other calls: no opinion that is worth its name.
  if (choices.every(({ propensity }) => propensity >= 1))
    return {
      words: 'no second opinion: nothing was explored, so that what other choices would have cost is not known',
      decisions: choices.length,
    }
  try {
    const found = estimateOffPolicy(choices, { policy: createPolicy(LEARNED, { model, profileOf }), rng })
    const { gain, low, high, decisions, agreement, effective, words } = found
    return { words: `second opinion: ${words}`, gain: [gain, low, high], decisions, agreement, effective }
  } catch (error) {
    return { words: `no second opinion: ${error instanceof Error ? error.message : error}`, decisions: choices.length }
  }
}
