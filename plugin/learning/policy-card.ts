import { LEARNED_FEATURE_HASH } from '../placement/learned-model.ts'
import type { Measured, PolicyCard } from './policy-folder.ts'
import type { Objective } from './policy-objective.ts'
import { SEARCH_PLAN } from './policy-search.ts'
import type { TrainedPolicy } from './policy-train.ts'

/** What a card is written from. */
export interface CardParts {
  readonly version: string
  readonly command: string
  readonly seed: number
  readonly traces: readonly string[]
  readonly objective: Objective
  /** Version of the model that the search went on from; the heuristic without. */
  readonly from?: string
  readonly trained?: TrainedPolicy
  /** Of an unfinished training: how far it was. */
  readonly generation?: number
  readonly trainedMinutes?: number
}

/** The card of a policy; where it is finished, with its losses on the validation tasks before and after. */
export function createPolicyCard(parts: CardParts): PolicyCard {
  const { version, command, seed, traces, objective, from, trained, trainedMinutes } = parts
  const plan = trained?.plan ?? SEARCH_PLAN
  const generations = parts.generation ?? trained?.history.length ?? 0
  const { families = [], start = [], result = [] } = trained?.validation ?? {}
  const named = (losses: readonly number[], wild: boolean): number[] => losses.filter((_, t) => (families[t] === 'anywhere') === wild)
  return {
    kind: 'policy',
    version,
    featureHash: LEARNED_FEATURE_HASH,
    command,
    seed,
    ...(from === undefined ? {} : { from }),
    generations,
    plan: { ...plan, generations },
    objective: { ...objective },
    domain: { kind: 'fleets of 1 to 16 of seven profiles, four mixes, loads 0.3 to 1.75, and the kinds of the named scenarios', traces },
    ...(trainedMinutes === undefined ? {} : { trainedMinutes: rounded(trainedMinutes) }),
    measured: {
      how: `mean over ${families.length} tasks that were not trained on of ln(mean E2E ÷ least-request's) with tails priced in, 95 % intervals`,
      values: {
        'named kinds, start': interval(named(start, false)),
        'named kinds': interval(named(result, false)),
        'anywhere, start': interval(named(start, true)),
        anywhere: interval(named(result, true)),
      },
    },
  }
}

/** Mean with its 95 % interval by the normal law: there are dozens. */
function interval(values: readonly number[]): Measured {
  const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, values.length - 1)
  const half = 1.96 * Math.sqrt(variance / Math.max(1, values.length))
  return [rounded(mean), rounded(mean - half), rounded(mean + half)]
}

function rounded(value: number): number {
  return Number(value.toPrecision(4))
}
