import { expect, test } from 'vitest'
import { unpackCumulative } from '../../plugin/call/length-axis.ts'
import type { Outcome } from '../../plugin/outcome/outcome.ts'
import { CALL_AT } from '../../plugin/placement/features.ts'
import { createLearnedLength } from '../../plugin/prediction/learned-length.ts'
import { LengthHistory } from '../../plugin/prediction/length-history.ts'
import { ROW_WIDTH } from '../../plugin/prediction/length-model.ts'
import { createRouterBench } from '../fakes/router.ts'
import { askedCall, baseModel } from '../prediction/sketches.ts'

const OPTIONS = { gateway: 'test' }
const STORY = 'Write a long and detailed story about a dragon that learns to cook.'
const completed = (outputTokens: number, more: Partial<Outcome> = {}): Outcome => ({
  kind: 'completed',
  e2eMs: 10,
  censored: false,
  outputTokens,
  ...more,
})

function bench(change: { readonly textFeatures?: boolean } = {}) {
  const lengths = createLearnedLength({ model: baseModel, history: new LengthHistory(), nowMs: () => 0, count: () => undefined })
  return { lengths, ...createRouterBench({ instances: 1, parts: { lengths, ...change } }) }
}

test('the prediction is in the placement’s features, in the log with its distribution and source, and what was read stands beside it (I7)', async () => {
  const { router, calls } = bench()
  const ticket = await router.place(askedCall(STORY, { system: 'Be kind.' }), OPTIONS)
  ticket.settle(completed(300))
  const { decision, candidates, lengthRow, call } = calls()[0]!
  expect(decision).toMatchObject({ lengthVersion: baseModel.version, lengthSource: 'model' })
  const cumulative = unpackCumulative(decision.predictedLength!)!
  expect(cumulative.every((value, k) => k === 0 || value >= cumulative[k - 1]!)).toBe(true)
  const row = candidates!.features
  expect(row[CALL_AT.predictedOutputTokens]).toBeCloseTo(decision.predictedOutputTokens!, 2)
  expect(row[CALL_AT.predictedOutputP50]).toBeLessThan(row[CALL_AT.predictedOutputP90]!)
  expect(row[CALL_AT.predictedOutputSpread]).toBeGreaterThan(0)
  expect(lengthRow).toMatchObject({ featureHash: baseModel.featureHash })
  expect(lengthRow!.row).toHaveLength(ROW_WIDTH)
  expect(call.systemHash).not.toBe(0)
})

test('where text features are off nothing of the text is logged, and it is predicted all the same', async () => {
  const { router, calls } = bench({ textFeatures: false })
  const ticket = await router.place(askedCall(STORY), OPTIONS)
  ticket.settle(completed(300))
  expect(calls()[0]).toMatchObject({ decision: { lengthSource: 'model' } })
  expect(calls()[0]!.lengthRow).toBeUndefined()
  expect(calls()[0]!.textFeatures).toBeUndefined()
})

test('what the instance is expected to owe is asked again while an answer grows: a long one turns out longer than first said', async () => {
  const { router, fleet } = bench()
  const ticket = await router.place(askedCall(STORY), OPTIONS)
  const ledger = fleet.instances('m')[0]!.ledger
  const said = ledger.outputTokensLeft
  expect(said).toBeGreaterThan(20)
  ticket.firstToken(1)
  ticket.progress(3 * said, 2)
  // Predicted − produced would be below 0.
  expect(ledger.outputTokensLeft).toBeGreaterThan(0)
  ticket.settle(completed(4 * said))
  expect(ledger.outputTokensLeft).toBe(0)
})

test('answers teach: whole ones as lengths, cut ones as lower bounds, broken ones without tokens nothing', async () => {
  const { router, lengths, calls } = bench()
  const answer = async (outcome: Outcome): Promise<void> => (await router.place(askedCall(STORY), OPTIONS)).settle(outcome)
  for (let i = 0; i < 10; i++) await answer(completed(12))
  const before = lengths.predict('m', askedCall(STORY)).outputTokens
  expect(before).toBeLessThan(60)
  for (let i = 0; i < 10; i++) await answer({ kind: 'instance error', error: 'reset', e2eMs: 1, censored: true, outputTokens: 0 })
  for (let i = 0; i < 10; i++) await answer({ kind: 'instance error', error: 'reset', e2eMs: 1, censored: true })
  expect(lengths.predict('m', askedCall(STORY)).outputTokens).toBe(before)
  for (let i = 0; i < 10; i++) await answer({ kind: 'client gone', error: 'client gone', e2eMs: 1, censored: true, outputTokens: 60 })
  expect(lengths.predict('m', askedCall(STORY)).outputTokens).toBeGreaterThan(before)
  expect(calls().length).toBe(40)
})
