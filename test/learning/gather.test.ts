import { expect, onTestFinished, test } from 'vitest'
import { type LoggedCall, openDataset } from '../../plugin/learning/dataset.ts'
import { NothingToLearn } from '../../plugin/learning/night-desk.ts'
import { type Gathered, gather, POOLS_MAX } from '../../plugin/learning/night-gather.ts'
import { APPLICATION_SHARE_MAX, LENGTH_ROWS_MAX, LengthGathering } from '../../plugin/learning/night-gather-lengths.ts'
import { databasePath } from '../../plugin/log/migrate.ts'
import { openReader } from '../../plugin/log/read/reader.ts'
import { readExtent } from '../../plugin/log/read/stored-calls.ts'
import type { CallRow } from '../../plugin/log/rows.ts'
import { LENGTH_FEATURE_HASH, ROW_WIDTH } from '../../plugin/prediction/length-model.ts'
import { createRng } from '../../plugin/rng.ts'
import { freshFolder } from '../log/fresh.ts'
import { START_UNIX_MS } from '../log/row.ts'
import { MADE_FLEET, madeRows, writeLog } from './made-log.ts'

async function gathered(rows: readonly CallRow[], application?: string): Promise<Gathered> {
  const dataDir = freshFolder()
  await writeLog(dataDir, rows)
  const reader = openReader(databasePath(dataDir, 'log'))
  onTestFinished(() => reader.close())
  const range = { fromUnixMs: START_UNIX_MS - 1, toUnixMs: START_UNIX_MS + 1e9 }
  const dataset = openDataset({ reader, range, decisions: true })
  const splitUnixMs = rows[Math.floor(0.75 * rows.length)]?.call.arrivedUnixMs ?? 0
  const calls = dataset.calls()
  const pools = reader.read((query) => readExtent(query, range)).pools
  return gather({ calls, counts: dataset.counts, pools, splitUnixMs, rng: createRng(1), application, told: async () => undefined })
}

const ROWS = madeRows({ calls: 2_000, seed: 3 })

test('earlier calls train and later ones judge: nothing is in both', async () => {
  const { training, heldOut, lengths, heldOutLengths, fleet, pool, splitUnixMs } = await gathered(ROWS)
  expect([training.length + heldOut.length, lengths.length + heldOutLengths.length, pool]).toEqual([2_000, 2_000, 'llama'])
  expect(training.every((call) => call.arrivedUnixMs < splitUnixMs)).toBe(true)
  expect(heldOut.every((call) => call.arrivedUnixMs >= splitUnixMs)).toBe(true)
  expect(heldOut.length).toBeGreaterThan(400)
  expect(fleet.map(({ name }) => name)).toEqual(['new-1', 'old-1', 'old-2'])
  expect(fleet[0]?.kvTokens).toBe(16 * (MADE_FLEET[2]?.profile.kvBlocks ?? 0))
})

test('one caller who floods the log does not drown the others', async () => {
  const flood = ROWS.map((row, i) =>
    i % 10 === 0 ? row : { ...row, call: { ...row.call, caller: { ...row.call.caller, application: 'flood' } } },
  )
  const { lengths } = await gathered(flood)
  const rest = flood.filter((row) => row.call.caller.application !== 'flood').length * 0.75
  const flooded = lengths.length - rest
  expect(rest).toBeGreaterThan(100)
  expect(flooded).toBeLessThanOrEqual(APPLICATION_SHARE_MAX * 1_501 + 30)
})

test('a night for one application learns its lengths alone', async () => {
  const [name] = ROWS.map((row) => row.call.caller.application)
  const own = ROWS.filter((row) => row.call.caller.application === name).length
  const { lengths, heldOutLengths, training } = await gathered(ROWS, name)
  expect([lengths.length + heldOutLengths.length, training.length > 1_000]).toEqual([own, true])
})

test.each([
  ['no calls', [], /no calls in this window/],
  ['too few', ROWS.slice(0, 30), /only 30 answered calls in this window; 400 are the least/],
  [
    'failures alone',
    ROWS.slice(0, 900).map((row) => ({ ...row, outcome: { kind: 'instance error' as const, e2eMs: 5, censored: true, error: 'reset' } })),
    /none of the 900 calls in this window was answered/,
  ],
  [
    'rows of which none can be used',
    ROWS.slice(0, 900).map((row, i) => ({ ...row, outcome: { ...row.outcome, e2eMs: i < 600 ? -1 : 2 * 86_400_000 } })),
    /none of the 900 rows in this window can be used \(left out: 600 no number or below zero, 300 longer than a day\)/,
  ],
  [
    'too few that are possible',
    ROWS.slice(0, 900).map((row, i) => (i < 300 ? row : { ...row, outcome: { ...row.outcome, e2eMs: -1 } })),
    /only 300 answered calls .* \(left out: 600 no number or below zero\)/,
  ],
])('%s is said in words', async (_name, rows, words) => {
  await expect(gathered(rows)).rejects.toThrow(words)
  await expect(gathered(rows)).rejects.toBeInstanceOf(NothingToLearn)
})

test('many applications of many answers each stay within the memory of a few, and all are heard', () => {
  const lengths = new LengthGathering(createRng(1), undefined)
  const lengthRow = new Float16Array(ROW_WIDTH)
  const base = {
    api: 'openai-chat',
    lengthRow,
    lengthFeatureHash: LENGTH_FEATURE_HASH,
    words: new Uint32Array(0),
    censored: false,
    pool: 'llama',
  }
  // Thirty applications, one of them with half of the answers; the tokens tell whose an answer is.
  for (let i = 0; i < 120_000; i++) {
    const application = i % 2 === 0 ? 0 : 1 + ((i >> 1) % 29)
    lengths.add({ ...base, application: `app ${application}`, outputTokens: 1 + application } as unknown as LoggedCall, true)
  }
  const found = lengths.result().lengths
  expect(found.length).toBeLessThanOrEqual(LENGTH_ROWS_MAX)
  expect(found.length).toBeGreaterThan(0.95 * LENGTH_ROWS_MAX)
  const counts = Map.groupBy(found, (one) => one.outputTokens)
  expect(counts.size).toBe(30)
  expect(counts.get(1)?.length).toBeLessThanOrEqual(APPLICATION_SHARE_MAX * LENGTH_ROWS_MAX)
  const small = Array.from({ length: 29 }, (_, k) => counts.get(2 + k)?.length ?? 0)
  expect(Math.min(...small)).toBeGreaterThan(0.8 * Math.max(...small))
})

test('calls of the other pools are kept beside those of the largest, of so many pools', async () => {
  const spread = ROWS.map((row, i) => ({ ...row, pool: i % 10 === 0 ? `small ${i % 60}` : 'llama' }))
  const { pool, training, heldOut, others } = await gathered(spread)
  expect([pool, training.length + heldOut.length]).toEqual(['llama', 1_800])
  expect(others.length).toBe(POOLS_MAX - 1)
  for (const other of others) {
    expect(other.training.length + other.heldOut.length).toBeGreaterThan(30)
    expect(other.fleet.length).toBe(3)
  }
})
