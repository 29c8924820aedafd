import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../plugin/clock.ts'
import { openControl } from '../../plugin/log/control.ts'
import { databasePath } from '../../plugin/log/migrate.ts'
import { openLog } from '../../plugin/log/open.ts'
import { openReader, type Query } from '../../plugin/log/read/reader.ts'
import { createTrialBlocks, readBlocks, readShadow } from '../../plugin/log/read/trials.ts'
import type { BlockRow, Log } from '../../plugin/log/rows.ts'
import { freshFolder } from './fresh.ts'
import { callRow, instanceKey, KEEP_ALL, START_UNIX_MS } from './row.ts'

async function fresh(): Promise<{ log: Log; dataDir: string }> {
  const dataDir = freshFolder()
  const log = await openLog({ dataDir, clock: systemClock, retention: KEEP_ALL, warn: () => undefined })
  onTestFinished(() => log.close())
  return { log, dataDir }
}

function block(number: number, arm: BlockRow['arm']): BlockRow {
  const fromUnixMs = START_UNIX_MS + number * 1_000
  return { kind: 'block', trialId: 3, block: number, arm, fromUnixMs, toUnixMs: fromUnixMs + 1_000, washoutUntilUnixMs: fromUnixMs + 100 }
}

test('calls of a canary are summed by block without the wash-out, and a block without calls is there too', async () => {
  const { log, dataDir } = await fresh()
  for (const row of [block(0, 'control'), block(1, 'challenger'), block(2, 'control')]) log.append(row)
  for (let i = 0; i < 30; i++) {
    const at = i < 10 ? 0 : 1
    log.append(callRow(i, { trial: { trialId: 3, block: at, arm: at === 0 ? 'control' : 'challenger', washout: i % 10 === 0 } }))
  }
  log.append(callRow(31))
  await log.flush()
  const reader = openReader(databasePath(dataDir, 'log'))
  onTestFinished(() => reader.close())
  const blocks = reader.read((query) => readBlocks(query, 3))
  expect(blocks).toMatchObject([
    {
      block: 0,
      arm: 'control',
      calls: 9,
      completed: 9,
      errors: 0,
      held: 0,
      meanE2eMs: 1_200.5,
      outputTokens: 9 * 99,
      promptTokens: 9 * 302,
    },
    { block: 1, arm: 'challenger', calls: 18 },
    { block: 2, arm: 'control', calls: 0, meanE2eMs: null, outputTokens: 0 },
  ])
})

test('blocks that are over are read once; those of the last hour are read again, and new ones join them', async () => {
  const { log, dataDir } = await fresh()
  const call = (i: number, at: number): void =>
    log.append(callRow(i, { trial: { trialId: 3, block: at, arm: at % 2 === 0 ? 'control' : 'challenger', washout: false } }))
  log.append(block(0, 'control'))
  log.append(block(1, 'challenger'))
  for (let i = 0; i < 10; i++) call(i, i % 2)
  await log.flush()
  const reader = openReader(databasePath(dataDir, 'log'))
  onTestFinished(() => reader.close())
  const kept = createTrialBlocks()
  const asked: unknown[] = []
  const read = (nowUnixMs: number) =>
    reader.read((query) => {
      const listening: Query = {
        ...query,
        all: (sql, params) => {
          asked.push(params)
          return query.all(sql, params)
        },
      }
      return kept.blocks(listening, 3, nowUnixMs).map((one) => [one.block, one.calls])
    })
  expect(read(START_UNIX_MS + 2_000)).toEqual([
    [0, 5],
    [1, 5],
  ])
  call(10, 1)
  await log.flush()
  expect(read(START_UNIX_MS + 2 * 3_600_000).at(-1)).toEqual([1, 6])
  log.append(block(2, 'control'))
  call(11, 2)
  await log.flush()
  expect(read(START_UNIX_MS + 2 * 3_600_000)).toEqual([
    [0, 5],
    [1, 6],
    [2, 1],
  ])
  expect(asked.at(-1)).toMatchObject({ fromUnixMs: START_UNIX_MS + 2_000 })
})

test('what a shadow said is kept beside what was done', async () => {
  const { log, dataDir } = await fresh()
  log.append(callRow(0, { trial: { trialId: 4 }, shadow: { instance: instanceKey(0), outputTokens: 99 } }))
  log.append(callRow(1, { trial: { trialId: 4 }, shadow: { instance: instanceKey(0) } }))
  log.append(callRow(2, { trial: { trialId: 4 } }))
  await log.flush()
  const reader = openReader(databasePath(dataDir, 'log'))
  onTestFinished(() => reader.close())
  const score = reader.read((query) => readShadow(query, 4))
  expect(score).toMatchObject({ calls: 3, placed: 2, agreed: 1, lengths: 1, challengerError: 0 })
  expect(score.championError).toBeCloseTo(Math.log(100.5 / 99))
})

test('a trial that the router ends is ended in control.sqlite', async () => {
  const { log, dataDir } = await fresh()
  const control = openControl({ path: databasePath(dataDir, 'control'), clock: systemClock })
  onTestFinished(() => control.close())
  const policy = control.models.register({ kind: 'policy', version: '1', sha256: '', featureHash: null, card: '{}' })
  const plan = { mode: 'canary', shareRatio: 0.5, blockMs: 1_000, washoutMs: 0, blocksPlanned: 2, seed: 1 } as const
  const { trialId } = control.trials.start({ ...plan, models: { policy }, asked: { who: 'ada', why: 'test' } })
  log.report({ kind: 'trial over', trialId, state: 'withdrawn', why: 'all calls went to one instance' })
  await expect.poll(() => control.trials.get(trialId)).toMatchObject({ state: 'withdrawn', endedBy: 'router' })
})
