import { expect, onTestFinished, test } from 'vitest'
import { createManualClock } from '../../plugin/clock.ts'
import { type Control, openControl } from '../../plugin/log/control.ts'
import { databasePath, migrateDataDirectory } from '../../plugin/log/migrate.ts'
import { freshFolder } from './fresh.ts'
import { START_UNIX_MS } from './row.ts'

const ASKED = { who: 'ada', why: 'the verdict is good' }
const CANARY = { mode: 'canary', shareRatio: 0.5, blockMs: 60_000, washoutMs: 5_000, blocksPlanned: 20, seed: 7 } as const

/** A registry with profiles of two nights, and the policies that were judged with them. */
function nights() {
  const dataDir = freshFolder()
  migrateDataDirectory({ dataDir, nowUnixMs: START_UNIX_MS })
  const control = openControl({ path: databasePath(dataDir, 'control'), clock: createManualClock(START_UNIX_MS) })
  onTestFinished(() => control.close())
  const register = (kind: 'profile' | 'policy', version: string, profileModelId?: number): number =>
    control.models.register({
      kind,
      version,
      sha256: version,
      featureHash: null,
      card: '{}',
      ...(profileModelId === undefined ? {} : { profileModelId }),
    })
  const [early, late] = [register('profile', 'profile-1'), register('profile', 'profile-2')]
  const [first, second] = [register('policy', 'policy-1', early), register('policy', 'policy-2', late)]
  return { control, early, late, first, second, plain: register('policy', 'policy-3') }
}

const serving = ({ models }: Control): unknown => [
  models.withAlias('policy', 'champion')?.version,
  models.withAlias('profile', 'champion')?.version,
]
const toServe = ({ intents }: Control): unknown[] =>
  intents.open(['serve']).map(({ subject }) => (subject as { modelId: number | null }).modelId)

test('a policy is promoted with the profiles that it was judged with, which the router is told of first, and rolled back with them', () => {
  const { control, early, late, first, second } = nights()
  const { models } = control
  expect(models.goesWith(first)?.version).toBe('profile-1')
  models.promote(first, ASKED)
  models.promote(second, ASKED)
  expect(serving(control)).toEqual(['policy-2', 'profile-2'])
  expect(toServe(control)).toEqual([early, first, late, second])
  expect(models.history({ limit: 1, kind: 'profile' })).toMatchObject([{ why: 'goes with policy-2' }])
  models.rollBack('policy', ASKED)
  expect(serving(control)).toEqual(['policy-1', 'profile-1'])
  models.rollBack('policy', ASKED)
  expect(serving(control)).toEqual([undefined, undefined])
  expect(toServe(control).slice(4)).toEqual([first, early, null, null])
})

test('newer profiles that serve already stay, and so do profiles that somebody has changed since', () => {
  const { control, early, late, first, second, plain } = nights()
  const { models } = control
  models.promote(late, ASKED)
  expect(models.goesWith(first)).toBeUndefined()
  models.promote(first, ASKED)
  models.rollBack('policy', ASKED)
  expect(serving(control)).toEqual([undefined, 'profile-2'])
  models.promote(early, ASKED)
  models.promote(second, ASKED)
  models.promote(early, ASKED)
  models.rollBack('policy', ASKED)
  expect(serving(control)).toEqual([undefined, 'profile-1'])
  models.promote(plain, ASKED)
  expect(serving(control)).toEqual(['policy-3', 'profile-1'])
})

test.each(['policy', 'profile'] as const)('where the router refuses the %s, what was promoted with it is taken back', (kind) => {
  const { control, second, first } = nights()
  const { models, intents } = control
  models.promote(first, ASKED)
  for (const { intentId } of intents.open(['serve'])) intents.answer(intentId, { state: 'done', text: 'serves' })
  models.promote(second, ASKED)
  const asked = intents.open(['serve']).find(({ subject }) => (subject as { kind: string }).kind === kind)
  intents.answer(asked!.intentId, { state: 'refused', text: 'it is damaged' })
  expect(serving(control)).toEqual(['policy-1', 'profile-1'])
  const other = kind === 'policy' ? 'profile' : 'policy'
  expect(models.history({ limit: 1, kind: other })).toMatchObject([{ action: 'roll back', who: 'router' }])
  expect(intents.open(['serve']).at(-1)?.subject).toMatchObject({ kind: other, modelId: models.withAlias(other, 'champion')?.modelId })
})

test('a trial of a policy tries its profiles too, unless others are named', () => {
  const { control, early, late, second, plain } = nights()
  const { trials } = control
  const tried = (models: { readonly policy: number; readonly profile?: number }): unknown => {
    const { trialId } = trials.start({ ...CANARY, models, asked: ASKED })
    trials.end({ trialId, state: 'ended', by: 'ada', why: 'enough' })
    return trials.get(trialId)?.profileModelId
  }
  expect([tried({ policy: second }), tried({ policy: second, profile: early }), tried({ policy: plain })]).toEqual([late, early, null])
  control.models.promote(late, ASKED)
  expect(tried({ policy: second })).toBeNull()
})
