import { BLOCKS, LEARNED_FEATURE_HASH, type LearnedModel, PARAMETER_COUNT, startParameters } from '../placement/learned-model.ts'
import { createRng, type Rng } from '../rng.ts'
import { openCrew } from './policy-crew.ts'
import { Domain, type DomainSpec } from './policy-domain.ts'
import { OBJECTIVE, type Objective } from './policy-objective.ts'
import type { TaskPlan } from './policy-tasks.ts'

/**
 * Searches a policy in the twin, top to bottom: natural evolution strategy with a spread of its own per parameter (Wierstra et al., 2014, "Natural
 * Evolution Strategies", separable form with rank-based utilities; Salimans et al., 2017, mirrored pairs). Every candidate of a generation plays the same
 * calls (common random numbers); the next generation plays others.
 */
export interface SearchPlan {
  /** Candidates per generation, even: mirrored pairs around the mean. */
  readonly population: number
  readonly generations: number
  readonly tasks: number
  /** Hidden units stay silent for so many generations: a dozen weights that matter are found sooner than among hundreds that do not yet. */
  readonly linearGenerations: number
  /** Step of the mean along the natural gradient, and of the spreads. */
  readonly meanRate: number
  readonly spreadRate: number
  /** The spread falls towards this share of where it began, by e in so many generations: a longer search begins as a shorter one does. */
  readonly lastSpreadRatio: number
  readonly coolingGenerations: number
  /** The result is the mean over the last so many generations' means: it averages the search's own noise out (Polyak and Juditsky, 1992). */
  readonly averagedGenerations: number
  /** Tasks that the result is judged on beside where it started; never trained on. */
  readonly validationTasks: number
}

/** Chosen for a few seconds of one core per generation; population and tasks share them. Few candidates do, since only some hundred weights are searched at first. */
export const SEARCH_PLAN: SearchPlan = {
  population: 16,
  generations: 120,
  tasks: 8,
  linearGenerations: 80,
  meanRate: 1,
  spreadRate: 0.05,
  lastSpreadRatio: 0.3,
  coolingGenerations: 60,
  averagedGenerations: 15,
  validationTasks: 40,
}

/** Spreads to begin with, by block of the model: about what changes a decision now and then. Chosen. */
const SPREADS: Readonly<Record<string, number>> = {
  'place.hidden': 0.12,
  'place.bias': 0.1,
  'place.output': 0.07,
  'place.linear': 0.08,
  'hold.conditions': 0.035,
  'order.linear': 0.13,
}

/** Everything before this parameter belongs to the hidden units. */
const LINEAR_FROM = BLOCKS.find(({ name }) => name === 'place.linear')?.offset ?? 0

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

