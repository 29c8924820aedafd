import { existsSync, mkdtempSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { BODY, endAll, getBySocket, startApi } from './setup.ts'

/** Who may ask, and what is said to a request that is wrong. */
afterEach(endAll)

const KEYS = [
  { name: 'gateway', key: 'key-of-the-gateway', scopes: ['place'] },
  { name: 'viewer', key: 'key-of-the-viewer', scopes: ['read'] },
  { name: 'operator', key: 'key-of-the-operator', scopes: ['place', 'read', 'control'] },
] as const
const bearer = (key: string): RequestInit => ({ headers: { authorization: `Bearer ${key}` } })

test.each([
  ['not JSON', '{"body":', ''],
  ['a list', '[]', ''],
  ['an unknown field', { body: BODY, modle: 'm' }, '/modle'],
  ['a number out of range', { model: 'm', features: { promptBytes: -1 } }, '/features/promptBytes'],
  ['neither body nor model', {}, '/model'],
  ['body and features', { body: BODY, features: { promptBytes: 1 } }, '/features'],
  ['a body without a model', { body: { messages: [] } }, '/body/model'],
  ['a field deep inside', { body: BODY, hints: { priority: 'high' } }, '/hints/priority'],
])('%s: 400, problem details name the field', async (_, body, pointer) => {
  const bench = await startApi()
  const reply = await bench.post('/v1/placements', body)
  expect(reply).toMatchObject({ status: 400, type: 'application/problem+json', body: { type: 'urn:phasewise:problem:invalid-request' } })
  expect(reply.body.errors.map((one: { pointer: string }) => one.pointer)).toContain(pointer)
  expect(bench.api.open()).toBe(0)
})

test('an unknown model, address or method, an encoded or too large body: each has its own problem', async () => {
  const bench = await startApi({ bodyLimitBytes: 1_000 })
  const problems = await Promise.all([
    bench.post('/v1/placements', { body: { ...BODY, model: 'other' } }),
    bench.get('/v2/placements'),
    bench.get('/v1/placements'),
    bench.post('/v1/placements', { body: BODY }, { headers: { 'content-encoding': 'gzip' } }),
    bench.post('/v1/placements', { body: { ...BODY, pad: 'x'.repeat(2_000) } }),
    bench.get('/v1/placements/%zz'),
  ])
  expect(problems.map((one) => [one.status, one.body.type.split(':').at(-1)])).toEqual([
    [404, 'unknown-model'],
    [404, 'not-found'],
    [405, 'method-not-allowed'],
    [415, 'unsupported-encoding'],
    [413, 'too-large'],
    [400, 'invalid-request'],
  ])
  expect(problems[2]?.headers.get('allow')).toBe('POST')
})

test('without a key nobody may ask, not even on this machine, unless the configuration says so', async () => {
  const closed = await startApi({ openLoopback: false })
  expect(await closed.post('/v1/placements', { body: BODY })).toMatchObject({ status: 401, body: { status: 401 } })
  expect((await closed.get('/v1/health')).status).toBe(200)
  const open = await startApi()
  expect((await open.post('/v1/placements', { body: BODY })).status).toBe(200)
})

test('the open loopback is not open to pages in a browser, nor to what a proxy passes on from elsewhere', async () => {
  const bench = await startApi()
  for (const headers of [{ origin: 'http://localhost:3000' }, { 'x-forwarded-for': '192.0.2.1' }, { forwarded: 'for=192.0.2.1' }])
    expect((await bench.post('/v1/placements', { body: BODY }, { headers: headers as Record<string, string> })).status).toBe(401)
})

test('a key does what its scopes say, and no more', async () => {
  const bench = await startApi({ openLoopback: false, keys: KEYS })
  expect((await bench.post('/v1/placements', { body: BODY }, bearer('key-of-the-gateway'))).status).toBe(200)
  expect((await bench.get('/v1/fleet', bearer('key-of-the-gateway'))).status).toBe(403)
  expect((await bench.get('/v1/fleet', bearer('key-of-the-viewer'))).status).toBe(200)
  const drain = (key: string, instance: string) =>
    bench.get(`/v1/fleet/m/${instance}`, { method: 'PUT', body: '{"drained":true}', ...bearer(key) })
  expect((await drain('key-of-the-viewer', 'i1')).status).toBe(403)
  expect((await drain('key-of-the-operator', 'i1')).status).toBe(202)
  expect((await drain('key-of-the-operator', 'i9')).status).toBe(404)
  expect(bench.wishes).toEqual([{ pool: 'm', instance: 'i1', drained: true, askedBy: 'api key operator' }])
})

test('the kill switch: whoever may see it sees it, whoever controls turns it, and the very next placement obeys', async () => {
  const bench = await startApi({ openLoopback: false, keys: KEYS })
  const turn = (key: string, off: unknown) => bench.get('/v1/switch', { method: 'PUT', body: JSON.stringify({ off }), ...bearer(key) })
  expect(await bench.get('/v1/switch', bearer('key-of-the-viewer'))).toMatchObject({ status: 200, body: { off: false } })
  expect((await turn('key-of-the-viewer', true)).status).toBe(403)
  expect((await turn('key-of-the-operator', 'yes')).status).toBe(400)
  expect(await turn('key-of-the-operator', true)).toMatchObject({ status: 200, body: { off: true } })
  const placed = await bench.post('/v1/placements', { body: BODY }, bearer('key-of-the-operator'))
  expect(placed.body).toMatchObject({ policy: 'random', reason: 'switched off' })
  expect(await turn('key-of-the-operator', false)).toMatchObject({ body: { off: false } })
  const again = await bench.post('/v1/placements', { body: BODY }, bearer('key-of-the-operator'))
  expect(again.body.policy).toBe('least-request')
  expect(bench.wishes).toEqual([true, false].map((off) => ({ off, askedBy: 'api key operator' })))
})

test('wrong keys are throttled after a few; a key that was right before still works, a guess is not even looked at', async () => {
  const bench = await startApi({ openLoopback: false, keys: KEYS })
  const health = (key: string) => bench.get('/v1/fleet', bearer(key)).then((reply) => reply.status)
  expect(await health('key-of-the-viewer')).toBe(200)
  for (let i = 0; i < 10; i++) expect(await health(`guess-${i}`)).toBe(401)
  expect(await health('guess-10')).toBe(429)
  expect(await health('key-of-the-operator')).toBe(429)
  expect(await health('key-of-the-viewer')).toBe(200)
  bench.clock.advance(60_000)
  expect(await health('key-of-the-operator')).toBe(200)
  expect(bench.counted.filter((what) => what === 'api key: wrong')).toHaveLength(10)
})

test('it speaks over a Unix socket too, which owner and group alone may use', async () => {
  const socket = join(mkdtempSync(join(tmpdir(), 'phasewise-socket-')), 'api.sock')
  const bench = await startApi({ socket })
  expect(await getBySocket(socket, '/v1/fleet')).toBe(200)
  expect(statSync(socket).mode & 0o777).toBe(0o660)
  await bench.api.close(0)
  expect(existsSync(socket)).toBe(false)
})

test('a fault inside costs one request its answer, is counted, and says nothing of itself', async () => {
  const bench = await startApi({
    routerOf: (router) => ({
      ...router,
      poolFor: () => {
        throw new Error('secret words')
      },
    }),
  })
  const reply = await bench.post('/v1/placements', { body: BODY, candidates: ['i0'] })
  expect(reply.status).toBe(500)
  expect(JSON.stringify(reply.body)).not.toContain('secret')
  expect(bench.counted).toContain('api failed: Error')
})
