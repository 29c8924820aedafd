import type { InstanceView } from '../fleet/instance.ts'
import type { EngineShape } from '../impact/engine-shape.ts'
import { type MixingParameters, mixingOf, mixingReward } from '../impact/mixing.ts'
import { createArgmin } from './argmin.ts'
import { cell } from './cell.ts'
import { AT, CALL_AT } from './features.ts'
import type { Policy } from './policy.ts'

/** Output taken for granted where nobody predicted it. */
const UNPREDICTED_OUTPUT_TOKENS = 256

/**
 * `paper-greedy`: argmax of the paper's r_mixing, without its reinforcement learning; an arm that the paper does not have. Slopes come from each instance's
 * profile unless `parameters` sets them.
 */
export function createPaperGreedy(parts: {
  readonly shapeOf: (instance: InstanceView) => EngineShape
  readonly parameters?: MixingParameters
}): Policy {
  const derived = new WeakMap<EngineShape, MixingParameters>()
  const parametersOf = (instance: InstanceView): MixingParameters => {
    if (parts.parameters) return parts.parameters
    const shape = parts.shapeOf(instance)
    const known = derived.get(shape) ?? mixingOf(shape)
    derived.set(shape, known)
    return known
  }
  return createArgmin('paper-greedy', (candidates, costs) => {
    const promptTokens = candidates.callRow[CALL_AT.promptTokens] as number
    const predicted = candidates.callRow[CALL_AT.predictedOutputTokens] as number
    const outputTokens = Number.isNaN(predicted) ? UNPREDICTED_OUTPUT_TOKENS : predicted
    for (let i = 0; i < candidates.count; i++) {
      const runningTokens =
        cell(candidates, i, AT.promptTokensInFlight) + cell(candidates, i, AT.outputTokensDone) + cell(candidates, i, AT.outputTokensLeft)
      const mixing = { promptTokens, outputTokens, runningCalls: cell(candidates, i, AT.inFlight), runningTokens }
      costs[i] = -mixingReward(mixing, parametersOf(candidates.instances[i] as InstanceView))
    }
  })
}
