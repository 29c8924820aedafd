import { BLOCKS, blockOf, CONDITIONS, HOLD_FEATURES, PARAMETER_COUNT, startParameters } from '../placement/learned-model.ts'
import type { Rng } from '../rng.ts'

/**
 * Natural evolution strategy with a spread of its own per parameter (Wierstra et al., 2014, "Natural Evolution Strategies", separable form with rank-based
 * utilities; Salimans et al., 2017, mirrored pairs). Every candidate of a generation plays the same calls (common random numbers); the next generation
 * plays others.
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
  /** Shares of the spreads below that the search begins with and falls towards, by e in so many generations: a longer search begins as a shorter one does. */
  readonly firstSpreadRatio: number
  readonly lastSpreadRatio: number
  readonly coolingGenerations: number
  /** Share of its spread that the hold head is searched with: a small step there moves every scenario in overload by much. */
  readonly holdSpreadRatio: number
  /** A model gone on from has its hold head drawn so far back towards a prior first: takes out the part of it that was the search's own noise. */
  readonly priorHoldRatio: number
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
  firstSpreadRatio: 1,
  lastSpreadRatio: 0.3,
  coolingGenerations: 60,
  holdSpreadRatio: 1,
  priorHoldRatio: 0,
  averagedGenerations: 15,
  validationTasks: 40,
}

/** A search that goes on from a trained model: smaller steps, more tasks, since what is left to win is small against chance, and hidden units as they are. Chosen. */
export const REFINING_PLAN: SearchPlan = {
  ...SEARCH_PLAN,
  generations: 24,
  tasks: 10,
  linearGenerations: 24,
  firstSpreadRatio: 0.8,
  lastSpreadRatio: 0.25,
  coolingGenerations: 15,
  holdSpreadRatio: 0.2,
  priorHoldRatio: 0.4,
  averagedGenerations: 8,
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

const HOLD_BLOCK = 'hold.conditions'
/** Everything before this parameter belongs to the hidden units. */
const LINEAR_FROM = BLOCKS.find(({ name }) => name === 'place.linear')?.offset ?? 0

/** A search between two generations. Plain JSON. */
export interface SearchState {
  /** Generations that were played. */
  readonly generation: number
  readonly mean: readonly number[]
  readonly spread: readonly number[]
  /** Means of the last generations, oldest first. */
  readonly means: readonly (readonly number[])[]
}

interface SearchParts {
  readonly start: Float32Array
  readonly plan: SearchPlan
  readonly rng: Rng
  /** Where a search of the same start, plan and dice was. */
  readonly resume?: SearchState | undefined
}

/** Mean and spreads of the search, and what was asked last: `ask` for candidates, `tell` what they lost. */
export class Search {
  readonly #plan: SearchPlan
  readonly #rng: Rng
  readonly #mean: Float64Array
  readonly #spread: Float64Array
  readonly #utilities: readonly number[]
  readonly #means: Float64Array[] = []
  #draws: Float64Array[] = []
  #generation = 0

  constructor({ start, plan, rng, resume }: SearchParts) {
    this.#plan = plan
    this.#rng = rng
    this.#mean = Float64Array.from(resume?.mean ?? start)
    this.#spread = resume ? Float64Array.from(resume.spread) : spreads(plan)
    this.#utilities = utilitiesOf(plan.population)
    // The dice have to be where they were: what was drawn before is drawn again.
    for (let generation = 0; generation < (resume?.generation ?? 0); generation++) this.ask()
    this.#means.push(...(resume?.means ?? []).map((one) => Float64Array.from(one)))
    this.#generation = resume?.generation ?? 0
  }

  /** All that a search needs to go on from here. */
  state(): SearchState {
    return {
      generation: this.#generation,
      mean: [...this.#mean],
      spread: [...this.#spread],
      means: this.#means.map((one) => [...one]),
    }
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

  /** The mean as it stands. */
  centre(): Float32Array {
    return Float32Array.from(this.#mean)
  }

  /** The step: along each draw by what it and its mirror image earned. */
  tell(losses: readonly (readonly number[])[], tasks: readonly { readonly weight: number }[]): void {
    const scale = this.#scale()
    const ranks = rank(fitness(losses, tasks))
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
    const { coolingGenerations, firstSpreadRatio, lastSpreadRatio } = this.#plan
    return lastSpreadRatio + (firstSpreadRatio - lastSpreadRatio) * Math.exp(-this.#generation / coolingGenerations)
  }
}

function spreads({ holdSpreadRatio }: SearchPlan): Float64Array {
  const all = new Float64Array(PARAMETER_COUNT)
  for (const { name, shape, offset } of BLOCKS) all.fill(SPREADS[name] ?? 0.1, offset, offset + shape[0] * shape[1])
  const hold = blockOf(all, HOLD_BLOCK)
  for (let j = 0; j < hold.length; j++) hold[j] = (hold[j] as number) * holdSpreadRatio
  return all
}

/**
 * What a hold head is drawn back to: the start model's, but the fuller the memory, the fewer may wait: 9 at a fifth, 1 at four fifths. Where memory is
 * free, waiting costs nobody room and prefills are batched: on `azure-chat` 6.4 to 7.9 % on development seeds, and at `v100x4@26` TTFT p99 from 1.09 to 0.96
 * of least-request's.
 */
const HOLD_PRIOR = [
  { condition: 1, feature: 'one', weight: 2.71 },
  { condition: 1, feature: 'kvAfter', weight: -2.4 },
] as const

function holdPrior(): Float32Array {
  const prior = startParameters(() => 0)
  const hold = blockOf(prior, HOLD_BLOCK)
  for (const { condition, feature, weight } of HOLD_PRIOR) hold[HOLD_FEATURES.indexOf(feature) * CONDITIONS + condition] = weight
  return hold
}

/** The model with its hold head drawn back towards the prior by this share, 0..1. */
export function drawHoldBack(parameters: Float32Array, ratio: number): Float32Array {
  const drawn = parameters.slice()
  const hold = blockOf(drawn, HOLD_BLOCK)
  const prior = holdPrior()
  for (let j = 0; j < hold.length; j++) hold[j] = (1 - ratio) * (hold[j] as number) + ratio * (prior[j] as number)
  return drawn
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
function fitness(losses: readonly (readonly number[])[], tasks: readonly { readonly weight: number }[]): number[] {
  const total = losses.map(() => 0)
  for (const [t, { weight }] of tasks.entries()) {
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
