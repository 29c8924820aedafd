import type { ModelRecord } from '../log/control/models.ts'
import type { Control } from '../log/control.ts'
import { momentOf, type SwitchbackPlan } from '../placement/switchback.ts'
import type { ServedCall } from '../simulation/log-replay/traffic.ts'
import type { Gain } from './evaluate-intervals.ts'
import { blocksNeeded, gatherBlocks, type SwitchbackBlock } from './switchback.ts'

/** How a canary would be cut into blocks. */
export type BlockPlan = Pick<SwitchbackPlan, 'shareRatio' | 'blockMs' | 'washoutMs'>

/** What the twin says beforehand of a canary. Plain JSON. */
export interface ForetoldBlocks extends BlockPlan {
  /** Of both arms together, until the interval leaves out 0 with 80 % certainty, if the promised gain is real; null where it cannot be told. */
  readonly blocks: number | null
  /** Spread of a block's mean that load and time do not explain, as a share of it. */
  readonly spread: number | null
  readonly words: string
}

/** One play of the calls under what serves: what is compared, by call (E2E in ms, or lateness), NaN where it was not answered. */
export interface ServedPlay {
  readonly calls: readonly ServedCall[]
  readonly figures: Float64Array
}

/** A canary longer than this is no plan: a year of minutes. */
const BLOCKS_MOST = 500_000

/** Plays of what serves, cut into blocks and dealt by lot as if both arms were it: so far do blocks stray by themselves, and so many of them it takes. */
export function foretellBlocks(
  plays: readonly ServedPlay[],
  { gain, plan, seed }: { readonly gain: Gain; readonly plan: BlockPlan; readonly seed: number },
): ForetoldBlocks {
  const untold = (why: string): ForetoldBlocks => ({
    ...plan,
    blocks: null,
    spread: null,
    words: `how many blocks a canary needs cannot be foretold: ${why}`,
  })
  if (!(gain[0] > 0)) return untold('no gain is promised')
  const pilot = plays.flatMap((play, i) => blocksOf(play, { ...plan, shareRatio: 0.5, seed: seed + i, startUnixMs: 0 }))
  try {
    const { blocks, spread } = blocksNeeded(
      pilot.map((block, i) => ({ ...block, block: i })),
      { gain: gain[0], shareRatio: plan.shareRatio },
    )
    if (!(blocks <= BLOCKS_MOST)) return untold('blocks stray too far')
    return { ...plan, blocks, spread, words: `a canary needs about ${blocks} blocks of ${lengthOf(plan.blockMs)} to show it` }
  } catch (error) {
    return untold(error instanceof Error ? error.message : String(error))
  }
}

/** What the newest verdict of a version foretells of its canary; undefined where nothing was. */
export function foretoldBlocks({ models }: Pick<Control, 'models'>, { modelId }: Pick<ModelRecord, 'modelId'>): ForetoldBlocks | undefined {
  const [verdict] = models.verdicts(modelId)
  return (JSON.parse(verdict?.numbers ?? '{}') as { readonly canary?: ForetoldBlocks }).canary
}

/** Whole blocks alone: the last one is cut off. */
function blocksOf({ calls, figures }: ServedPlay, plan: SwitchbackPlan): SwitchbackBlock[] {
  const startUnixMs = calls[0]?.arrivedUnixMs ?? 0
  const whole = Math.floor(((calls.at(-1)?.arrivedUnixMs ?? 0) - startUnixMs) / plan.blockMs)
  const own = { ...plan, startUnixMs }
  return gatherBlocks(
    calls.map((call, i) => ({
      arrivedUnixMs: call.arrivedUnixMs,
      figure: figures[i] ?? Number.NaN,
      workTokens: call.promptTokens + (call.outputTokens ?? 0),
    })),
    { at: (unixMs) => momentOf(own, unixMs), judgedMs: plan.blockMs },
  ).filter(({ block }) => block < whole)
}

const lengthOf = (ms: number): string => (ms >= 120_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 1_000)} s`)
