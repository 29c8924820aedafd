import { expect, onTestFinished, test } from 'vitest'
import { createManualClock, type ManualClock } from '../../plugin/clock.ts'
import type { ModelKind } from '../../plugin/log/control/models.ts'
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

const ASKED = { who: 'ada', why: 'the verdict is good' }

function register(control: Control, version: string, kind: ModelKind = 'length'): number {
  return control.models.register({ kind, version, sha256: version, featureHash: null, card: '{}', folder: `models/${kind}/${version}` })
}

const aliases = (control: Control): unknown => control.models.list('length').map(({ version, alias }) => [version, alias])

test('a new champion makes the old one previous, and there is one of each', () => {
  const { control } = fresh()
  const { models } = control
  const [first, second, third] = ['1', '2', '3'].map((version) => register(control, version))
  models.challenge(second!)
  for (const id of [first!, second!, third!]) models.promote(id, ASKED)
  expect(() => models.promote(third!, ASKED)).toThrow('serves already')
  models.challenge(third!)
  expect(aliases(control)).toEqual([
    ['3', 'champion'],
    ['2', 'previous'],
    ['1', null],
  ])
  models.promote(second!, ASKED)
  expect([models.withAlias('length', 'champion')?.version, models.withAlias('length', 'previous')?.version]).toEqual(['2', '3'])
  expect(models.withAlias('policy', 'champion')).toBeUndefined()
  expect(() => models.register({ kind: 'length', version: '1', sha256: 'x', featureHash: null, card: '{}' })).toThrow('UNIQUE')
})

test('a promotion is an alias, a line of history, an audit row and an intent, or nothing of it', () => {
  const { control } = fresh()
  const { models, intents, audit } = control
  const modelId = register(control, '1')
  const { promotionId, intentId } = models.promote(modelId, ASKED)
  expect(intents.get(intentId)).toMatchObject({ kind: 'serve', subject: { promotionId, kind: 'length', modelId }, askedBy: 'ada' })
  expect(models.history({ limit: 5 })).toMatchObject([{ action: 'promote', modelId, fromModelId: null, ...ASKED }])
  expect(audit.list({ limit: 5 })).toMatchObject([{ who: 'ada', action: 'promote model', subject: 'length', before: 'shipped' }])
  const half = (): void =>
    control.together(() => {
      models.rollBack('length', ASKED)
      models.promote(99, ASKED)
    })
  expect(half).toThrow('no model 99')
  expect([models.history({ limit: 5 }).length, intents.list({ limit: 5 }).length]).toEqual([1, 1])
})

test('rolling back goes to what served before, however often one does, and at last to what ships', () => {
  const { control } = fresh()
  const { models } = control
  const [first, second] = ['1', '2'].map((version) => register(control, version))
  models.promote(first!, ASKED)
  models.promote(second!, ASKED)
  models.rollBack('length', ASKED)
  expect(aliases(control)).toEqual([
    ['2', null],
    ['1', 'champion'],
  ])
  models.rollBack('length', ASKED)
  expect(models.withAlias('length', 'champion')).toBeUndefined()
  expect(() => models.rollBack('length', ASKED)).toThrow('nothing to roll back')
})

test('a promotion that the router refuses is undone, noted and told; one that was overtaken stays', () => {
  const { control } = fresh()
  const { models, intents, notices } = control
  const [first, second, third] = ['1', '2', '3'].map((version) => register(control, version))
  models.promote(first!, ASKED)
  const { intentId } = models.promote(second!, ASKED)
  intents.answer(intentId, { state: 'refused', text: 'models/length/2/model.json is not there' })
  expect(models.withAlias('length', 'champion')?.version).toBe('1')
  expect(models.history({ limit: 1 })).toMatchObject([{ action: 'refused', modelId: first, fromModelId: second, who: 'router' }])
  const [notice] = notices.open()
  expect(notice).toMatchObject({ tone: 'bad', text: expect.stringContaining('model.json is not there') })
  expect([notices.close(notice!.noticeId, 'ada'), notices.close(notice!.noticeId, 'ada'), notices.open()]).toEqual([true, false, []])
  const late = models.promote(second!, ASKED)
  models.promote(third!, ASKED)
  intents.answer(late.intentId, { state: 'refused', text: 'gone' })
  expect(models.withAlias('length', 'champion')?.version).toBe('3')
})

const CANARY = { mode: 'canary', shareRatio: 0.5, blockMs: 60_000, washoutMs: 5_000, blocksPlanned: 20, seed: 7 } as const

