import { expect, test } from 'vitest'
import { attribute } from '../../plugin/placement/attribution.ts'
import { AT, CALL_AT, CALL_COLUMNS, CANDIDATE_COLUMNS, type CandidateColumnName } from '../../plugin/placement/features.ts'
import { createPolicy } from '../../plugin/placement/policies.ts'
import { generatedScenarios } from '../../plugin/simulation/scenario/scenarios.ts'
import { explainSampled } from '../bench/trust/explained.ts'

const IDLE: Partial<Record<CandidateColumnName, number>> = {
  speed: 1,
  weight: 1,
  slowStart: 1,
  inFlight: 2,
  prefixMatch: 0,
  kvTokensCapacity: 1000,
}

function rowOf(values: Partial<Record<CandidateColumnName, number>>): Float32Array {
  const row = new Float32Array(CANDIDATE_COLUMNS.length)
  for (const [name, value] of Object.entries({ ...IDLE, ...values })) row[AT[name as CandidateColumnName]] = value
  return row
}

function decisionOf(rows: readonly Float32Array[], costs: readonly number[]) {
  const callRow = new Float32Array(CALL_COLUMNS.length)
  callRow[CALL_AT.promptTokens] = 100
  return { callRow, rows, costs, chosen: 0, runnerUp: 1 }
}

test('the one feature that decided is named', () => {
  const decision = decisionOf([rowOf({ inFlight: 2 }), rowOf({ inFlight: 4, speed: 1, prefillTokensPending: 900 })], [3, 5])
  expect(attribute(createPolicy('least-request-speed'), decision)).toEqual({ columns: ['inFlight'], changes: true, readsCalls: false })
})

test('features that count only together are both named, those that do not count are not', () => {
  const decision = decisionOf([rowOf({ inFlight: 4, speed: 3, weight: 2 }), rowOf({ inFlight: 3, speed: 1, waiting: 7 })], [5 / 6, 4])
  const found = attribute(createPolicy('least-request-speed'), decision)
  expect(found?.columns).toEqual(['speed', 'weight'])
  expect(found?.changes).toBe(true)
})

test('nothing is claimed of a draw or of a policy that keeps state', () => {
  const rows = [rowOf({}), rowOf({})]
  expect(attribute(createPolicy('random'), decisionOf(rows, [Number.NaN, Number.NaN]))).toBeUndefined()
  expect(attribute(createPolicy('round-robin'), decisionOf(rows, [0, 1]))).toBeUndefined()
})

test('in nine of ten decisions the features named change the choice of the policy itself', () => {
  const scenario = generatedScenarios().find((one) => one.name === 'mixed@60')!
  for (const policy of ['least-request-speed', 'least-kv', 'lmetric', 'dynamo-kv', 'paper-greedy', 'impact']) {
    const explained = explainSampled({ policy, scenario, wanted: 100 })
    expect(explained.decisions, policy).toBeGreaterThan(80)
    expect(explained.faithful / explained.decisions, policy).toBeGreaterThanOrEqual(0.9)
  }
})
