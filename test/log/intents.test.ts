import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import { createManualClock } from '../../plugin/clock.ts'
import { type Control, openControl } from '../../plugin/log/control.ts'
import { databasePath } from '../../plugin/log/migrate.ts'
import type { Intent } from '../../plugin/log/rows.ts'
import { freshFolder, freshLog, until } from './fresh.ts'
import { START_UNIX_MS } from './row.ts'

function control(dataDir: string): Control {
  const opened = openControl({ path: databasePath(dataDir, 'control'), clock: createManualClock(START_UNIX_MS) })
  onTestFinished(() => opened.close())
  return opened
}

const subject = { pool: 'llama', instance: 'fast-1' }

test('an intent is obeyed, marked done with its answer, and a drain outlives the restart', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir })
  const { intents, drained } = control(dataDir)
  const obeyed: Intent[] = []
  log.onIntent(async (intent) => {
    obeyed.push(intent)
    return 'fast-1 drains: 3 calls in flight'
  })
  const intentId = intents.append({ kind: 'drain', subject, askedBy: 'ada' })
  await until(() => intents.get(intentId)?.state !== 'asked')
  expect(obeyed).toEqual([
    { intentId, kind: 'drain', subject, askedBy: 'ada', ...{ askedUnixMs: START_UNIX_MS, state: 'asked', answer: null, doneUnixMs: null } },
  ])
  expect(intents.get(intentId)).toMatchObject({ state: 'done', answer: 'fast-1 drains: 3 calls in flight' })
  expect(drained()).toMatchObject([{ ...subject, by: 'ada' }])
  await log.close()

  const again = await freshLog({ dataDir })
  expect(again.drained).toEqual([subject])
  again.onIntent(async () => 'takes calls again')
  const undrain = intents.append({ kind: 'undrain', subject, askedBy: 'ada' })
  await until(() => intents.get(undrain)?.state === 'done')
  expect(drained()).toEqual([])
})

test('an intent that cannot be obeyed is refused with the reason, and drains nothing', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir })
  const { intents, drained } = control(dataDir)
  log.onIntent(async (intent) => {
    throw new Error(`no instance ${JSON.stringify(intent.subject)}`)
  })
  const intentId = intents.append({ kind: 'drain', subject: { pool: 'llama', instance: 'gone' }, askedBy: 'ada' })
  await until(() => intents.get(intentId)?.state !== 'asked')
  expect(intents.get(intentId)).toMatchObject({ state: 'refused', answer: 'no instance {"pool":"llama","instance":"gone"}' })
  expect(drained()).toEqual([])
})

test('each intent is handed out once, in the order asked, also those asked before anybody obeys', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir })
  const { intents } = control(dataDir)
  const ids = [1, 2, 3].map((n) => intents.append({ kind: 'pause', subject: n, askedBy: 'ada' }))
  const obeyed: unknown[] = []
  const slow = Promise.withResolvers<string>()
  log.onIntent((intent) => {
    obeyed.push(intent.subject)
    return slow.promise
  })
  await until(() => obeyed.length === 3)
  const later = intents.append({ kind: 'pause', subject: 4, askedBy: 'ada' })
  await until(() => obeyed.length === 4)
  slow.resolve('paused')
  await until(() => [...ids, later].every((id) => intents.get(id)?.state === 'done'))
  expect(obeyed).toEqual([1, 2, 3, 4])
})

test('intents of kinds that are another process’s stay open', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir, intentKinds: ['drain', 'undrain'] })
  const { intents } = control(dataDir)
  log.onIntent(async () => 'done')
  const retrain = intents.append({ kind: 'retrain', subject: null, askedBy: 'ada' })
  const drain = intents.append({ kind: 'drain', subject, askedBy: 'ada' })
  await until(() => intents.get(drain)?.state === 'done')
  expect(intents.get(retrain)?.state).toBe('asked')
})

test('while somebody else writes control.sqlite an answer waits, and is marked afterwards', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir })
  const { intents } = control(dataDir)
  const asked = Promise.withResolvers<void>()
  const obey = Promise.withResolvers<string>()
  log.onIntent(() => {
    asked.resolve()
    return obey.promise
  })
  const intentId = intents.append({ kind: 'pause', subject: null, askedBy: 'ada' })
  await asked.promise
  const other = new Database(databasePath(dataDir, 'control'))
  onTestFinished(() => void other.close())
  other.exec('BEGIN EXCLUSIVE')
  obey.resolve('paused')
  log.append({ kind: 'counter', name: 'x', by: 1, atUnixMs: START_UNIX_MS })
  await log.flush()
  expect(intents.get(intentId)?.state).toBe('asked')
  other.exec('COMMIT')
  await until(() => intents.get(intentId)?.state === 'done')
})

test('an intent is answered once', () => {
  const dataDir = freshFolder()
  return freshLog({ dataDir }).then(() => {
    const { intents } = control(dataDir)
    const intentId = intents.append({ kind: 'pause', subject: null, askedBy: 'ada' })
    expect(intents.answer(intentId, { state: 'done', text: 'paused' })).toBe(true)
    expect(intents.answer(intentId, { state: 'refused', text: 'too late' })).toBe(false)
    expect(intents.get(intentId)).toMatchObject({ state: 'done', answer: 'paused' })
  })
})
