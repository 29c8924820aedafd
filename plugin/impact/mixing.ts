import type { EngineShape } from './engine-shape.ts'
import { peakPrefillTokensPerMs } from './engine-shape.ts'

/**
 * The workload-impact estimator of Jain et al., "Intelligent Router for LLM Workloads: Improving Performance Through Workload-Aware
 * Load Balancing" (arXiv 2408.13510; EuroMLSys 2025). The paper's displayed equations were not available: what is marked [R] is reconstructed from
 * its text.
 */
export interface MixingParameters {
  /** grad1: seconds of prefill per prompt token. */
  readonly promptSecondsPerToken: number
  /** grad2: seconds of a decode step per context token. */
  readonly contextSecondsPerToken: number
  /** ε: seconds of prompt phase beyond which a placement counts as harmful; the paper's threshold of a heavy prompt. */
  readonly heavyPromptSeconds: number
  /** α: weight of the prompt phase against the decode phase. */
  readonly promptWeight: number
}

/** α and ε as the paper states them; its V100 slopes, though its grad2 of 3.3e-5 does not fit its own plot, which shows 5e-7. */
export const PAPER_MIXING: MixingParameters = {
  promptSecondsPerToken: 3.2e-4,
  contextSecondsPerToken: 3.3e-5,
  heavyPromptSeconds: 0.5,
  promptWeight: 0.5,
}

/** What the estimator must know: of the call, and of everybody on the instance it may join. Tokens. */
export interface Mixing {
  readonly promptTokens: number
  readonly outputTokens: number
  /** n: calls on the instance. */
  readonly runningCalls: number
  /** Σ over them of (p_j + d_j), d_j predicted where it is not over. */
  readonly runningTokens: number
}

/** The same weights with the slopes of an instance's own profile. */
export function mixingOf(shape: EngineShape): MixingParameters {
  return {
    ...PAPER_MIXING,
    promptSecondsPerToken: 1 / (1_000 * peakPrefillTokensPerMs(shape)),
    contextSecondsPerToken: shape.law.decode.perContextTokenMs / 1_000,
  }
}

/**
 * Impact on the prompt phase, −1 (harmful) to 1 (none):
 *   [R] T = grad1 · p_i + grad2 · Σ_j (p_j + d_j)
 *   [R] r_p = clip(1 − T/ε, −1, 1)
 */
export function promptImpact(mixing: Mixing, parameters: MixingParameters): number {
  const seconds = parameters.promptSecondsPerToken * mixing.promptTokens + parameters.contextSecondsPerToken * mixing.runningTokens
  return clip(1 - seconds / parameters.heavyPromptSeconds, -1, 1)
}

/**
 * Impact on the calls that are decoding already, −1 to 0, in proportion to how many they are:
 *   [R] r_d = clip(−grad2 · n · (p_i + d_i), −1, 0)
 */
export function decodeImpact(mixing: Mixing, { contextSecondsPerToken }: MixingParameters): number {
  return clip(-contextSecondsPerToken * mixing.runningCalls * (mixing.promptTokens + mixing.outputTokens), -1, 0)
}

/** r_mixing = α · r_p + (1 − α) · r_d, higher is better. */
export function mixingReward(mixing: Mixing, parameters: MixingParameters): number {
  const { promptWeight } = parameters
  return promptWeight * promptImpact(mixing, parameters) + (1 - promptWeight) * decodeImpact(mixing, parameters)
}

/**
 * What is left of an instance, 0 to 1. The paper says C = g(batch size, P, D) and no more:
 *   [R] C = clip((KV tokens − Σ_j (p_j + d_j)) ÷ KV tokens, 0, 1)
 */
export function capacityLeft({ runningTokens }: Pick<Mixing, 'runningTokens'>, kvTokens: number): number {
  return clip((kvTokens - runningTokens) / kvTokens, 0, 1)
}

function clip(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value))
}
