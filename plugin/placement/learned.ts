import type { InstanceView } from '../fleet/instance.ts'
import type { EngineShape } from '../impact/engine-shape.ts'
import { preferLeast } from './argmin.ts'
import { PlaceFeatures } from './learned-features.ts'
import { blockOf, checkModel, HIDDEN, type LearnedModel, PLACE_WIDTH } from './learned-model.ts'
import type { Policy } from './policy.ts'
import { PolicyFailed } from './policy-failed.ts'

/** What a learned policy is made of. */
export interface LearnedParts {
  readonly model: LearnedModel
  readonly shapeOf: (instance: InstanceView) => EngineShape
}

/**
 * `learned`: one small net scores each candidate from its features (Zaheer et al., 2017: shared weights and pooled context, so that neither number
 * nor order of the candidates matters), and the least cost is taken, ties at random:
 *   cost = u·x + v·tanh(Wx + b)
 * Throws PolicyFailed on a cost that is no number, so that the fallback policy decides. Throws ModelRefused on a model for other features.
 */
export function createLearned(parts: LearnedParts): Policy {
  const features = new PlaceFeatures(parts)
  const forward = createPlaceForward(checkModel(parts.model).parameters)
  return {
    name: 'learned',
    version: parts.model.version,
    reason: 'lowest cost',
    distribute(candidates, _call, out) {
      const { count } = candidates
      features.fill(candidates)
      for (let i = 0; i < count; i++) {
        const cost = forward(features.rows, i * PLACE_WIDTH)
        if (!Number.isFinite(cost)) throw new PolicyFailed('not a number')
        out.costs[i] = cost
      }
      preferLeast(count, out)
    },
  }
}

/** The plain forward of the place head: the cost of the row that starts at `at`. */
export function createPlaceForward(parameters: Float32Array): (rows: Float64Array, at: number) => number {
  // Unit by unit, so that the inner loop runs over neighbours.
  const weights = new Float64Array(HIDDEN * PLACE_WIDTH)
  const hidden = blockOf(parameters, 'place.hidden')
  for (let f = 0; f < PLACE_WIDTH; f++) for (let h = 0; h < HIDDEN; h++) weights[h * PLACE_WIDTH + f] = hidden[f * HIDDEN + h] as number
  const bias = Float64Array.from(blockOf(parameters, 'place.bias'))
  const output = Float64Array.from(blockOf(parameters, 'place.output'))
  const linear = Float64Array.from(blockOf(parameters, 'place.linear'))
  return (rows, at) => {
    let cost = 0
    for (let f = 0; f < PLACE_WIDTH; f++) cost += (linear[f] as number) * (rows[at + f] as number)
    for (let h = 0; h < HIDDEN; h++) {
      let sum = bias[h] as number
      const from = h * PLACE_WIDTH
      for (let f = 0; f < PLACE_WIDTH; f++) sum += (weights[from + f] as number) * (rows[at + f] as number)
      cost += (output[h] as number) * Math.tanh(sum)
    }
    return cost
  }
}
