import { hash } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, onTestFinished, test } from 'vitest'
import { createManualClock } from '../../plugin/clock.ts'
import { parseConfig } from '../../plugin/config.ts'
import { type Control, openControl } from '../../plugin/log/control.ts'
import { databasePath, migrateDataDirectory } from '../../plugin/log/migrate.ts'
import { openStoredKeys } from '../../plugin/main-api-keys.ts'
import { examinePlacements } from '../../plugin/main-doctor-placements.ts'
import { makeCertificate } from '../certificate.ts'
import { BODY, endAll, startApi } from './setup.ts'

/** Keys that people make and revoke in the admin while the router runs, and the API over TLS. */
afterEach(endAll)

const bearer = (key: string): RequestInit => ({ headers: { authorization: `Bearer ${key}` } })
const stored = (name: string, more: { scopes?: readonly ('place' | 'read')[]; expiresUnixMs?: number } = {}) => ({
  name,
  scopes: more.scopes ?? (['place'] as const),
  sha256: hash('sha256', `key-of-${name}`, 'hex'),
  beginning: 'key-of',
  createdBy: 'ada',
  expiresUnixMs: more.expiresUnixMs,
})

async function startWithControl() {
  const dataDir = mkdtempSync(join(tmpdir(), 'phasewise-keys-'))
  const clock = createManualClock(1_800_000_000_000)
  migrateDataDirectory({ dataDir, nowUnixMs: clock.nowUnixMs() })
  const path = databasePath(dataDir, 'control')
  const control: Control = openControl({ path, clock })
  const counted: string[] = []
  const keys = openStoredKeys({ path, clock, count: (what) => void counted.push(what) })
  onTestFinished(() => {
    keys.close()
    control.close()
  })
  const bench = await startApi({ openLoopback: false, stored: keys, keys: [{ name: 'file', key: 'key-of-file', scopes: ['place'] }] })
  const place = async (name: string) => (await bench.post('/v1/placements', { body: BODY }, bearer(`key-of-${name}`))).status
  return { bench, clock, control, counted, keys, place }
}

test('a key made in the admin opens within a second what its scopes say; revoked or expired it opens nothing within a second', async () => {
  const { bench, clock, control, place } = await startWithControl()
  expect(await place('file')).toBe(200)
  const { keyId } = control.apiKeys.add(stored('new'))
  control.apiKeys.add(stored('viewer', { scopes: ['read'] }))
  control.apiKeys.add(stored('short', { expiresUnixMs: clock.nowUnixMs() + 3_000 }))
  clock.advance(1_000)
  expect(await Promise.all(['new', 'viewer', 'short', 'file'].map(place))).toEqual([200, 403, 200, 200])
  expect((await bench.get('/v1/fleet', bearer('key-of-viewer'))).status).toBe(200)
  control.apiKeys.revoke(keyId, 'ada')
  clock.advance(1_000)
  expect(await Promise.all(['new', 'short'].map(place))).toEqual([401, 200])
  clock.advance(1_000)
  expect(await Promise.all(['short', 'file'].map(place))).toEqual([401, 200])
})

test('the use of a key is noted', async () => {
  const { control, keys, place } = await startWithControl()
  const { keyId } = control.apiKeys.add(stored('used'))
  control.apiKeys.add(stored('idle'))
  expect(await place('used')).toBe(200)
  keys.close()
  expect(control.apiKeys.list().map(({ name, lastUsedUnixMs }) => [name, lastUsedUnixMs !== null])).toEqual([
    ['idle', false],
    ['used', true],
  ])
  expect(control.apiKeys.get(keyId)?.name).toBe('used')
})

test('a control database that is away leaves the keys seen last in force, counted', async () => {
  const clock = createManualClock(1)
  const counted: string[] = []
  const keys = openStoredKeys({ path: '/nowhere/control.sqlite', clock, count: (what) => void counted.push(what) })
  const bench = await startApi({ openLoopback: false, stored: keys, keys: [{ name: 'file', key: 'key-of-file', scopes: ['place'] }] })
  expect((await bench.post('/v1/placements', { body: BODY }, bearer('key-of-file'))).status).toBe(200)
  expect(counted).toEqual(['api keys not read'])
  keys.close()
})

test('doctor warns while nobody may place, and names who may', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'phasewise-doctor-'))
  const found = (placements: string) => {
    const text = `dataDir: ${dataDir}\npools: [{name: m, instances: [{url: "http://h:1"}]}]\ngateways: {placements: {listen: "0.0.0.0:8403"${placements}}}`
    const config = parseConfig({
      input: { path: '/etc/phasewise.yaml', text },
      env: { K: 'secret' },
      policyNames: ['least-request-speed', 'least-request'],
    })
    return examinePlacements(config).map((one) => `${one.level} ${one.found}`)[0]
  }
  expect(found('')).toMatch(/^warn nobody may place/)
  expect(found(', keys: [{name: eye, scopes: [read], key: {env: K}}]')).toMatch(/^warn nobody may place/)
  expect(found(', loopbackWithoutKey: true')).toMatch(/^ok none; programs on this machine/)
  expect(found(', keys: [{name: litellm, key: {env: K}}]')).toBe('ok litellm may place')
  migrateDataDirectory({ dataDir, nowUnixMs: 1 })
  const control = openControl({ path: databasePath(dataDir, 'control'), clock: createManualClock(1) })
  control.apiKeys.add(stored('made'))
  control.close()
  expect(found('')).toBe('ok made may place')
})

test('over TLS, with a key', async () => {
  const { cert, files: tls } = await makeCertificate()
  const bench = await startApi({ openLoopback: false, tls, keys: [{ name: 'file', key: 'key-of-file', scopes: ['place'] }] })
  expect(bench.api.url).toMatch(/^https:/)
  const place = (options: { readonly ca?: string; readonly authorization?: string }) =>
    new Promise<number | string>((resolve) => {
      const { authorization = 'Bearer key-of-file', ca } = options
      const asked = request(`${bench.api.url}/v1/placements`, { method: 'POST', headers: { authorization }, servername: 'localhost', ca })
      asked.on('response', (reply) => resolve(reply.resume().statusCode ?? 0))
      asked.on('error', (error) => resolve((error as NodeJS.ErrnoException).code ?? error.message))
      asked.end(JSON.stringify({ body: BODY }))
    })
  expect(await place({ ca: cert })).toBe(200)
  expect(await place({ ca: cert, authorization: 'Bearer guess' })).toBe(401)
  expect(await place({})).toBe('DEPTH_ZERO_SELF_SIGNED_CERT')
})
