import type { ModelKind } from '../log/control/models.ts'
import type { Trial } from '../log/control/trials.ts'
import type { Control } from '../log/control.ts'
import { databasePath } from '../log/migrate.ts'
import { openReader } from '../log/read/reader.ts'
import { type BlockScore, readBlocks, readShadow } from '../log/read/trials.ts'
import { type Figure, LATE_SPARE } from './figure.ts'
import { estimateSwitchback, type SwitchbackEstimate } from './switchback.ts'

export interface Concluding {
  readonly control: Control
  readonly dataDir: string
  /** A canary whose whole interval is above 0 promotes its challengers. */
  readonly promotes: boolean
  /** What arms are compared by. */
  readonly figure: Figure
  readonly nowUnixMs: number
}

/** Trials that are looked at: one that ended longer ago has its result. */
const RECENT = 5
/** A result is worked out when the calls of the last block have ended and are on disk. */
const SETTLE_MS = 5_000

/** Works out what trials that have ended came to, once each: the gain of a canary with its interval, the agreement of a shadow. Promotes where that is wanted. */
export function concludeTrials({ control, dataDir, promotes, figure, nowUnixMs }: Concluding): void {
  const due = control.trials
    .list({ limit: RECENT })
    .filter(({ state, result, endedUnixMs }) => state !== 'running' && result === null && (endedUnixMs ?? 0) + SETTLE_MS <= nowUnixMs)
  if (due.length === 0) return
  const reader = openReader(databasePath(dataDir, 'log'))
  try {
    for (const trial of due)
      conclude(trial, {
        control,
        promotes,
        figure,
        blocks: reader.read((query) => readBlocks(query, trial.trialId, figure)),
        shadow: () => reader.read((query) => readShadow(query, trial.trialId)),
      })
  } finally {
    reader.close()
  }
}

interface Seen {
  readonly control: Control
  readonly promotes: boolean
  readonly figure: Figure
  readonly blocks: readonly BlockScore[]
  readonly shadow: () => unknown
}

function conclude(trial: Trial, { control, promotes, figure, blocks, shadow }: Seen): void {
  const { trialId, mode, state } = trial
  if (mode === 'shadow') {
    control.trials.setResult(trialId, JSON.stringify(shadow()))
    return
  }
  const estimate = estimateOf(blocks, figure)
  control.trials.setResult(trialId, JSON.stringify(estimate))
  if (state !== 'ended') return
  const words = `Canary ${trialId} is over: ${estimate.words}`
  const isBetter = 'low' in estimate && estimate.low > 0
  control.notices.append({ tone: isBetter ? 'good' : 'warn', text: words, href: '/models' })
  if (!isBetter || !promotes) return
  for (const modelId of challengersOf(trial)) {
    if (control.models.get(modelId)?.alias === 'champion') continue
    control.models.promote(modelId, { who: 'canary', why: estimate.words })
  }
}

/** The gain measured by blocks, or why there is none; late calls have to be read with the figure's limits. */
export function estimateOf(
  blocks: readonly BlockScore[],
  { kind, words }: Pick<Figure, 'kind' | 'words'>,
): SwitchbackEstimate | { readonly words: string } {
  try {
    return estimateSwitchback(
      blocks
        .filter((one) => one.meanE2eMs !== null)
        .map((one) => ({
          block: one.block,
          arm: one.arm,
          calls: one.completed,
          mean: kind === 'slo' ? LATE_SPARE + (one.lateRatio ?? 0) : (one.meanE2eMs as number),
          offeredPerS: (1_000 * (one.promptTokens + one.outputTokens)) / Math.max(1, one.toUnixMs - one.fromUnixMs),
        })),
      words,
    )
  } catch (error) {
    return { words: error instanceof Error ? error.message : String(error) }
  }
}

/** Ids of a trial's models. */
export function challengersOf({ lengthModelId, policyModelId, profileModelId }: Trial): readonly number[] {
  return [lengthModelId, policyModelId, profileModelId].filter((id) => id !== null)
}

/** Ids of a trial's models by kind. */
export function challengersByKind(trial: Trial): Partial<Record<ModelKind, number>> {
  const { lengthModelId, policyModelId, profileModelId } = trial
  return {
    ...(lengthModelId === null ? {} : { length: lengthModelId }),
    ...(policyModelId === null ? {} : { policy: policyModelId }),
    ...(profileModelId === null ? {} : { profile: profileModelId }),
  }
}
