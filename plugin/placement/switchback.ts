import { createRng, seedOf } from '../rng.ts'

/**
 * Two policies that share one fleet disturb each other, so a canary is given stretches of time, not calls (switchback experiment; Bojinov, Simchi-Levi and
 * Zhao, Management Science 2023, "Design and Analysis of Switchback Experiments"): time is cut into blocks of equal length, and in every group of
 * `round(1 ÷ share)` blocks one, drawn by lot, is the challenger's.
 */
export interface SwitchbackPlan {
  readonly seed: number
  /** When block 0 begins; times before it are control. */
  readonly startUnixMs: number
  readonly blockMs: number
  /** Calls that arrive this early in a block belong to nobody: the fleet still works off what the other arm left. */
  readonly washoutMs: number
  /** Share of the blocks that are the challenger's, above 0, at most 0.5. */
  readonly shareRatio: number
}

export type SwitchbackArm = 'control' | 'challenger'

/** Where a moment falls. Whoever decides goes by `arm`; whoever judges leaves out what is washed out. */
export interface SwitchbackMoment {
  readonly block: number
  readonly arm: SwitchbackArm
  readonly isWashout: boolean
}

/** Blocks of a canary where neither people nor the twin say how many: enough that a gain of a tenth shows at the spreads seen on virtual fleets (bench trust). */
export const BLOCKS_DEFAULT = 40

/** A block and wash-out that suit calls of this length: the wash-out as long as nine of ten calls take, the block eight times that, at least a minute. */
export function suggestBlocks({ e2eMsP90 }: { readonly e2eMsP90: number }): Pick<SwitchbackPlan, 'blockMs' | 'washoutMs'> {
  const washoutMs = Math.max(5_000, Math.ceil(e2eMsP90 / 1_000) * 1_000)
  return { washoutMs, blockMs: Math.max(60_000, 8 * washoutMs) }
}

/** Throws on a plan that cannot be followed, with the value that is wrong. */
export function assertPlan({ blockMs, washoutMs, shareRatio }: SwitchbackPlan): void {
  if (!(blockMs > 0)) throw new Error(`a block must be longer than 0 ms, got ${blockMs}`)
  if (!(washoutMs >= 0 && washoutMs < blockMs))
    throw new Error(`the wash-out must be shorter than the block of ${blockMs} ms, got ${washoutMs}`)
  if (!(shareRatio > 0 && shareRatio <= 0.5)) throw new Error(`the challenger's share must be above 0 and at most 0.5, got ${shareRatio}`)
}

/** Block and arm of a moment; the same plan gives the same answer in every process. */
export function momentOf(plan: SwitchbackPlan, unixMs: number): SwitchbackMoment {
  const block = Math.floor((unixMs - plan.startUnixMs) / plan.blockMs)
  const intoMs = unixMs - plan.startUnixMs - block * plan.blockMs
  return { block, arm: armOf(plan, block), isWashout: intoMs < plan.washoutMs }
}

/** Whose block it is. */
export function armOf({ seed, shareRatio }: Pick<SwitchbackPlan, 'seed' | 'shareRatio'>, block: number): SwitchbackArm {
  if (block < 0) return 'control'
  const size = Math.max(2, Math.round(1 / shareRatio))
  const group = Math.floor(block / size)
  const chosen = createRng(seedOf(`${seed}/switchback/${group}`)).int(size)
  return block - group * size === chosen ? 'challenger' : 'control'
}

/**
 * What the guard of a canary is to be told of a call: control's calls that wait behind a challenger's block are nobody's, the challenger's own calls are
 * watched from the first on.
 */
export function guardedArmOf(plan: SwitchbackPlan, unixMs: number): SwitchbackArm | 'washout' {
  const { block, arm, isWashout } = momentOf(plan, unixMs)
  return guardedArm({ arm, isWashout, before: armOf(plan, block - 1) })
}

/** The same where it is known whose block it is and whose the one before was: blocks that were planned for a challenger may have been control's. */
export function guardedArm(at: {
  readonly arm: SwitchbackArm
  readonly isWashout: boolean
  readonly before: SwitchbackArm
}): SwitchbackArm | 'washout' {
  return at.isWashout && at.arm === 'control' && at.before === 'challenger' ? 'washout' : at.arm
}
