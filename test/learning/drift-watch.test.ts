import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { createManualClock } from '../../plugin/clock.ts'
import { watchDrift } from '../../plugin/learning/drift-watch.ts'
import { type Control, openControl } from '../../plugin/log/control.ts'
import { databasePath } from '../../plugin/log/migrate.ts'
import { openReader } from '../../plugin/log/read/reader.ts'
import { driftDays } from './drift-days.ts'
import { writeLog } from './made-log.ts'

const DAY_MS = 86_400_000
const FIRST_DAY = Math.floor(Date.UTC(2026, 2, 2) / DAY_MS) * DAY_MS

/** A log of such days and a champion that was promoted after the first of them. */
async function site(factors: readonly number[]) {
  const dataDir = mkdtempSync(join(tmpdir(), 'phasewise-drift-'))
  await writeLog(dataDir, driftDays(FIRST_DAY, factors))
  const clock = createManualClock(FIRST_DAY + DAY_MS)
  const control = openControl({ path: databasePath(dataDir, 'control'), clock })
  const reader = openReader(databasePath(dataDir, 'log'))
  onTestFinished(() => {
    control.close()
    reader.close()
    rmSync(dataDir, { recursive: true })
  })
  const card = JSON.stringify({ data: { splitUnixMs: FIRST_DAY + DAY_MS } })
  const modelId = control.models.register({ kind: 'policy', version: 'policy-1', sha256: '', featureHash: null, card })
  const numbers = JSON.stringify({ bestRule: 'least-kv + kv-time' })
  control.models.addVerdict({ modelId, runId: null, passed: true, words: 'better', numbers })
  const { intentId } = control.models.promote(modelId, { who: 'ada', why: 'test' })
  control.intents.answer(intentId, { state: 'done', text: '' })
  const lookOnDay = async (day: number, hours = 23): Promise<void> => {
    const nowUnixMs = FIRST_DAY + day * DAY_MS + hours * 3_600_000
    clock.advance(nowUnixMs - clock.nowUnixMs())
    await watchDrift({ control, reader, nowUnixMs, shippedPolicyServes: false })
  }
  return { control, lookOnDay }
}

/** The router's part: it obeys. */
function obey(control: Control): { readonly kind: string; readonly subject: unknown }[] {
  const open = control.intents.open(['set aside', 'take up'])
  for (const { intentId } of open) control.intents.answer(intentId, { state: 'done', text: 'so it is' })
  return open.map(({ kind, subject }) => ({ kind, subject }))
}

test('days like those that were learned from are told and change nothing', async () => {
  const { control, lookOnDay } = await site([1, 1, 1])
  await lookOnDay(1)
  await lookOnDay(2)
  const found = control.drift.days({ limit: 9 })
  expect(found.map(({ dayUnixMs, subject, level }) => [(dayUnixMs - FIRST_DAY) / DAY_MS, subject, level])).toEqual([
    [2, 'policy-1', 'none'],
    [1, 'policy-1', 'none'],
  ])
  expect(obey(control)).toEqual([])
})

test('one bad day is told, two set the learned policy aside for the best rule, and two good ones take it up again', async () => {
  const { control, lookOnDay } = await site([1, 1, 3, 3, 1, 1])
  await lookOnDay(1)
  await lookOnDay(2)
  expect(control.drift.days({ limit: 1 })).toMatchObject([
    { level: 'alarm', fallsBack: 1, words: expect.stringMatching(/E2E is (2\.9|3\.\d)\d* times what was predicted/) },
  ])
  expect(obey(control)).toEqual([])
  await lookOnDay(3)
  expect(obey(control)).toEqual([
    { kind: 'set aside', subject: { why: expect.stringContaining('times what was predicted'), rule: 'least-kv' } },
  ])
  expect(control.setAside()).toMatchObject({ by: 'drift', rule: 'least-kv' })
  expect(control.notices.open()).toMatchObject([{ tone: 'bad', href: '/models#drift' }])
  await lookOnDay(4)
  expect(obey(control)).toEqual([])
  await lookOnDay(5)
  expect(obey(control)).toMatchObject([{ kind: 'take up' }])
  expect(control.setAside()).toBeUndefined()
})

test('what a person took up again stays so until two more bad days', async () => {
  const { control, lookOnDay } = await site([1, 3, 3, 3, 3])
  await lookOnDay(1)
  await lookOnDay(2, 20)
  expect(obey(control)).toMatchObject([{ kind: 'set aside' }])
  control.intents.append({ kind: 'take up', subject: { why: 'we know' }, askedBy: 'ada' })
  obey(control)
  await lookOnDay(2)
  expect(obey(control)).toEqual([])
  await lookOnDay(3)
  expect(obey(control)).toMatchObject([{ kind: 'set aside' }])
})

test('a champion that is promoted anew is not set aside', async () => {
  const { control, lookOnDay } = await site([1, 3, 3])
  await lookOnDay(1)
  await lookOnDay(2)
  obey(control)
  expect(control.setAside()).toBeDefined()
  const modelId = control.models.register({ kind: 'policy', version: 'policy-2', sha256: '', featureHash: null, card: '{}' })
  control.intents.answer(control.models.promote(modelId, { who: 'ada', why: 'test' }).intentId, { state: 'done', text: '' })
  expect(control.setAside()).toBeUndefined()
})
