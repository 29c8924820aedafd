import { expect, test } from 'vitest'
import { explain } from '../../admin/why.ts'
import { attributeStored } from '../../plugin/log/read/attribution.ts'
import { CALL_COLUMNS, CANDIDATE_COLUMNS } from '../../plugin/log/read/columns.ts'
import type { Decision, StoredCall } from '../../plugin/log/read/decision.ts'
import { createPolicy } from '../../plugin/placement/policies.ts'
import { createRng, type Rng } from '../../plugin/rng.ts'
import { askPolicies } from '../../plugin/router-what-if.ts'
import { sketchCall } from '../fakes/instances.ts'

const POLICIES = ['least-request', 'least-request-speed', 'least-tokens', 'weighted', 'least-kv']
const DECISIONS = 60

const INTEGERS = new Set(['inFlight', 'waiting', 'running', 'awaitingFirstToken', 'waitingBelieved'])
const RATIOS = new Set(['slowStart', 'kvUsage', 'prefixMatch', 'adapterLoaded'])

function features(rng: Rng): Float32Array {
  return Float32Array.from(CANDIDATE_COLUMNS, ({ name }) => {
    if (INTEGERS.has(name)) return rng.int(12)
    if (RATIOS.has(name)) return name === 'adapterLoaded' ? rng.int(2) : Math.round(rng.next() * 100) / 100
    if (name === 'kvTokensCapacity') return 200_000
    return name === 'speed' || name === 'weight' ? 1 + rng.int(3) : rng.int(4_000)
  })
}

/** What a policy wants of these rows, told by the router's own way of asking. */
function wish(policy: string, call: Float32Array, candidates: readonly { readonly instance: string; readonly features: Float32Array }[]) {
  return askPolicies({ pool: 'm', call, candidates }, undefined).find((one) => one.policy === policy)
}

/** What the policy weighed, as the log has it. */
function costsOf(policy: string, callRow: Float32Array, order: readonly { readonly features: Float32Array }[]): Float64Array {
  const out = { costs: new Float64Array(order.length), probabilities: new Float64Array(order.length) }
  const rows = Float32Array.from(order.flatMap((one) => [...one.features]))
  createPolicy(policy).distribute({ count: order.length, instances: [], rows, callRow, nowMs: 0 }, sketchCall(), out)
  return out.costs
}

test.each(POLICIES)('the reasons given hold up: with the runner-up’s values in them, %s chooses otherwise', (policy) => {
  const rng = createRng(17)
  const call = new Float32Array(CALL_COLUMNS.length).fill(100)
  let held = 0
  for (let i = 0; i < DECISIONS; i++) {
    const rows = ['a', 'b'].map((instance) => ({ instance, features: features(rng) }))
    const wanted = wish(policy, call, rows)
    if (wanted?.probability !== 1) continue
    const order = [...rows].sort((a) => (a.instance === wanted.instances[0] ? -1 : 1))
    const costs = costsOf(policy, call, order)
    const decision = {
      call: { policy, policyVersion: 'none', reason: 'lowest cost', heldMs: 0 } as StoredCall,
      instance: order[0]?.instance,
      candidates: order.map((one, at) => ({ ...one, instanceId: at, cost: costs[at] ?? Number.NaN })),
      callFeatures: call,
      attempts: [],
    } as unknown as Decision
    const attribution = attributeStored(decision)
    if (attribution?.changes !== true) continue
    held++
    expect(attribution.columns.length).toBeLessThanOrEqual(3)
    const replaced = Float32Array.from(order[0]?.features ?? [])
    for (const column of attribution.columns) {
      const at = CANDIDATE_COLUMNS.findIndex(({ name }) => name === column)
      replaced[at] = order[1]?.features[at] ?? Number.NaN
    }
    const otherwise = wish(policy, call, [
      { instance: order[0]?.instance ?? '', features: replaced },
      order[1] ?? { instance: '', features: replaced },
    ])
    expect([otherwise?.probability === 1 && otherwise.instances[0] === order[0]?.instance, attribution.columns]).toEqual([
      false,
      attribution.columns,
    ])
    const words = explain(decision)
    expect(words.map(({ text }) => text).join('')).toMatch(/ rather than [ab] because /)
    // The two instances, and at most three features.
    expect(words.filter(({ strong }) => strong).length).toBeLessThanOrEqual(5)
  }
  expect(held).toBeGreaterThan(10)
})
