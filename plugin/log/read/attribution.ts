import { type Attribution, attribute } from '../../placement/attribution.ts'
import { createPolicy, POLICY_NAMES } from '../../placement/policies.ts'
import type { Policy } from '../../placement/policy.ts'
import type { Decision } from './decision.ts'

export type { Attribution } from '../../placement/attribution.ts'

/** The policy of that name and version to be asked again; undefined where it is not to be had. */
export type PolicyOf = (name: string, version: string) => Policy | undefined

const rules: PolicyOf = (name, version) => (version === 'none' && POLICY_NAMES.includes(name) ? createPolicy(name) : undefined)

/**
 * Which features decided a stored decision, by asking its policy again: a rule by its name, a learned one by `policyOf`. Undefined where nothing can be said: one
 * candidate, a draw by lot, rows of another column list, a policy that keeps state or is not there any more.
 */
export function attributeStored({ call, candidates, callFeatures }: Decision, policyOf: PolicyOf = rules): Attribution | undefined {
  if (callFeatures === undefined || candidates.length < 2 || call.reason !== 'lowest cost') return undefined
  const rows = candidates.flatMap((one) => one.features ?? [])
  if (rows.length < candidates.length) return undefined
  const policy = policyOf(call.policy, call.policyVersion) ?? rules(call.policy, call.policyVersion)
  if (policy === undefined) return undefined
  return attribute(policy, {
    callRow: callFeatures,
    rows,
    costs: candidates.map((one) => one.cost),
    names: candidates.map((one) => one.instance),
    chosen: 0,
    runnerUp: 1,
  })
}
