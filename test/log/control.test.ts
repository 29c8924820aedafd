import { expect, onTestFinished, test } from 'vitest'
import { createManualClock, type ManualClock } from '../../plugin/clock.ts'
import { NameTaken } from '../../plugin/log/control/people.ts'
import { type Control, openControl } from '../../plugin/log/control.ts'
import { databasePath, migrateDataDirectory } from '../../plugin/log/migrate.ts'
import { freshFolder } from './fresh.ts'
import { START_UNIX_MS } from './row.ts'

function fresh(): { control: Control; clock: ManualClock } {
  const dataDir = freshFolder()
  migrateDataDirectory({ dataDir, nowUnixMs: START_UNIX_MS })
  const clock = createManualClock(START_UNIX_MS)
  const control = openControl({ path: databasePath(dataDir, 'control'), clock })
  onTestFinished(() => control.close())
  return { control, clock }
}

const ada = { name: 'ada', role: 'admin', password: 'scrypt$…' } as const

test('two users cannot have one name', () => {
  const { users } = fresh().control
  expect(users.add(ada)).toMatchObject({ ...ada, createdUnixMs: START_UNIX_MS, lastSignInUnixMs: null })
  expect(() => users.add({ ...ada, role: 'viewer' })).toThrow(NameTaken)
  expect(users.count()).toBe(1)
})

test('a sign-in link works once, and not after its time', () => {
  const { control, clock } = fresh()
  const { signInLinks } = control
  signInLinks.add({ tokenSha256: 'first', expiresUnixMs: START_UNIX_MS + 1_000 })
  signInLinks.add({ tokenSha256: 'late', expiresUnixMs: START_UNIX_MS + 1_000 })
  expect(signInLinks.isOpen('first')).toBe(true)
  expect([signInLinks.use('first'), signInLinks.use('first'), signInLinks.use('unknown')]).toEqual([true, false, false])
  clock.advance(1_000)
  expect([signInLinks.isOpen('late'), signInLinks.use('late')]).toEqual([false, false])
})

test('a session ends when it expires, when its user is removed, and when it is removed', () => {
  const { control, clock } = fresh()
  const { users, sessions } = control
  const { userId } = users.add(ada)
  const add = (tokenSha256: string): void =>
    sessions.add({ tokenSha256, userId, formToken: 'form', expiresUnixMs: START_UNIX_MS + 1_000, address: '127.0.0.1', agent: '' })
  for (const token of ['a', 'b', 'c']) add(token)
  expect(sessions.find('a')).toMatchObject({ session: { formToken: 'form' }, user: { name: 'ada' } })
  sessions.remove('a')
  sessions.seen('b', START_UNIX_MS + 5_000)
  clock.advance(1_000)
  expect([sessions.find('a'), sessions.find('b')?.user.name, sessions.find('c')]).toEqual([undefined, 'ada', undefined])
  expect(sessions.listOf(userId).map(({ tokenSha256 }) => tokenSha256)).toEqual(['b'])
  expect(sessions.removeExpired()).toBe(1)
  users.remove(userId)
  expect(sessions.find('b')).toBeUndefined()
})

test('a deed and its audit row are both there or neither', () => {
  const { control } = fresh()
  const { users, audit } = control
  const entry = { who: 'ada', address: '127.0.0.1', action: 'add user', subject: 'eve' }
  const deed = (): void =>
    control.together(() => {
      audit.append({ ...entry, after: 'viewer' })
      users.add({ ...ada, name: 'eve' })
    })
  deed()
  expect(deed).toThrow(NameTaken)
  expect(audit.list({ limit: 10 })).toMatchObject([{ ...entry, before: null, after: 'viewer', atUnixMs: START_UNIX_MS }])
})

test('pages of the audit go on where the last one ended, filtered', () => {
  const { audit } = fresh().control
  for (let i = 0; i < 10; i++) audit.append({ who: i % 2 ? 'ada' : 'eve', address: '', action: 'drain', subject: String(i) })
  const first = audit.list({ limit: 3, who: 'ada' })
  const second = audit.list({ limit: 3, who: 'ada', beforeId: first.at(-1)!.auditId })
  expect([...first, ...second].map(({ subject }) => subject)).toEqual(['9', '7', '5', '3', '1'])
})

test('settings are what was set last', () => {
  const { settings } = fresh().control
  settings.set('policy', 'random')
  settings.set('policy', 'p2c')
  expect([settings.get('policy'), settings.all(), settings.get('none')]).toEqual(['p2c', { policy: 'p2c' }, undefined])
  settings.remove('policy')
  expect(settings.get('policy')).toBeUndefined()
})

test('a new champion makes the old one previous, and there is one of each', () => {
  const { models } = fresh().control
  const [first, second, third] = ['1', '2', '3'].map((version) =>
    models.register({ kind: 'length', version, sha256: version, featureHash: null, card: '{}' }),
  )
  for (const id of [first!, second!, third!]) models.setAlias(id, 'champion')
  models.setAlias(third!, 'champion')
  expect(models.list('length').map(({ version, alias }) => [version, alias])).toEqual([
    ['3', 'champion'],
    ['2', 'previous'],
    ['1', null],
  ])
  models.setAlias(second!, 'champion')
  expect([models.withAlias('length', 'champion')?.version, models.withAlias('length', 'previous')?.version]).toEqual(['2', '3'])
  expect(models.withAlias('policy', 'champion')).toBeUndefined()
})

test('a training run is taken once and ends once', () => {
  const { trainingRuns } = fresh().control
  const runId = trainingRuns.append({ askedBy: 'ada' })
  expect([trainingRuns.start(runId), trainingRuns.start(runId)]).toEqual([true, false])
  trainingRuns.progress(runId, { progressRatio: 0.5, detail: '{"epoch":3}' })
  expect(trainingRuns.get(runId)).toMatchObject({ state: 'running', progressRatio: 0.5, startedUnixMs: START_UNIX_MS })
  expect([trainingRuns.end(runId, { state: 'failed', error: 'no rows' }), trainingRuns.end(runId, { state: 'done' })]).toEqual([
    true,
    false,
  ])
  expect(trainingRuns.list({ limit: 5 })).toMatchObject([{ state: 'failed', error: 'no rows' }])
})