test('one trial runs at a time; its end leaves an audit row, a withdrawal also a notice', () => {
  const { control } = fresh()
  const { trials, intents, audit, notices } = control
  const policy = register(control, '1', 'policy')
  const { trialId, intentId } = trials.start({ ...CANARY, models: { policy }, asked: ASKED })
  expect(intents.get(intentId)).toMatchObject({ kind: 'try', subject: { trialId } })
  expect(() => trials.start({ ...CANARY, models: { policy }, asked: ASKED })).toThrow(`canary ${trialId} runs`)
  expect(() => trials.start({ ...CANARY, models: {}, asked: ASKED })).toThrow()
  const end = { trialId, state: 'withdrawn', by: 'router', why: 'errors 12 % against 1 %' } as const
  expect([trials.end(end), trials.end(end)]).toEqual([true, false])
  expect(trials.get(trialId)).toMatchObject({ state: 'withdrawn', policyModelId: policy, lengthModelId: null, endedWhy: end.why })
  expect(audit.list({ limit: 1 })).toMatchObject([{ action: 'withdraw canary', subject: `trial ${trialId}` }])
  expect(notices.open()).toMatchObject([{ tone: 'bad', href: '/models' }])
  expect(intents.open(['end trial'])).toEqual([])
  const next = trials.start({ ...CANARY, mode: 'shadow', models: { policy }, asked: ASKED })
  trials.end({ trialId: next.trialId, state: 'ended', by: 'ada', why: 'enough' })
  expect(intents.open(['end trial'])).toMatchObject([{ subject: { trialId: next.trialId }, askedBy: 'ada' }])
})

test('a trial that the router refuses to begin is refused', () => {
  const { control } = fresh()
  const policy = register(control, '1', 'policy')
  const { trialId, intentId } = control.trials.start({ ...CANARY, models: { policy }, asked: ASKED })
  control.intents.answer(intentId, { state: 'refused', text: 'the file is damaged' })
  expect(control.trials.get(trialId)).toMatchObject({ state: 'refused', endedWhy: 'the file is damaged' })
})

test('a training run is taken, shows what it does, and ends once', () => {
  const { control, clock } = fresh()
  const { trainingRuns } = control
  const runId = trainingRuns.append({ askedBy: 'ada', plan: { trigger: 'admin', only: 'length' } })
  expect(trainingRuns.unfinished()).toMatchObject([{ runId, state: 'waiting', plan: { only: 'length' }, attempts: 0 }])
  expect(trainingRuns.start(runId, 4711)).toBe(true)
  clock.advance(5)
  trainingRuns.progress(runId, { progressRatio: 0.5, phase: 'length', detail: '{"epoch":3}' })
  for (const text of ['read 100 rows', 'trained']) trainingRuns.say(runId, text)
  for (const y of [0.5, Number.NaN, 0.25]) trainingRuns.plot(runId, [{ curve: 'loss', x: 1, y }])
  expect(trainingRuns.get(runId)).toMatchObject({
    state: 'running',
    pid: 4711,
    beatUnixMs: START_UNIX_MS + 5,
    startedUnixMs: START_UNIX_MS,
  })
  expect(trainingRuns.lines(runId, 0)).toMatchObject([{ line: 1, text: 'trained' }])
  expect(trainingRuns.points(runId)).toEqual([{ curve: 'loss', x: 1, y: 0.25 }])
  expect([trainingRuns.end(runId, { state: 'failed', error: 'no rows' }), trainingRuns.end(runId, { state: 'done' })]).toEqual([
    true,
    false,
  ])
  expect(trainingRuns.start(runId, 1)).toBe(false)
  expect(trainingRuns.list({ limit: 5 })).toMatchObject([{ state: 'failed', error: 'no rows' }])
})

test('a run is cancelled at once while it waits, and told to stop while it runs', () => {
  const { trainingRuns } = fresh().control
  const [waits, runs] = [trainingRuns.append({ askedBy: 'ada' }), trainingRuns.append({ askedBy: 'ada' })]
  trainingRuns.start(runs, 1)
  expect([trainingRuns.beat(runs), trainingRuns.cancel(waits, 'eve'), trainingRuns.cancel(runs, 'eve')]).toEqual([true, true, true])
  expect(trainingRuns.get(waits)).toMatchObject({ state: 'cancelled', error: 'cancelled by eve before it began' })
  expect([trainingRuns.beat(runs), trainingRuns.get(runs)?.cancelAskedBy]).toEqual([false, 'eve'])
})
