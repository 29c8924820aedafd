import type { InstanceView } from '../fleet/instance.ts'
import { type EngineShape, shapeOfSpeed } from '../impact/engine-shape.ts'
import { createAgentgateway } from './agentgateway.ts'
import { createAibrixLeastLatency } from './aibrix-least-latency.ts'
import { createAibrixPrefix } from './aibrix-prefix.ts'
import { createCacheAware } from './cache-aware.ts'
import { createDrainRate } from './drain-rate.ts'
import { createDynamoKv } from './dynamo-kv.ts'
import { createLearned } from './learned.ts'
import type { LearnedModel } from './learned-model.ts'
import { createLeastKv } from './least-kv.ts'
import { createLeastLoad } from './least-load.ts'
import { createLeastRequest, createLeastRequestSpeed } from './least-request.ts'
import { createLeastTokens, createLeastTokensPredicted } from './least-tokens.ts'
import { createLitellmLatency } from './litellm-latency.ts'
import { createLitellmLeastBusy } from './litellm-least-busy.ts'
import { createLlumnix } from './llumnix.ts'
import { createLmetric } from './lmetric.ts'
import { createImpact, createPredictedLatency } from './look-ahead.ts'
import { createP2c } from './p2c.ts'
import { createPaperGreedy } from './paper-greedy.ts'
import { createPeakEwma } from './peak-ewma.ts'
import type { Policy } from './policy.ts'
import { createPrefixHash } from './prefix-hash.ts'
import { createQuadratic } from './quadratic.ts'
import { createRandom } from './random.ts'
import { createRoundRobin } from './round-robin.ts'
import { createSelectivePush } from './selective-push.ts'
import { createSizeInterval } from './size-interval.ts'
import { createStickyUntilSaturated } from './sticky-until-saturated.ts'
import { createVllmDp } from './vllm-dp.ts'
import { BLIS_WEIGHTS, createWeighted, GAIE_WEIGHTS, type Weights } from './weighted.ts'

/** What an operator may set for a pool's policy, and what is known of its instances. */
export interface PolicyParts {
  readonly weights?: { readonly [key in keyof Weights]?: number | undefined } | undefined
  /** The engine's shape where its profile is known; elsewhere the reference shape at the instance's speed is taken. */
  readonly profileOf?: ((instance: InstanceView) => EngineShape | undefined) | undefined
  /** What `learned` decides by. */
  readonly model?: LearnedModel | undefined
}

interface Making {
  readonly weights: Weights
  readonly shapeOf: (instance: InstanceView) => EngineShape
}

const POLICIES = {
  random: () => createRandom(),
  'round-robin': createRoundRobin,
  p2c: createP2c,
  'least-request': createLeastRequest,
  'least-request-speed': createLeastRequestSpeed,
  'least-tokens': createLeastTokens,
  'least-tokens-predicted': createLeastTokensPredicted,
  'least-kv': createLeastKv,
  'vllm-dp': createVllmDp,
  quadratic: createQuadratic,
  'size-interval': createSizeInterval,
  'cache-aware': createCacheAware,
  'prefix-hash': createPrefixHash,
  'least-load': createLeastLoad,
  weighted: ({ weights }) => createWeighted(weights),
  'weighted-4-3': () => createWeighted(BLIS_WEIGHTS, 'weighted-4-3'),
  'sticky-until-saturated': createStickyUntilSaturated,
  'dynamo-kv': createDynamoKv,
  lmetric: createLmetric,
  'aibrix-prefix': createAibrixPrefix,
  'aibrix-least-latency': createAibrixLeastLatency,
  'drain-rate': createDrainRate,
  'peak-ewma': createPeakEwma,
  agentgateway: createAgentgateway,
  'litellm-shuffle': () => createRandom('litellm-shuffle'),
  'litellm-least-busy': createLitellmLeastBusy,
  'litellm-latency': () => createLitellmLatency(),
  llumnix: createLlumnix,
  'selective-push': createSelectivePush,
  'predicted-latency': createPredictedLatency,
  impact: createImpact,
  'paper-greedy': createPaperGreedy,
} satisfies Record<string, (making: Making) => Policy>

