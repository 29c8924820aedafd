import { createLeastRequest, createLeastRequestSpeed } from './least-request.ts'
import { createLeastTokens } from './least-tokens.ts'
import { createP2c } from './p2c.ts'
import type { Policy } from './policy.ts'
import { createRandom } from './random.ts'
import { createRoundRobin } from './round-robin.ts'
import { createWeighted, GAIE_WEIGHTS, type Weights } from './weighted.ts'

/** What an operator may set for a pool's policy. */
export interface PolicyParts {
  readonly weights?: { readonly [key in keyof Weights]?: number | undefined } | undefined
}

const POLICIES = {
  random: createRandom,
  'round-robin': createRoundRobin,
  p2c: createP2c,
  'least-request': createLeastRequest,
  'least-request-speed': createLeastRequestSpeed,
  'least-tokens': createLeastTokens,
  weighted: ({ weights }: PolicyParts) => createWeighted(withDefaults(weights)),
} satisfies Record<string, (parts: PolicyParts) => Policy>

/** Names a pool may use as its policy. */
export const POLICY_NAMES: readonly string[] = Object.keys(POLICIES)

/** A fresh policy: one per router and pool, since some keep state. Throws on a name that is not in POLICY_NAMES. */
export function createPolicy(name: string, parts: PolicyParts = {}): Policy {
  const create = (POLICIES as Readonly<Record<string, (parts: PolicyParts) => Policy>>)[name]
  if (!create) throw new Error(`unknown policy ${JSON.stringify(name)}; there are ${POLICY_NAMES.join(', ')}`)
  return create(parts)
}

function withDefaults(given: PolicyParts['weights']): Weights {
  return {
    queue: given?.queue ?? GAIE_WEIGHTS.queue,
    kv: given?.kv ?? GAIE_WEIGHTS.kv,
    prefix: given?.prefix ?? GAIE_WEIGHTS.prefix,
    adapter: given?.adapter ?? GAIE_WEIGHTS.adapter,
  }
}
