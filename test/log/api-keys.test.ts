import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import { createManualClock, type ManualClock } from '../../plugin/clock.ts'
import { type ApiKeyRecord, KeyNameTaken } from '../../plugin/log/control/api-keys.ts'
import { type Control, openControl } from '../../plugin/log/control.ts'
import { databasePath, migrateDataDirectory } from '../../plugin/log/migrate.ts'
import { freshFolder } from './fresh.ts'
import { START_UNIX_MS } from './row.ts'

function fresh(): { control: Control; clock: ManualClock; path: string } {
  const dataDir = freshFolder()
  migrateDataDirectory({ dataDir, nowUnixMs: START_UNIX_MS })
  const clock = createManualClock(START_UNIX_MS)
  const path = databasePath(dataDir, 'control')
  const control = openControl({ path, clock })
  onTestFinished(() => control.close())
  return { control, clock, path }
}

const key = (name: string, more: { expiresUnixMs?: number } = {}) =>
  ({ name, scopes: ['place', 'read'], sha256: `hash of ${name}`, beginning: 'pw_abc', createdBy: 'ada', ...more }) as const

const names = (keys: readonly ApiKeyRecord[]): string[] => keys.map(({ name }) => name)

test('a key opens something until it expires or is revoked, and stays listed', () => {
  const { control, clock } = fresh()
  const { apiKeys } = control
  const short = apiKeys.add(key('short', { expiresUnixMs: START_UNIX_MS + 1_000 }))
  const long = apiKeys.add(key('long'))
  expect(short).toMatchObject({ scopes: ['place', 'read'], createdUnixMs: START_UNIX_MS, lastUsedUnixMs: null, revokedUnixMs: null })
  expect(names(apiKeys.usable())).toEqual(['long', 'short'])
  clock.advance(1_000)
  expect(names(apiKeys.usable())).toEqual(['long'])
  expect([apiKeys.revoke(long.keyId, 'eve'), apiKeys.revoke(long.keyId, 'ada')]).toEqual([true, false])
  expect(apiKeys.usable()).toEqual([])
  expect(apiKeys.list().map(({ name, revokedBy }) => [name, revokedBy])).toEqual([
    ['short', null],
    ['long', 'eve'],
  ])
})

test('two keys in use cannot have one name or one key; a revoked name may be given again', () => {
  const { apiKeys } = fresh().control
  const first = apiKeys.add(key('litellm'))
  expect(() => apiKeys.add({ ...key('litellm'), sha256: 'other' })).toThrow(KeyNameTaken)
  apiKeys.revoke(first.keyId, 'ada')
  expect(() => apiKeys.add(key('litellm'))).toThrow(KeyNameTaken)
  expect(apiKeys.add({ ...key('litellm'), sha256: 'other' }).keyId).not.toBe(first.keyId)
})

test('use is noted to the minute', () => {
  const { control, clock } = fresh()
  const { apiKeys } = control
  const { keyId } = apiKeys.add(key('busy'))
  expect([apiKeys.used(keyId), apiKeys.used(keyId)]).toEqual([true, false])
  clock.advance(60_000)
  expect([apiKeys.used(keyId), apiKeys.used(999)]).toEqual([true, false])
  expect(apiKeys.get(keyId)?.lastUsedUnixMs).toBe(START_UNIX_MS + 60_000)
})

test('nothing rewrites the audit, not even whoever has the file', () => {
  const { control, path } = fresh()
  control.audit.append({ who: 'ada', address: '', action: 'drain', subject: 'a100-0' })
  const database = new Database(path)
  onTestFinished(() => void database.close())
  for (const sql of [
    "UPDATE audit SET who = 'eve'",
    'DELETE FROM audit',
    "INSERT OR REPLACE INTO audit (audit_id, at_unix_ms, who, address, action, subject) VALUES (1, 1, 'eve', '', 'none', 'none')",
  ])
    expect(() => database.exec(sql)).toThrow('the audit is append-only')
  expect(control.audit.list({ limit: 10 })).toMatchObject([{ who: 'ada', action: 'drain' }])
})
