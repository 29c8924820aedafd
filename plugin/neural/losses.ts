import type { Graph, Tensor } from './graph.ts'
import { absolute, add, logSoftmax, meanOfAll, minimum, multiply, negate, softplus, subtract, sum } from './operators.ts'

/** Losses, each a scalar to minimise. */

/** Mean over rows of −Σ target · ln softmax(logits); `targets` [rows, classes] are probabilities. */
export function crossEntropy(g: Graph, logits: Tensor, targets: Tensor): Tensor {
  const perRow = sum(g, multiply(g, targets, logSoftmax(g, logits)), { axes: [1] })
  return negate(g, meanOfAll(g, perRow))
}

/**
 * Mean over rows of Σ over thresholds of mask · binary cross-entropy of the logit. With target 1 at every threshold the value exceeds
 * it is the ordinal loss of cumulative links (McCullagh, 1980; Niu et al., 2016). With logits of hazards, target 1 at the bucket in which the
 * value ended, 0 before and mask 0 after, it is the log-likelihood of discrete survival (Singer and Willett, 1993; Gensheimer and Narasimhan,
 * 2019): a censored row has mask 1 and target 0 for the buckets it outlived and mask 0 from there.
 */
export function maskedBinary(g: Graph, logits: Tensor, { targets, mask }: { readonly targets: Tensor; readonly mask: Tensor }): Tensor {
  const perCell = subtract(g, softplus(g, logits), multiply(g, targets, logits))
  return meanOfAll(g, sum(g, multiply(g, mask, perCell), { axes: [1] }))
}

/** Mean of Huber's loss (1964): quadratic to `knee`, linear beyond. */
export function huber(g: Graph, predicted: Tensor, target: Tensor, knee = 1): Tensor {
  const error = absolute(g, subtract(g, predicted, target))
  const inner = minimum(g, error, g.constant(knee))
  const quadratic = multiply(g, multiply(g, inner, inner), g.constant(0.5))
  return meanOfAll(g, add(g, quadratic, multiply(g, subtract(g, error, inner), g.constant(knee))))
}

/** Mean of squares. */
export function meanSquare(g: Graph, predicted: Tensor, target: Tensor): Tensor {
  const error = subtract(g, predicted, target)
  return meanOfAll(g, multiply(g, error, error))
}
