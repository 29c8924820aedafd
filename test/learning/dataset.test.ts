import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../plugin/clock.ts'
import { type Dataset, openDataset } from '../../plugin/learning/dataset.ts'
import { databasePath } from '../../plugin/log/migrate.ts'
import { openLog } from '../../plugin/log/open.ts'
import { openReader } from '../../plugin/log/read/reader.ts'
import type { CallRow } from '../../plugin/log/rows.ts'
import { CALL_COLUMNS, CANDIDATE_COLUMNS, hashColumns } from '../../plugin/placement/features.ts'
import { freshFolder } from '../log/fresh.ts'
import { callRow, KEEP_ALL, START_UNIX_MS } from '../log/row.ts'

const ALL = { fromUnixMs: START_UNIX_MS - 1e9, toUnixMs: START_UNIX_MS + 1e9 }

/** A call like no other of the test, changed. */
function distinct(number: number, change: Parameters<typeof callRow>[1] = {}): CallRow {
  const row = callRow(number, change)
  return { ...row, decision: { ...row.decision, placedMs: 0.25 + number / 1024 } }
}

async function datasetOf(rows: readonly CallRow[], range = ALL): Promise<Dataset> {
  const dataDir = freshFolder()
  const log = await openLog({ dataDir, clock: systemClock, retention: KEEP_ALL, warn: () => undefined })
  for (const row of rows) log.append(row)
  await log.flush()
  await log.close()
  const reader = openReader(databasePath(dataDir, 'log'))
  onTestFinished(() => reader.close())
  return openDataset({ reader, range, decisions: true })
}

const withOutcome = (number: number, outcome: Partial<CallRow['outcome']>): CallRow => {
  const row = distinct(number)
  return { ...row, outcome: { ...row.outcome, ...outcome } }
}

test('what was served is what is trained on, bit for bit and in order of arrival, over pages (I7)', async () => {
  const rows = Array.from({ length: 4_100 }, (_, i) => distinct(i))
  const dataset = await datasetOf(rows)
  let seen = 0
  for (const call of dataset.calls()) {
    const row = rows[seen++]!
    expect(call.callId).toBe(row.call.callId)
    if (seen % 500 !== 1) continue
    const served = row.candidates!
    expect([...call.decision!.callRow, ...call.decision!.rows]).toEqual([...served.features])
    expect([...call.decision!.instances]).toEqual(served.instances.map((one) => one.name))
    expect([...call.words]).toEqual([...row.textFeatures!])
  }
  expect(seen).toBe(4_100)
  expect(dataset.counts).toEqual({ read: 4_100, used: 4_100, mended: 0, leftOut: {} })
})

test('impossible rows are left out, each counted by its reason', async () => {
  const jumped = distinct(7)
  const cloned = distinct(8)
  const rows: CallRow[] = [
    distinct(0),
    withOutcome(1, { e2eMs: -5 }),
    withOutcome(2, { ttftMs: 5_000 }),
    withOutcome(3, { e2eMs: 2 * 86_400_000 }),
    withOutcome(4, { outputTokens: 5_000, e2eMs: 60_000 }),
    withOutcome(5, { e2eMs: 1, ttftMs: 1, outputTokens: 200 }),
    { ...distinct(6), decision: { ...distinct(6).decision, propensity: 0 } },
    { ...jumped, call: { ...jumped.call, arrivedUnixMs: START_UNIX_MS - 3_600_000 } },
    cloned,
    { ...cloned, call: { ...cloned.call, callId: cloned.call.callId + 1 } },
    { ...distinct(9), candidates: { ...distinct(9).candidates!, featureHash: 'deadbeef' } },
  ]
  const dataset = await datasetOf(rows)
  expect([...dataset.calls()]).toHaveLength(2)
  expect(dataset.counts).toEqual({
    read: 11,
    used: 2,
    mended: 0,
    leftOut: {
      'no number or below zero': 1,
      'first token after the end': 1,
      'longer than a day': 1,
      'more tokens than allowed': 1,
      'tokens faster than any engine': 1,
      'impossible propensity': 1,
      'clock jumped': 1,
      doubled: 1,
      'unknown feature list': 1,
    },
  })
})

test('a row older than a column holds its stated default there, all else as served', async () => {
  const calls = CALL_COLUMNS.length - 2
  const columns = CANDIDATE_COLUMNS.length - 1
  const row = distinct(0)
  const instances = row.candidates!.instances.slice(0, 2)
  const features = Float32Array.from({ length: calls + 2 * columns }, (_, i) => i)
  const featureHash = hashColumns(CALL_COLUMNS.slice(0, calls), CANDIDATE_COLUMNS.slice(0, columns))
  const dataset = await datasetOf([{ ...row, candidates: { featureHash, total: 2, instances, features, costs: new Float32Array(2) } }])
  const [call] = [...dataset.calls()]
  const { callRow: own, rows } = call!.decision!
  expect([...own]).toEqual([...features.subarray(0, calls), ...CALL_COLUMNS.slice(calls).map((column) => column.absent)])
  expect([rows[0], rows[columns - 1], rows[columns], rows[columns + 1]]).toEqual([
    calls,
    calls + columns - 1,
    CANDIDATE_COLUMNS[columns]!.absent,
    calls + columns,
  ])
  expect(dataset.counts).toMatchObject({ used: 1, mended: 1 })
})

test('an answer that was cut, or whose caller left, is no length', async () => {
  const dataset = await datasetOf([
    withOutcome(0, { finishReason: 'length', censored: true }),
    withOutcome(1, { kind: 'client gone', outputTokens: 12 }),
    distinct(2),
  ])
  expect([...dataset.calls()].map(({ censored, outputTokens }) => [censored, outputTokens])).toEqual([
    [true, 99],
    [true, 12],
    [false, 99],
  ])
})

test('only calls of the range come, its end not included', async () => {
  const range = { fromUnixMs: START_UNIX_MS + 10, toUnixMs: START_UNIX_MS + 20 }
  const dataset = await datasetOf(
    Array.from({ length: 40 }, (_, i) => distinct(i)),
    range,
  )
  const arrived = [...dataset.calls()].map((call) => call.arrivedUnixMs - START_UNIX_MS)
  expect([arrived.length, arrived[0], arrived.at(-1)]).toEqual([10, 10, 19])
})
