import { expect, test } from 'vitest'
import { positionOf } from '../../plugin/call/length-axis.ts'
import { BUCKETS, LengthDistribution } from '../../plugin/prediction/distribution.ts'
import { RecentlyUsed, RotatingHistogram } from '../../plugin/prediction/history.ts'
import { decodeHistory, encodeHistory } from '../../plugin/prediction/history-file.ts'
import { APPLICATIONS_MAX, LengthHistory, type LengthKey } from '../../plugin/prediction/length-history.ts'
import { LengthEvaluator, ROW_WIDTH } from '../../plugin/prediction/length-model.ts'
import { Levels } from '../../plugin/prediction/levels.ts'
import { createRng } from '../../plugin/rng.ts'
import { askedCall, baseModel } from './sketches.ts'

const keyOf = (application: string, systemHash = 0): LengthKey => ({ pool: 'p', model: 'm', application, systemHash })
const whole = (outputTokens: number) => ({ outputTokens, censored: false })
const row = new Float32Array(ROW_WIDTH)
const base = new LengthEvaluator().evaluate(baseModel, row, askedCall('x').textFeatures)
const forecast = (history: LengthHistory, key: LengthKey) => history.forecast(key, base, { model: baseModel, row })

/** A history that several applications taught. */
function taught(applications: number, answers = 12): LengthHistory {
  const history = new LengthHistory()
  const rng = createRng(3)
  for (let a = 0; a < applications; a++)
    for (let i = 0; i < answers; i++) {
      const key = keyOf(`a${a}`, a)
      history.learn(key, whole(20 * (a + 1) + rng.int(10)), forecast(history, key))
    }
  return history
}

test('a bounded map forgets the least recently used first, and counts it', () => {
  const map = new RecentlyUsed<number>(3)
  for (const key of ['a', 'b', 'c']) map.use(key, () => 0)
  map.use('a', () => 9)
  map.use('d', () => 0)
  expect([...map.entries()].map(([key]) => key)).toEqual(['c', 'a', 'd'])
  expect(map.peek('b')).toBeUndefined()
  expect([map.size, map.dropped]).toEqual([3, 1])
})

test('however many applications come, a stated number of them is remembered: those that called last', () => {
  const history = new LengthHistory()
  for (let a = 0; a < APPLICATIONS_MAX + 50; a++) for (let i = 0; i < 5; i++) history.learn(keyOf(`a${a}`), whole(30))
  expect(history.save().applications).toHaveLength(APPLICATIONS_MAX)
  expect(history.dropped).toBe(50)
  expect(history.alone(keyOf('a0'))?.from).toBe('pool')
  expect(history.alone(keyOf(`a${APPLICATIONS_MAX + 49}`))?.from).toBe('application')
})

test('a changed application is followed: after two halves nothing of the past is left', () => {
  const histogram = new RotatingHistogram()
  for (let i = 0; i < 256; i++) histogram.add(1_000)
  for (let i = 0; i < 512; i++) histogram.add(10)
  expect(new LengthDistribution(histogram.cumulative()).quantile(0.99)).toBeLessThan(20)
})

test('cut answers spread over what they would have become, and teach nothing where nothing longer was thought possible', () => {
  const histogram = new RotatingHistogram()
  for (let i = 0; i < 10; i++) histogram.add(100)
  for (let i = 0; i < 10; i++) histogram.add(1_000)
  const expected = new LengthDistribution(histogram.cumulative())
  for (let i = 0; i < 20; i++) histogram.addCut(300, expected)
  const now = new LengthDistribution(histogram.cumulative())
  expect(now.above(500)).toBeGreaterThan(0.7)
  expect(now.atMost(200)).toBeLessThan(0.3)
  const { count } = histogram
  histogram.addCut(32_000, new LengthDistribution(Float64Array.from({ length: BUCKETS + 1 }, (_, k) => (k === 0 ? 0 : 1))))
  expect(histogram.count).toBe(count)
})

test('a saved history predicts the same when it is restored, in another process too', () => {
  const history = taught(7)
  const bytes = encodeHistory({ version: 'v', callId: 42, saved: history.save() })
  const file = decodeHistory(Uint8Array.from(bytes))
  expect([file.version, file.callId]).toEqual(['v', 42])
  const restored = new LengthHistory()
  restored.restore(file.saved)
  for (let a = 0; a < 7; a++) {
    const [before, after] = [history, restored].map((one) => forecast(one, keyOf(`a${a}`, a)).distribution.cumulative)
    for (let k = 0; k <= BUCKETS; k++) expect(after![k]!).toBeCloseTo(before![k]!, 4)
  }
  expect(restored.save().applications).toEqual(history.save().applications)
})

test('a damaged file is refused with a reason, never half taken over', () => {
  const bytes = encodeHistory({ version: 'v', callId: 1, saved: taught(2).save() })
  const restoring = (file: Uint8Array) => () => new LengthHistory().restore(decodeHistory(file).saved)
  expect(restoring(bytes.slice(0, bytes.length - 8))).toThrow(/holds \d+ numbers/)
  expect(restoring(new Uint8Array(2))).toThrow('no length history')
  expect(restoring(Buffer.from('garbage that is no history'))).toThrow()
  const poisoned = Buffer.from(bytes)
  poisoned.writeFloatLE(Number.NaN, poisoned.length - 4)
  expect(restoring(poisoned)).toThrow('finite')
  const other = Buffer.from(
    Buffer.from(bytes)
      .toString('latin1')
      .replace(/"featureHash":"\w{8}"/, '"featureHash":"00000000"'),
    'latin1',
  )
  expect(restoring(other)).toThrow('features 00000000')
})

test('a system prompt’s answers help an application that is new', () => {
  const history = new LengthHistory()
  for (let i = 0; i < 60; i++) history.learn(keyOf('old', 77), whole(12), forecast(history, keyOf('old', 77)))
  const [known, unknown] = [77, 78].map((system) => forecast(history, keyOf('new', system)).distribution)
  expect(known!.atMost(20)).toBeGreaterThan(unknown!.atMost(20) + 0.02)
})

test('an application’s own probability levels are learned: what is said too narrow is widened once enough answers came', () => {
  const levels = new Levels()
  const narrow = Float64Array.from({ length: BUCKETS + 1 }, (_, k) => (k < positionOf(90) ? 0 : k > positionOf(115) ? 1 : 0.5))
  const rng = createRng(9)
  for (let i = 0; i < 39; i++) levels.learn(narrow, Math.exp(4.6 + rng.normal()))
  expect(levels.knots()[1]).toBeCloseTo(1 / 16, 9)
  for (let i = 0; i < 400; i++) levels.learn(narrow, Math.exp(4.6 + rng.normal()))
  const knots = levels.knots()
  // Far more answers than a sixteenth lie below the lowest stated level, and above the highest.
  expect(knots[1]).toBeGreaterThan(0.25)
  expect(knots[15]).toBeLessThan(0.75)
})