/** Trains. The same domain, seed and plan give the same model to the bit on one machine. Throws the signal's reason when it is aborted. */
export async function trainPolicy(parts: PolicyParts): Promise<TrainedPolicy> {
  const plan = { ...SEARCH_PLAN, ...parts.plan }
  const objective = parts.objective ?? OBJECTIVE
  const domain = await Domain.open(parts.domain)
  const rng = createRng(parts.seed).stream('policy')
  const crew = await openCrew({ spec: parts.domain, objective, workers: parts.workers ?? 0 })
  const start = parts.champion ? Float32Array.from(parts.champion.parameters) : startOf(rng)
  const search = new Search({ start, plan, rng: rng.stream('candidates') })
  const history: PolicyProgress[] = []
  try {
    for (let generation = 0; generation < plan.generations && !parts.enough?.aborted; generation++) {
      parts.signal?.throwIfAborted()
      const plans = domain.plan({ tasks: plan.tasks, round: generation, rng: rng.stream(`tasks ${generation}`) })
      const candidates = [...search.ask(), search.centre()]
      const losses = await crew.judge(plans, candidates)
      search.tell(losses.slice(0, -1), plans)
      const progress = { generations: plan.generations, ...describe(losses, plans), generation: generation + 1 }
      history.push(progress)
      parts.told?.(progress)
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

/** Mean and spreads of the search, and what was asked last. */
class Search {
  readonly #plan: SearchPlan
  readonly #rng: Rng
  readonly #mean: Float64Array
  readonly #spread: Float64Array
  readonly #utilities: readonly number[]
  readonly #means: Float64Array[] = []
  #draws: Float64Array[] = []
  #generation = 0

  constructor({ start, plan, rng }: { readonly start: Float32Array; readonly plan: SearchPlan; readonly rng: Rng }) {
    this.#plan = plan
    this.#rng = rng
    this.#mean = Float64Array.from(start)
    this.#spread = spreads()
    this.#utilities = utilitiesOf(plan.population)
  }

  /** Candidates of this generation: each draw with its mirror image. */
  ask(): Float32Array[] {
    const scale = this.#scale()
    this.#draws = Array.from({ length: this.#plan.population / 2 }, () => Float64Array.from(this.#mean, () => this.#rng.normal()))
    return this.#draws.flatMap((draw) =>
      [1, -1]
        .map((side) => this.#mean.map((m, j) => m + side * scale * this.#spreadOf(j) * (draw[j] as number)))
        .map((one) => Float32Array.from(one)),
    )
  }

  centre(): Float32Array {
    return Float32Array.from(this.#mean)
  }

  /** The step: along each draw by what it and its mirror image earned. */
  tell(losses: readonly (readonly number[])[], plans: readonly TaskPlan[]): void {
    const scale = this.#scale()
    const ranks = rank(fitness(losses, plans))
    const utility = losses.map((_, i) => this.#utilities[ranks[i] as number] as number)
    for (let j = 0; j < this.#mean.length; j++) {
      let step = 0
      let widen = 0
      for (const [k, draw] of this.#draws.entries()) {
        const z = draw[j] as number
        const [plus, minus] = [utility[2 * k] as number, utility[2 * k + 1] as number]
        step += (plus - minus) * z
        widen += (plus + minus) * (z * z - 1)
      }
      const spread = this.#spreadOf(j)
      this.#mean[j] = (this.#mean[j] as number) + this.#plan.meanRate * scale * spread * step
      if (spread > 0) this.#spread[j] = spread * Math.exp(0.5 * this.#plan.spreadRate * widen)
    }
    this.#generation++
    this.#means.push(this.#mean.slice())
    if (this.#means.length > this.#plan.averagedGenerations) this.#means.shift()
  }

  /** The mean of the last means. */
  result(): Float32Array {
    if (this.#means.length === 0) return this.centre()
    return Float32Array.from(this.#mean, (_, j) => this.#means.reduce((sum, one) => sum + (one[j] as number), 0) / this.#means.length)
  }

  /** 0 for what is not searched yet. */
  #spreadOf(j: number): number {
    return this.#generation < this.#plan.linearGenerations && j < LINEAR_FROM ? 0 : (this.#spread[j] as number)
  }

  #scale(): number {
    const { coolingGenerations, lastSpreadRatio } = this.#plan
    return lastSpreadRatio + (1 - lastSpreadRatio) * Math.exp(-this.#generation / coolingGenerations)
  }
}

function spreads(): Float64Array {
  const all = new Float64Array(PARAMETER_COUNT)
  for (const { name, shape, offset } of BLOCKS) all.fill(SPREADS[name] ?? 0.1, offset, offset + shape[0] * shape[1])
  return all
}

/** Utility by rank, best first, summing to 0 (Wierstra et al., 2014, section 3.1). */
function utilitiesOf(population: number): number[] {
  const raw = Array.from({ length: population }, (_, rank) => Math.max(0, Math.log(population / 2 + 1) - Math.log(rank + 1)))
  const sum = raw.reduce((total, value) => total + value, 0)
  return raw.map((value) => value / sum - 1 / population)
}

/** Spread of a task's losses that counts as half: below, differences are mostly chance. */
const HALF_SPREAD = 0.02

/** One figure per candidate: task by task the distance from the task's mean, in spreads, so that no task drowns the others; weighted. */
function fitness(losses: readonly (readonly number[])[], plans: readonly TaskPlan[]): number[] {
  const total = losses.map(() => 0)
  for (const [t, { weight }] of plans.entries()) {
    const own = losses.map((one) => one[t] as number)
    const mean = own.reduce((sum, value) => sum + value, 0) / own.length
    const spread = Math.sqrt(own.reduce((sum, value) => sum + (value - mean) ** 2, 0) / own.length)
    for (const [i, value] of own.entries()) total[i] = (total[i] as number) + weight * Math.min(3, (value - mean) / (spread + HALF_SPREAD))
  }
  return total
}

/** Rank of each value, 0 for the least. Ties go by place. */
function rank(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => (values[a] as number) - (values[b] as number) || a - b)
  const ranks = new Array<number>(values.length)
  for (const [place, i] of order.entries()) ranks[i] = place
  return ranks
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
