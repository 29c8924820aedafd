import type { InstanceView } from '../fleet/instance.ts'
import type { EngineShape } from '../impact/engine-shape.ts'
import { type NewCall, RollForward } from '../impact/roll-forward.ts'
import { createArgmin } from './argmin.ts'
import { cell, uncachedTokens } from './cell.ts'
import { AT, CALL_AT } from './features.ts'
import type { Candidates, Policy } from './policy.ts'

/** Output taken for granted where nobody predicted it. */
const UNPREDICTED_OUTPUT_TOKENS = 256

interface LookAheadParts {
  readonly shapeOf: (instance: InstanceView) => EngineShape
}

/**
 * `predicted-latency` (Block, RouteBalance): the router's belief of each instance is rolled forward with predicted lengths and this call placed last; argmin of the
 * call's own E2E.
 */
export function createPredictedLatency(parts: LookAheadParts): Policy {
  const forward = new RollForward()
  return createArgmin('predicted-latency', (candidates, costs) => {
    for (let i = 0; i < candidates.count; i++) {
      const instance = candidates.instances[i] as InstanceView
      forward.load(instance, candidates.nowMs)
      forward.run(parts.shapeOf(instance), newCall(candidates, i))
      costs[i] = forward.ownE2eMs
    }
  })
}

/** `impact`: the same roll with and without the call; argmin of everybody's added latency: what the others end later, plus the call's own E2E. */
export function createImpact(parts: LookAheadParts): Policy {
  const forward = new RollForward()
  return createArgmin('impact', (candidates, costs) => {
    for (let i = 0; i < candidates.count; i++) {
      const instance = candidates.instances[i] as InstanceView
      const shape = parts.shapeOf(instance)
      forward.load(instance, candidates.nowMs)
      const withoutMs = forward.run(shape)
      costs[i] = forward.run(shape, newCall(candidates, i)) - withoutMs + forward.ownE2eMs
    }
  })
}

/** The call as this candidate would have to serve it: what it has cached is not computed again. */
export function newCall(candidates: Candidates, index: number): NewCall {
  const promptTokens = candidates.callRow[CALL_AT.promptTokens] as number
  const predicted = candidates.callRow[CALL_AT.predictedOutputTokens] as number
  return {
    promptTokens,
    uncachedPromptTokens: Math.max(1, uncachedTokens(promptTokens, cell(candidates, index, AT.prefixMatch))),
    outputTokens: Math.max(1, Math.round(Number.isNaN(predicted) ? UNPREDICTED_OUTPUT_TOKENS : predicted)),
  }
}