/** Names of the rules a pool may use as its policy. */
export const POLICY_NAMES: readonly string[] = Object.keys(POLICIES)

/** The policy that decides by a trained model, and so needs one. */
export const LEARNED = 'learned'

/** Names a pool may use as its policy. */
export const SELECTABLE_POLICY_NAMES: readonly string[] = [...POLICY_NAMES, LEARNED]

/**
 * Policies that weigh the predicted output; the others come out the same whatever is predicted. `oracle-` before one of these names is the same rule told the true
 * output, which only a twin knows: it shows the ceiling and cannot be a pool's policy.
 */
export const PREDICTING_POLICY_NAMES: readonly string[] = [
  'least-tokens-predicted',
  'size-interval',
  'predicted-latency',
  'impact',
  'paper-greedy',
]

/** Policies that no pool may use yet, each with the reason. */
export const UNSELECTABLE_POLICIES: ReadonlyMap<string, string> = new Map([
  ...PREDICTING_POLICY_NAMES.map((name) => [`oracle-${name}`, 'it needs the true output length, which only a twin knows'] as const),
  ...['paper-baseline', 'paper-aware', 'paper-guided'].map(
    (name) =>
      [
        name,
        "it is the paper's network, trained for one fleet of equal instances: `bench -- paper` trains and plays it in the twin",
      ] as const,
  ),
])

/** A fresh policy: one per router and pool, since some keep state. Throws on a name that is not in SELECTABLE_POLICY_NAMES, and on `learned` without a model that fits. */
export function createPolicy(name: string, parts: PolicyParts = {}): Policy {
  if (name === LEARNED) return createLearned({ model: given(parts.model), shapeOf: createShapeOf(parts) })
  const create = (POLICIES as Readonly<Record<string, (making: Making) => Policy>>)[name]
  const reason = UNSELECTABLE_POLICIES.get(name)
  if (reason) throw new Error(`the policy ${JSON.stringify(name)} cannot be selected: ${reason}`)
  if (!create) throw new Error(`unknown policy ${JSON.stringify(name)}; there are ${SELECTABLE_POLICY_NAMES.join(', ')}`)
  return create({ weights: withDefaults(parts.weights), shapeOf: createShapeOf(parts) })
}

/** The shape that is believed of an instance: its profile's where that is known, else the reference at its speed. */
export function createShapeOf({ profileOf }: Pick<PolicyParts, 'profileOf'>): (instance: InstanceView) => EngineShape {
  return (instance) => profileOf?.(instance) ?? shapeOfSpeed(instance.speed)
}

function given(model: LearnedModel | undefined): LearnedModel {
  if (!model) throw new Error('the policy "learned" needs a model')
  return model
}

/**
 * The same for a twin, which also has `oracle-` policies: the rule without that word, named with it. The caller passes the true output as the predicted
 * one to exactly those (see `isOracle`).
 */
export function createTwinPolicy(name: string, parts: PolicyParts = {}): Policy {
  return isOracle(name) ? { ...createPolicy(name.slice(ORACLE.length), parts), name } : createPolicy(name, parts)
}

const ORACLE = 'oracle-'

/** The policy is to be told the true output length. */
export function isOracle(name: string): boolean {
  return name.startsWith(ORACLE)
}

function withDefaults(given: PolicyParts['weights']): Weights {
  return {
    queue: given?.queue ?? GAIE_WEIGHTS.queue,
    kv: given?.kv ?? GAIE_WEIGHTS.kv,
    prefix: given?.prefix ?? GAIE_WEIGHTS.prefix,
    adapter: given?.adapter ?? GAIE_WEIGHTS.adapter,
  }
}
