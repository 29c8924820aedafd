import type { SwitchbackArm } from '../placement/switchback.ts'
import { percent } from './percent.ts'
import { fitMeans } from './quasi-poisson.ts'
import { normalQuantile, studentQuantile } from './student.ts'

/** One block after its wash-out, as it was measured. */
export interface SwitchbackBlock {
  readonly block: number
  readonly arm: SwitchbackArm
  /** Calls that arrived in it after the wash-out and completed. */
  readonly calls: number
  /** Mean of what the arms are compared by: E2E, ms, or lateness; see figure.ts. */
  readonly mean: number
  /** Work offered in the block whatever the arm did: tokens, or calls, per second; what it is does not matter, only that both arms count alike. */
  readonly offeredPerS: number
}

/** How much lower the challenger's mean is: 1 − challenger ÷ control. Above 0 is better. */
export interface SwitchbackEstimate {
  readonly gain: number
  /** 95 % interval by blocks. */
  readonly low: number
  readonly high: number
  readonly controlBlocks: number
  readonly challengerBlocks: number
  readonly calls: number
  /** Standard error of ln(challenger ÷ control). */
  readonly error: number
  /** In words, for the verdict. */
  readonly words: string
}

/** Blocks with fewer calls say too little about their mean to be counted. */
const BLOCK_CALLS_LEAST = 5
/** Of either arm: fewer give an interval that means nothing. */
export const BLOCKS_LEAST = 4

/**
 * Gain of the challenger from the blocks of a switchback experiment: log-linear regression of the blocks' means on the arm, on how much work was offered
 * (linear and squared, in logs) and on time, each block weighted by its calls; the interval is over blocks, not calls, since calls of one block share its queues.
 * Throws where either arm has fewer than four blocks with calls.
 */
export function estimateSwitchback(given: readonly SwitchbackBlock[], gainWords = 'lower mean E2E'): SwitchbackEstimate {
  const blocks = given.filter((one) => one.calls >= BLOCK_CALLS_LEAST && one.mean > 0)
  const challengers = blocks.filter((one) => one.arm === 'challenger').length
  const controls = blocks.length - challengers
  if (Math.min(challengers, controls) < BLOCKS_LEAST)
    throw new Error(
      `${challengers} challenger and ${controls} control blocks with calls; ${BLOCKS_LEAST} of each are the least that can be compared`,
    )
  const fit = fitMeans(rowsOf(blocks))
  const effect = fit.coefficients[1] as number
  const error = fit.errors[1] as number
  const half = studentQuantile(0.975, Math.max(1, fit.freedom)) * error
  const gain = 1 - Math.exp(effect)
  const low = 1 - Math.exp(effect + half)
  const high = 1 - Math.exp(effect - half)
  return {
    gain,
    low,
    high,
    controlBlocks: controls,
    challengerBlocks: challengers,
    calls: blocks.reduce((sum, one) => sum + one.calls, 0),
    error,
    words: `${percent(gain)} ${gainWords} (95 % interval ${percent(low)} to ${percent(high)}) over ${challengers} challenger and ${controls} control blocks`,
  }
}

function rowsOf(blocks: readonly SwitchbackBlock[]) {
  const load = standardised(blocks.map((one) => Math.log(Math.max(1e-9, one.offeredPerS))))
  const time = standardised(blocks.map((one) => one.block))
  // With few blocks every column costs an interval's worth of freedom: time and curvature come in when there is room.
  const wide = blocks.length >= 16
  return {
    x: blocks.map((one, i) => {
      const own = load[i] as number
      const base = [1, one.arm === 'challenger' ? 1 : 0, own]
      return Float64Array.from(wide ? [...base, own * own, time[i] as number] : base)
    }),
    y: Float64Array.from(blocks, (one) => one.mean),
    weights: Float64Array.from(blocks, (one) => one.calls),
  }
}

function standardised(values: readonly number[]): number[] {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length)
  return values.map((value) => (deviation > 0 ? (value - mean) / deviation : 0))
}

export interface BlocksNeeded {
  /** Of both arms together; Infinity where no gain is promised. */
  readonly blocks: number
  readonly challengerBlocks: number
  /** Spread of a block's mean that load and time do not explain, as a share of it. */
  readonly spread: number
}

/**
 * How many blocks it takes until the interval excludes 0 with `power`, if the promised gain is real; from blocks that a twin played with control in both
 * arms. Two-sided 95 %: (z₀.₉₇₅ + z_power)² · σ² · (1/n_challenger + 1/n_control) = ln(1 − gain)².
 */
export function blocksNeeded(
  pilot: readonly SwitchbackBlock[],
  plan: { readonly gain: number; readonly shareRatio: number; readonly power?: number },
): BlocksNeeded {
  const estimate = estimateSwitchback(pilot)
  const spread = estimate.error / Math.sqrt(1 / estimate.challengerBlocks + 1 / estimate.controlBlocks)
  if (!(plan.gain > 0)) return { blocks: Number.POSITIVE_INFINITY, challengerBlocks: Number.POSITIVE_INFINITY, spread }
  const z = normalQuantile(0.975) + normalQuantile(plan.power ?? 0.8)
  const wanted = (z * spread) / Math.log(1 - plan.gain)
  const perBlock = 1 / plan.shareRatio + 1 / (1 - plan.shareRatio)
  const blocks = Math.max(Math.ceil(wanted * wanted * perBlock), Math.ceil(BLOCKS_LEAST / plan.shareRatio))
  return { blocks, challengerBlocks: Math.max(BLOCKS_LEAST, Math.round(blocks * plan.shareRatio)), spread }
}

/** One call of a switchback experiment, for `gatherBlocks`. */
export interface SwitchbackCall {
  readonly arrivedUnixMs: number
  /** What is compared, such as its E2E; NaN or negative: it did not complete and is offered work only. */
  readonly figure: number
  /** Its tokens, known or predicted; NaN counts as one. */
  readonly workTokens: number
}

/** Sums calls up by block, wash-outs left out. `momentOf` bound to the plan is the natural `at`. */
export function gatherBlocks(
  calls: Iterable<SwitchbackCall>,
  parts: {
    readonly at: (unixMs: number) => { readonly block: number; readonly arm: SwitchbackArm; readonly isWashout: boolean }
    readonly judgedMs: number
  },
): SwitchbackBlock[] {
  const sums = new Map<number, { arm: SwitchbackArm; calls: number; figures: number; work: number }>()
  for (const call of calls) {
    const { block, arm, isWashout } = parts.at(call.arrivedUnixMs)
    if (block < 0) continue
    const sum = sums.get(block) ?? { arm, calls: 0, figures: 0, work: 0 }
    sums.set(block, sum)
    // Work that arrived in the wash-out weighs on the block as well.
    sum.work += Number.isNaN(call.workTokens) ? 1 : call.workTokens
    if (isWashout || !(call.figure >= 0)) continue
    sum.calls++
    sum.figures += call.figure
  }
  return [...sums]
    .sort(([a], [b]) => a - b)
    .map(([block, { arm, calls: count, figures, work }]) => ({
      block,
      arm,
      calls: count,
      mean: figures / Math.max(1, count),
      offeredPerS: work / (parts.judgedMs / 1000),
    }))
}
