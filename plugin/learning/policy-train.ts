import { LEARNED_FEATURE_HASH, type LearnedModel, startParameters } from '../placement/learned-model.ts'
import { createRng, type Rng } from '../rng.ts'
import { openCrew } from './policy-crew.ts'
import { Domain, type DomainSpec } from './policy-domain.ts'
import { OBJECTIVE, type Objective } from './policy-objective.ts'
import { drawHoldBack, SEARCH_PLAN, Search, type SearchPlan, type SearchState } from './policy-search.ts'
import type { TaskPlan } from './policy-tasks.ts'

/** How far a training is; told after each generation. */
export interface PolicyProgress {
  readonly generation: number
  readonly generations: number
  /** Mean loss of the generation's candidates, of its best, and of the mean model, on the generation's own tasks. */
  readonly meanLoss: number
  readonly bestLoss: number
  readonly centreLoss: number
  readonly byFamily: Readonly<Record<string, number>>
}

export interface PolicyParts {
  readonly domain: DomainSpec
  readonly seed: number
  readonly plan?: Partial<SearchPlan>
  readonly objective?: Objective
  /** The model to start from; the heuristic otherwise. Its features must be ours. */
  readonly champion?: LearnedModel
  /** Worker threads; 0 trains in this thread. The result is the same. */
  readonly workers?: number
  readonly told?: (progress: PolicyProgress) => void
  /** Called now and then with the model so far, so that a long run leaves something. */
  readonly kept?: (parameters: Float32Array, generation: number) => void
  /** Called after each generation with all that the search needs to go on from there. */
  readonly checkpoint?: (state: SearchState) => void
  /** Where an earlier search of the same domain, seed, plan and champion was: the result is the same as if it had gone on. */
  readonly resume?: SearchState | undefined
  readonly signal?: AbortSignal
  /** Ends the search after the generation under way, with the result of those played: the same as planning so many. */
  readonly enough?: AbortSignal
}

export interface TrainedPolicy {
  readonly model: LearnedModel
  readonly plan: SearchPlan
  readonly history: readonly PolicyProgress[]
  /** Losses on the validation tasks: of the start, and of the result. */
  readonly validation: { readonly families: readonly string[]; readonly start: readonly number[]; readonly result: readonly number[] }
}

/** Searches a policy in the twin, top to bottom. The same domain, seed and plan give the same model to the bit on one machine. Throws the signal's reason when it is aborted. */
export async function trainPolicy(parts: PolicyParts): Promise<TrainedPolicy> {
  const plan = { ...SEARCH_PLAN, ...parts.plan }
  const objective = parts.objective ?? OBJECTIVE
  const domain = await Domain.open(parts.domain)
  const rng = createRng(parts.seed).stream('policy')
  const crew = await openCrew({ spec: parts.domain, objective, workers: parts.workers ?? 0 })
  const start = parts.champion ? drawHoldBack(parts.champion.parameters, plan.priorHoldRatio) : startOf(rng)
  const search = new Search({ start, plan, rng: rng.stream('candidates'), resume: parts.resume })
  const history: PolicyProgress[] = []
  try {
    for (let generation = parts.resume?.generation ?? 0; generation < plan.generations && !parts.enough?.aborted; generation++) {
      parts.signal?.throwIfAborted()
      const plans = domain.plan({ tasks: plan.tasks, round: generation, rng: rng.stream(`tasks ${generation}`) })
      const candidates = [...search.ask(), search.centre()]
      const losses = await crew.judge(plans, candidates)
      search.tell(losses.slice(0, -1), plans)
      const progress = { generations: plan.generations, ...describe(losses, plans), generation: generation + 1 }
      history.push(progress)
      parts.told?.(progress)
      parts.checkpoint?.(search.state())
      if ((generation + 1) % 5 === 0) parts.kept?.(search.result(), generation + 1)
    }
    const result = search.result()
    const judged = domain.plan({ tasks: plan.validationTasks, round: 0, rng: rng.stream('validation') })
    const [startLosses = [], resultLosses = []] = judged.length > 0 ? await crew.judge(judged, [start, result]) : []
    return {
      model: { version: versionOf(result, parts.seed), featureHash: LEARNED_FEATURE_HASH, parameters: result },
      plan,
      history,
      validation: { families: judged.map((one) => one.family), start: startLosses, result: resultLosses },
    }
  } finally {
    await crew.close()
  }
}

/** The heuristic with its silent hidden units drawn. */
function startOf(rng: Rng): Float32Array {
  const dice = rng.stream('start')
  return startParameters(() => dice.normal())
}

function versionOf(parameters: Float32Array, seed: number): string {
  let hash = seed
  for (const bits of new Uint32Array(parameters.slice().buffer)) hash = Math.imul(hash ^ bits, 0x01000193)
  return `policy-${(hash >>> 0).toString(16).padStart(8, '0')}`
}

function describe(
  losses: readonly (readonly number[])[],
  plans: readonly TaskPlan[],
): Pick<PolicyProgress, 'meanLoss' | 'bestLoss' | 'centreLoss' | 'byFamily'> {
  const means = losses.map((one) => one.reduce((sum, loss) => sum + loss, 0) / one.length)
  const centre = losses.at(-1) as readonly number[]
  const candidates = means.slice(0, -1)
  return {
    meanLoss: candidates.reduce((sum, loss) => sum + loss, 0) / candidates.length,
    bestLoss: Math.min(...candidates),
    centreLoss: means.at(-1) as number,
    byFamily: Object.fromEntries(plans.map((plan, t) => [plan.family, centre[t] as number])),
  }
}
