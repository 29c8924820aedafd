import { expect, test } from 'vitest'
import { explain } from '../../admin/why.ts'
import { BASE_POLICY_FOLDER, readPolicyModel } from '../../plugin/learning/policy-folder.ts'
import type { Decision, StoredCall } from '../../plugin/log/read/decision.ts'
import { CALL_AT, CALL_COLUMNS, CANDIDATE_COLUMNS } from '../../plugin/placement/features.ts'
import { createPolicy } from '../../plugin/placement/policies.ts'
import { recordedCall, recordedInstance } from '../../plugin/placement/recorded.ts'
import { createRng, type Rng } from '../../plugin/rng.ts'
import { becauseOf } from '../../plugin/router-what-if.ts'

const learned = createPolicy('learned', { model: readPolicyModel(BASE_POLICY_FOLDER) })
const decided = (costs: readonly number[], version = learned.version ?? 'none') => ({ policy: learned.name, version, costs })

function candidate(rng: Rng): Float32Array {
  return Float32Array.from(CANDIDATE_COLUMNS, ({ name }) => {
    if (name === 'kvTokensCapacity') return 60_000
    if (name === 'speed' || name === 'weight' || name === 'slowStart') return 1
    if (name === 'kvUsage' || name === 'prefixMatch') return rng.next()
    if (name === 'adapterLoaded') return Number.NaN
    if (name === 'scrapeAge') return 80
    return name.endsWith('ms') || /tokens/i.test(name) ? rng.int(6_000) : rng.int(10)
  })
}

function costsOf(callRow: Float32Array, rows: readonly Float32Array[]): number[] {
  const out = { costs: new Float64Array(rows.length), probabilities: new Float64Array(rows.length) }
  const instances = rows.map((row, slot) => recordedInstance(row, { slot, name: String(slot) }))
  const flat = Float32Array.from(rows.flatMap((row) => [...row]))
  learned.distribute({ count: rows.length, instances, rows: flat, callRow, nowMs: 0 }, recordedCall(callRow), out)
  return [...out.costs]
}

test('the learned policy that serves says which features decided, and with the runner-up’s values in them it chooses otherwise', () => {
  const rng = createRng(5)
  const call = new Float32Array(CALL_COLUMNS.length)
  call[CALL_AT.promptTokens] = 900
  call[CALL_AT.predictedOutputTokens] = 250
  let changed = 0
  for (let i = 0; i < 60; i++) {
    const drawn = Array.from({ length: 4 }, () => candidate(rng))
    const costs = costsOf(call, drawn)
    const order = drawn.map((features, at) => ({ features, cost: costs[at] as number })).sort((a, b) => a.cost - b.cost)
    const rows = { pool: 'm', call, candidates: order.map(({ features }, at) => ({ instance: String(at), features })) }
    const because = becauseOf(rows, decided(order.map(({ cost }) => cost)), learned)
    if (because?.changes !== true) continue
    changed++
    const replaced = order.map(({ features }) => Float32Array.from(features))
    for (const column of because.columns) {
      const at = CANDIDATE_COLUMNS.findIndex(({ name }) => name === column)
      replaced[0]![at] = order[1]?.features[at] as number
    }
    const after = costsOf(call, replaced)
    expect([i, because.columns, after[0]! >= after[1]! - 1e-6 * Math.abs(after[1]!)]).toEqual([i, because.columns, true])
    const decision = {
      call: { policy: learned.name, policyVersion: learned.version, reason: 'lowest cost', heldMs: 0 } as StoredCall,
      candidates: order.map((one, at) => ({ ...one, instance: String(at), instanceId: at })),
      callFeatures: call,
      attempts: [],
    } as unknown as Decision
    const sentence = explain(decision, because)
      .map(({ text }) => text)
      .join('')
    expect(sentence).toContain('rather than 1 because')
  }
  expect(changed).toBeGreaterThan(30)
})

test('another version, another policy, or a policy that fails is no reason', () => {
  const rng = createRng(6)
  const call = new Float32Array(CALL_COLUMNS.length).fill(10)
  const drawn = [candidate(rng), candidate(rng)]
  const rows = { pool: 'm', call, candidates: drawn.map((features, at) => ({ instance: String(at), features })) }
  const fails = {
    ...learned,
    distribute() {
      throw new Error('broken')
    },
  }
  expect([
    becauseOf(rows, decided([1, 2], 'policy-older'), learned),
    becauseOf(rows, decided([1, 2]), createPolicy('least-kv')),
    becauseOf(rows, decided([1, 2]), undefined),
    becauseOf(rows, decided([1]), learned),
    becauseOf(rows, decided([1, 2]), fails),
  ]).toEqual([undefined, undefined, undefined, undefined, undefined])
})
