import { expect, onTestFinished, test } from 'vitest'
import { createManualClock, systemClock } from '../../plugin/clock.ts'
import { type Figure, figureOf, MEAN_E2E } from '../../plugin/learning/figure.ts'
import { concludeTrials } from '../../plugin/learning/trial-conclusion.ts'
import { type Control, openControl } from '../../plugin/log/control.ts'
import { databasePath } from '../../plugin/log/migrate.ts'
import { openLog } from '../../plugin/log/open.ts'
import type { LogRow } from '../../plugin/log/rows.ts'
import { createRng } from '../../plugin/rng.ts'
import { freshFolder } from '../log/fresh.ts'
import { callRow, KEEP_ALL, START_UNIX_MS } from '../log/row.ts'

const BLOCKS = 24
const CALLS = 40

/** A canary whose challenger's calls take `factor` times as long; every other block is the challenger's. */
function rowsOf(trialId: number, factor: number): LogRow[] {
  const rng = createRng(11)
  return Array.from({ length: BLOCKS }, (_, block) => {
    const arm = block % 2 === 1 ? ('challenger' as const) : ('control' as const)
    const fromUnixMs = START_UNIX_MS + block * 10_000
    const begun: LogRow = { kind: 'block', trialId, block, arm, fromUnixMs, toUnixMs: fromUnixMs + 10_000, washoutUntilUnixMs: fromUnixMs }
    const calls = Array.from({ length: CALLS }, (_, i) => {
      const row = callRow(block * CALLS + i, { arrivedUnixMs: fromUnixMs + 200 * i, trial: { trialId, block, arm, washout: false } })
      const e2eMs = (arm === 'challenger' ? factor : 1) * 1_000 * Math.exp(0.2 * rng.normal())
      return { ...row, outcome: { ...row.outcome, e2eMs, ttftMs: e2eMs / 10 } }
    })
    return [begun, ...calls]
  }).flat()
}

async function concluded(
  factor: number,
  promotes: boolean,
  figure: Figure = MEAN_E2E,
): Promise<{ control: Control; trialId: number; modelId: number }> {
  const dataDir = freshFolder()
  const log = await openLog({ dataDir, clock: systemClock, retention: KEEP_ALL, warn: () => undefined })
  const control = openControl({ path: databasePath(dataDir, 'control'), clock: createManualClock(START_UNIX_MS) })
  onTestFinished(() => control.close())
  const modelId = control.models.register({ kind: 'policy', version: 'p', sha256: '', featureHash: null, card: '{}' })
  const plan = { mode: 'canary', shareRatio: 0.5, blockMs: 10_000, washoutMs: 0, blocksPlanned: BLOCKS, seed: 1 } as const
  const { trialId } = control.trials.start({ ...plan, models: { policy: modelId }, asked: { who: 'ada', why: 'test' } })
  for (const row of rowsOf(trialId, factor)) log.append(row)
  await log.flush()
  await log.close()
  control.trials.end({ trialId, state: 'ended', by: 'router', why: 'all blocks are done' })
  const conclude = (nowUnixMs: number): void => concludeTrials({ control, dataDir, promotes, figure, nowUnixMs })
  conclude(START_UNIX_MS)
  expect(control.trials.get(trialId)?.result).toBeNull()
  for (const later of [60_000, 120_000]) conclude(START_UNIX_MS + later)
  return { control, trialId, modelId }
}

test('a canary that saved a fifth says so with its interval, once, and promotes its challenger where that is wanted', async () => {
  const { control, trialId, modelId } = await concluded(0.8, true)
  const result = JSON.parse(control.trials.get(trialId)?.result ?? '{}') as { gain: number; low: number; high: number }
  expect(result.gain).toBeGreaterThan(0.15)
  expect(result.gain).toBeLessThan(0.25)
  expect([result.low > 0, result.high < 0.3]).toEqual([true, true])
  expect(control.notices.open()).toMatchObject([{ tone: 'good', href: '/models' }])
  expect(control.models.history({ limit: 5 })).toMatchObject([{ action: 'promote', modelId, who: 'canary' }])
})

test('where calls in time are the objective, a canary is measured by the calls that are late', async () => {
  // First tokens come after a tenth of E2E: about 18 of 100 calls are late under control, 2 under the challenger.
  const { control, trialId } = await concluded(0.8, true, figureOf({ kind: 'slo', ttftMs: 120, perTokenMs: 1_000 }))
  const result = JSON.parse(control.trials.get(trialId)?.result ?? '{}') as { gain: number; low: number; words: string }
  expect(result.gain).toBeGreaterThan(0.7)
  expect(result.low).toBeGreaterThan(0.5)
  expect(result.words).toContain('fewer calls late')
  expect(control.models.history({ limit: 5 })).toMatchObject([{ action: 'promote', who: 'canary' }])
})

test.each([
  ['was not better', 1, true],
  ['nobody wants it promoted for', 0.8, false],
])('a canary that %s promotes nothing', async (_name, factor, promotes) => {
  const { control } = await concluded(factor, promotes)
  expect(control.models.history({ limit: 5 })).toEqual([])
  expect(control.notices.open()).toHaveLength(1)
})
