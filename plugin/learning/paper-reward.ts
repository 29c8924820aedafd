import { type Mixing, type MixingParameters, mixingReward } from '../impact/mixing.ts'
import type { PaperSettings } from './paper-constants.ts'
import type { InstanceReading } from './paper-state.ts'

/** The paper's three arms: no heuristic, the heuristic at constant weight, the heuristic annealed. */
export const PAPER_ARMS = ['baseline', 'aware', 'guided'] as const
export type PaperArm = (typeof PAPER_ARMS)[number]

/**
 * How the heuristic enters episode k (from 0), per tick: the discount of the future and the weight of h.
 *   guided (HuRL, Cheng et al., "Heuristic-Guided Reinforcement Learning", NeurIPS 2021):
 *     γ̃_k = (1 − e^(−0.5 k)) · γ,  r + (γ − γ̃_k) · h + γ̃_k · max Q
 *   [R] aware: r + γ · h + γ · max Q in every episode; baseline: r + γ · max Q.
 */
export function annealing(arm: PaperArm, episode: number, { gamma, annealRate }: PaperSettings): { discount: number; weight: number } {
  if (arm === 'baseline') return { discount: gamma, weight: 0 }
  if (arm === 'aware') return { discount: gamma, weight: gamma }
  const discount = (1 - Math.exp(-annealRate * episode)) * gamma
  return { discount, weight: gamma - discount }
}

/**
 * r_mixing of the call on each instance, written to `out`. [R] An instance without the KV memory for it has no capacity left: there it counts as the worst, −1.
 * An idle one always has.
 */
export function mixingOn(
  call: Pick<Mixing, 'promptTokens' | 'outputTokens'>,
  readings: readonly Pick<InstanceReading, 'runningCalls' | 'runningTokens' | 'capacityRatio'>[],
  given: { readonly parameters: readonly MixingParameters[]; readonly settings: PaperSettings; readonly out: Float64Array },
): void {
  for (const [i, { runningCalls, runningTokens, capacityRatio }] of readings.entries()) {
    const full = runningCalls > 0 && capacityRatio < given.settings.reserveRatio
    given.out[i] = full ? -1 : mixingReward({ ...call, runningCalls, runningTokens }, given.parameters[i] as MixingParameters)
  }
}

/** h of an action: r_mixing(chosen) − the best r_mixing there is, deferring included; at most 0. */
export function heuristicOf(action: number, mixing: Float64Array, { deferMixing }: PaperSettings): number {
  let most = deferMixing
  for (const one of mixing) if (one > most) most = one
  return (mixing[action] ?? deferMixing) - most
}

/** The heuristic alone: the action of highest h. */
export function greedyAction(mixing: Float64Array, { deferMixing }: PaperSettings): number {
  let best = 0
  for (let i = 1; i < mixing.length; i++) if ((mixing[i] as number) > (mixing[best] as number)) best = i
  return (mixing[best] as number) > deferMixing ? best : mixing.length
}

/**
 * r of a stretch of time: −(queue weight) · ∫ Σ_i (1 − progress_i) dt + 60 per completion, in units of `rewardScale`, each part discounted from the
 * start of the stretch by γ per tick. The integral by trapezoids between the moments it is told of.
 */
export class RewardMeter {
  readonly #settings: PaperSettings
  #startMs = 0
  #sinceMs = 0
  #unfinished = 0
  #sum = 0

  constructor(settings: PaperSettings) {
    this.#settings = settings
  }

  /** A stretch begins. */
  start(nowMs: number, unfinished: number): void {
    this.#startMs = nowMs
    this.#sinceMs = nowMs
    this.#unfinished = unfinished
    this.#sum = 0
  }

  /** Time went on until now, when `unfinished` is Σ (1 − progress) and `completions` have just ended. */
  advance(nowMs: number, { unfinished, completions }: { readonly unfinished: number; readonly completions: number }): void {
    const { gamma, tickMs, queueWeightPerS, completionReward, rewardScale } = this.#settings
    const seconds = (nowMs - this.#sinceMs) / 1000
    const discount = gamma ** ((nowMs - this.#startMs) / tickMs)
    const waited = ((this.#unfinished + unfinished) / 2) * seconds * queueWeightPerS
    this.#sum += rewardScale * discount * (completionReward * completions - waited)
    this.#sinceMs = nowMs
    this.#unfinished = unfinished
  }

  get reward(): number {
    return this.#sum
  }
}
