import { expect, test } from 'vitest'
import { createLengthPanel } from '../../admin/length-panel.ts'
import { BUCKETS, packCumulative, positionOf } from '../../plugin/call/length-axis.ts'
import { blobOf } from '../../plugin/log/blob.ts'
import type { StoredCall } from '../../plugin/log/read/decision.ts'

/** All mass even on the logarithmic axis between two numbers of tokens. */
function between(low: number, high: number): Uint8Array {
  const [from, to] = [positionOf(low), positionOf(high)]
  const cumulative = Float64Array.from({ length: BUCKETS + 1 }, (_, k) => Math.min(1, Math.max(0, (k - from) / (to - from))))
  return blobOf(packCumulative(cumulative))
}

const call = (change: Partial<StoredCall>): StoredCall =>
  ({
    predictedLength: between(10, 1_000),
    lengthSource: 'model',
    lengthVersion: 'length-1',
    outputTokens: 100,
    censored: 0,
    ...change,
  }) as StoredCall

test('half of what was predicted lies below its geometric middle, and so does the answer', () => {
  const panel = createLengthPanel(call({}))!
  expect(panel.verdict).toBe('100 tokens came: 50 % of such answers were expected to be shorter.')
  expect(panel.rows.find((row) => row.name === '50 % stay below')?.text).toBe('100 tokens')
  expect(panel.from).toBe('by length-1')
  for (const { marks, bars, left, right } of panel.drawings) {
    expect(marks.map((mark) => mark.kind)).toEqual(['median', 'actual'])
    expect(Math.abs(marks[0]!.x - marks[1]!.x)).toBeLessThan(1)
    for (const bar of bars) expect(bar.x >= left && bar.x + bar.width <= right + 1 && bar.height >= 0).toBe(true)
    expect(bars.some((bar) => bar.inner) && bars.some((bar) => !bar.inner)).toBe(true)
  }
})

test('an answer far outside is drawn all the same, and a cut one is said to be cut', () => {
  const panel = createLengthPanel(call({ outputTokens: 20_000, censored: 1 }))!
  expect(panel.verdict).toBe('20,000 tokens came, then the answer was cut: 100 % of such answers were expected to be shorter.')
  for (const { marks, right } of panel.drawings) {
    expect(marks[1]).toMatchObject({ text: 'came 20,000, cut', anchor: 'end' })
    expect(marks[1]!.x).toBeLessThanOrEqual(right)
  }
})

test('where nothing came only the prediction is drawn; where nothing was predicted, or it is damaged, nothing', () => {
  const panel = createLengthPanel(call({ outputTokens: null, lengthSource: 'application history' }))!
  expect(panel.verdict).toBeUndefined()
  expect(panel.from).toBe('by the application’s history')
  expect(panel.drawings[0]!.marks).toHaveLength(1)
  expect(createLengthPanel(call({ predictedLength: null }))).toBeUndefined()
  expect(createLengthPanel(call({ predictedLength: new Uint8Array(7) }))).toBeUndefined()
})
