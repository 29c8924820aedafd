import { afterEach, expect, test } from 'vitest'
import { BODY, endAll, holding, inFlight, openDesk, startApi } from './setup.ts'

/** What a caller of the placement API may count on. */
afterEach(endAll)

const DONE = { kind: 'completed', ttftMs: 20, e2eMs: 120, promptTokens: 9, outputTokens: 11 } as const

test('a call is placed by its body, booked, and settled by its report: one row with what the caller measured', async () => {
  const bench = await startApi()
  const { status, body } = await bench.post('/v1/placements', {
    body: { ...BODY, stream: true },
    hints: { application: 'bot', task: 'qa' },
  })
  expect(status).toBe(200)
  expect(body).toMatchObject({ held: false, attempt: 1, model: 'm', instance: { pool: 'm' }, unknownCandidates: [] })
  expect(body.fallbacks).toHaveLength(2)
  expect(body.predicted.promptTokens).toBeGreaterThan(0)
  expect(inFlight(bench)).toBe(1)
  const settled = await bench.post(`/v1/placements/${body.placementId}/outcome`, DONE)
  expect(settled.body).toEqual({ state: 'settled', placementId: body.placementId })
  expect(inFlight(bench)).toBe(0)
  expect(bench.calls()).toMatchObject([
    {
      gateway: 'api',
      instance: { name: body.instance.name },
      call: { api: 'openai-chat', stream: true, caller: { application: 'bot', task: 'qa' } },
      outcome: { kind: 'completed', ttftMs: 20, e2eMs: 120, tpotMs: 10, promptTokens: 9, outputTokens: 11, tokensFrom: 'usage' },
    },
  ])
})

test('the same prompt hashes to the same blocks by the API as through the proxy, however the request around it looks', async () => {
  const bench = await startApi()
  const long = { model: 'm', messages: [{ role: 'user', content: 'word '.repeat(200) }] }
  await bench.post('/v1/placements', `{"key":"a",  "body" : ${JSON.stringify(long)}}`)
  const { body } = await bench.post('/v1/placements', { dryRun: true, body: long })
  // The first call's instance holds the prefix now; least-request ignores it, but the features tell.
  expect(body.held).toBe(false)
  await bench.post('/v1/outcomes', { outcomes: [{ key: 'a', kind: 'completed' }] })
  const [row] = bench.calls()
  expect(row?.call.promptBytes).toBe(Buffer.byteLength(JSON.stringify(long.messages)))
})

test('a call is placed by its features alone', async () => {
  const bench = await startApi()
  const features = {
    promptBytes: 4_000,
    promptTokens: 900,
    maxTokens: 50,
    stream: true,
    prefixBlocks: ['00000000000000ff'],
    textFeatures: [7],
  }
  const { body } = await bench.post('/v1/placements', { model: 'nick', features })
  expect(body).toMatchObject({ model: 'm', predicted: { promptTokens: 1_000 } })
  await bench.post(`/v1/placements/${body.placementId}/outcome`, DONE)
  expect(bench.calls()[0]).toMatchObject({ call: { promptBytes: 4_000, maxTokens: 50 }, textFeatures: Uint32Array.from([7]) })
})

test('a dry run leaves no trace, in ledger, log, or the next real draw', async () => {
  const [one, other] = [await startApi(), await startApi()]
  for (let i = 0; i < 5; i++) {
    const { body } = await other.post('/v1/placements', { body: BODY, dryRun: true, key: 'k' })
    expect(body.placementId).toBeNull()
  }
  expect(inFlight(other)).toBe(0)
  expect(other.api.open()).toBe(0)
  const [a, b] = [await one.post('/v1/placements', { body: BODY }), await other.post('/v1/placements', { body: BODY })]
  expect(a.body.instance).toEqual(b.body.instance)
  expect(other.rows).toEqual([])
})

test('candidates are obeyed by name, address or id, strangers are named', async () => {
  const bench = await startApi()
  const candidates = ['http://10.0.0.9:8000', { id: 'dep-2', url: 'http://10.0.0.2:8000/v1' }]
  const { body } = await bench.post('/v1/placements', { body: BODY, candidates })
  expect(body).toMatchObject({ instance: { name: 'i1', candidate: 'dep-2' }, unknownCandidates: ['http://10.0.0.9:8000'] })
  const byName = await bench.post('/v1/placements', { body: BODY, candidates: ['i2'] })
  expect(byName.body.instance).toMatchObject({ name: 'i2', candidate: 'i2' })
  const strangers = await bench.post('/v1/placements', { body: BODY, candidates: ['nobody'] })
  expect(strangers).toMatchObject({ status: 404, type: 'application/problem+json', body: { unknownCandidates: ['nobody'] } })
})

test("a gateway's own name for the model does: the candidates tell the pool", async () => {
  const bench = await startApi()
  const { body } = await bench.post('/v1/placements', { body: { ...BODY, model: 'team-chat' }, candidates: ['i0'] })
  expect(body).toMatchObject({ model: 'm', instance: { name: 'i0' } })
})

test('the same key gives the same placement; with a failure it is a further attempt of the same call', async () => {
  const bench = await startApi()
  const first = await bench.post('/v1/placements', { body: BODY, key: 'call-1' })
  const again = await bench.post('/v1/placements', { body: BODY, key: 'call-1' })
  expect(again.body).toEqual(first.body)
  const retry = await bench.post('/v1/placements', { body: BODY, key: 'call-1', failure: { kind: 'status', status: 500 } })
  expect(retry.body).toMatchObject({ attempt: 2, placementId: first.body.placementId })
  expect(retry.body.instance.name).not.toBe(first.body.instance.name)
  expect(inFlight(bench)).toBe(1)
  await bench.post('/v1/outcomes', { outcomes: [{ key: 'call-1', ...DONE }] })
  expect(bench.calls()).toHaveLength(1)
  expect(bench.calls()[0]?.attempts).toMatchObject([
    { instance: { name: first.body.instance.name }, outcome: 'instance error', error: 'status 500' },
    { instance: { name: retry.body.instance.name }, outcome: 'completed' },
  ])
})

test('a gateway that retries more often than the router would is followed, and the ledger stays right', async () => {
  const bench = await startApi()
  await bench.post('/v1/placements', { body: BODY, key: 'k' })
  for (let attempt = 2; attempt <= 8; attempt++) {
    const { body } = await bench.post('/v1/placements', { body: BODY, key: 'k', failure: { kind: 'full', status: 429 } })
    expect(body.attempt).toBe(attempt)
    expect(inFlight(bench)).toBe(1)
  }
  await bench.post('/v1/outcomes', { outcomes: [{ key: 'k', kind: 'instance error', failure: { kind: 'full', status: 429 } }] })
  expect(inFlight(bench)).toBe(0)
  expect(bench.calls()[0]?.attempts).toHaveLength(8)
})

test('a retry that only strangers may take ends the call here, with its failure', async () => {
  const bench = await startApi()
  await bench.post('/v1/placements', { body: BODY, key: 'k' })
  const gone = await bench.post('/v1/placements', { body: BODY, key: 'k', candidates: ['hosted'], failure: { kind: 'connect' } })
  expect(gone.status).toBe(404)
  expect(bench.calls()).toMatchObject([{ outcome: { kind: 'instance error', error: 'connect' } }])
  expect(inFlight(bench)).toBe(0)
})

test('a report may come twice, by id or by key, alone or in a batch: it counts once', async () => {
  const bench = await startApi()
  const { body } = await bench.post('/v1/placements', { body: BODY, key: 'k' })
  const path = `/v1/placements/${body.placementId}/outcome`
  expect((await bench.post(path, DONE)).body.state).toBe('settled')
  expect((await bench.post(path, { kind: 'client gone' })).body.state).toBe('repeated')
  const batch = await bench.post('/v1/outcomes', {
    outcomes: [
      { key: 'k', ...DONE },
      { placementId: 'never', ...DONE },
    ],
  })
  expect(batch.body.results).toEqual([{ state: 'repeated' }, { state: 'unknown placement' }])
  expect(bench.calls()).toHaveLength(1)
})

test('the first token is told while the call runs: its prompt is computed then, in the ledger; never before its attempt, and only once', async () => {
  const bench = await startApi()
  const { body } = await bench.post('/v1/placements', { body: { ...BODY, stream: true }, key: 'k' })
  const row = () => bench.fleet.rows(0).find((one) => one.instance.name === body.instance.name)
  expect(row()?.prefillTokensPending).toBeGreaterThan(0)
  bench.clock.advance(40)
  const told = await bench.post('/v1/progress', {
    calls: [
      { key: 'k', firstTokenAgoMs: 5_000 },
      { key: 'k', firstTokenAgoMs: 1, outputTokens: 7 },
      { placementId: 'never', firstTokenAgoMs: 1 },
    ],
  })
  expect(told.body.results).toEqual([{ state: 'noted' }, { state: 'noted' }, { state: 'not running' }])
  expect(row()).toMatchObject({ prefillTokensPending: 0, inFlight: 1 })
  await bench.post(`/v1/placements/${body.placementId}/outcome`, { ...DONE, ttftMs: 35 })
  expect((await bench.post('/v1/progress', { calls: [{ key: 'k', firstTokenAgoMs: 1 }] })).body.results).toEqual([{ state: 'not running' }])
  expect(bench.calls()[0]?.outcome).toMatchObject({ kind: 'completed', ttftMs: 35 })
  expect(inFlight(bench)).toBe(0)
})

test('where the call was really sent is what is learned from', async () => {
  const bench = await startApi()
  const { body } = await bench.post('/v1/placements', { body: BODY, candidates: [{ id: 'a', url: 'http://10.0.0.1:8000' }, 'i1'] })
  const other = body.instance.name === 'i0' ? 'i1' : 'a'
  await bench.post(`/v1/placements/${body.placementId}/outcome`, { ...DONE, servedBy: other })
  expect(bench.calls()[0]?.instance?.name).toBe(other === 'a' ? 'i0' : 'i1')
  expect(inFlight(bench)).toBe(0)
  const stray = await bench.post('/v1/placements', { body: BODY })
  await bench.post(`/v1/placements/${stray.body.placementId}/outcome`, { ...DONE, servedBy: 'https://api.example.com' })
  expect(bench.calls()[1]?.outcome).toMatchObject({ kind: 'client gone', error: 'served elsewhere' })
})

test('a caller who left frees its seat, once', async () => {
  const bench = await startApi()
  const { body } = await bench.post('/v1/placements', { body: BODY })
  const path = `/v1/placements/${body.placementId}`
  expect((await bench.get(path, { method: 'DELETE' })).body.state).toBe('settled')
  expect((await bench.get(path, { method: 'DELETE' })).body.state).toBe('repeated')
  expect((await bench.get('/v1/placements/NEVER', { method: 'DELETE' })).status).toBe(404)
  expect(bench.calls()[0]?.outcome.kind).toBe('client gone')
})

test('a held call is told so at once, and placed when asked for again', async () => {
  const hold = holding()
  const bench = await startApi({ routerOf: hold.routerOf })
  const { body } = await bench.post('/v1/placements', { body: BODY })
  expect(body).toMatchObject({ held: true })
  expect(body.retryAfterMs).toBeGreaterThan(0)
  expect((await bench.get(`/v1/placements/${body.placementId}`)).body.held).toBe(true)
  hold.release()
  const later = await bench.get(`/v1/placements/${body.placementId}`)
  expect(later.body).toMatchObject({ held: false, placementId: body.placementId })
  await bench.post(`/v1/placements/${body.placementId}/outcome`, DONE)
  expect(inFlight(bench)).toBe(0)
})

test('a caller who left while held leaves no ticket behind when the hold ends', async () => {
  const hold = holding()
  const { bench, desk, place } = openDesk({ routerOf: hold.routerOf })
  const held = await place({ body: BODY })
  desk.leave(held.placementId ?? '')
  hold.release()
  await new Promise((resolve) => setImmediate(resolve))
  expect(inFlight(bench)).toBe(0)
  expect(desk.open).toBe(0)
  expect(bench.calls()).toMatchObject([{ outcome: { kind: 'client gone' } }])
})

test('a held call that nobody asks for is given up', async () => {
  const { bench, desk, place } = openDesk({ routerOf: holding().routerOf })
  await place({ body: BODY })
  bench.clock.advance(6_000)
  desk.sweep()
  expect(desk.open).toBe(0)
  expect(bench.counted).toContain('held call abandoned')
})

test('a placement never settled is closed as unknown after the limit, counted, and teaches nothing', async () => {
  const { bench, desk, place } = openDesk({ settleLimitMs: 10_000 })
  const placed = await place({ body: BODY, key: 'k' })
  bench.clock.advance(9_999)
  desk.sweep()
  expect(inFlight(bench)).toBe(1)
  bench.clock.advance(1)
  desk.sweep()
  expect(inFlight(bench)).toBe(0)
  expect(bench.calls()).toMatchObject([{ outcome: { kind: 'unknown', error: 'never settled', censored: true } }])
  expect(bench.counted).toContain('placement never settled')
  expect(desk.settle({ id: placed.placementId ?? '' }, { kind: 'completed' })).toBe('repeated')
})

test('on the way down outcomes are still taken, new calls are not, and what is open then is closed as unknown', async () => {
  const { bench, desk, place } = openDesk()
  const [one] = [await place({ body: BODY }), await place({ body: BODY })]
  const closed = desk.close(20)
  await expect(place({ body: BODY })).rejects.toMatchObject({ body: { status: 503 } })
  desk.settle({ id: one?.placementId ?? '' }, { kind: 'completed' })
  await closed
  expect(bench.calls().map((row) => row.outcome.kind)).toEqual(['completed', 'unknown'])
  expect(inFlight(bench)).toBe(0)
})

test('a gateway that goes on in any case is told the best of what it has, even where nothing should take calls', async () => {
  const bench = await startApi()
  const lone = { candidates: ['i0'], body: BODY }
  for (let i = 0; i < 4; i++) {
    await bench.post('/v1/placements', { ...lone, key: `k${i}`, client: 'litellm' })
    await bench.post('/v1/outcomes', { outcomes: [{ key: `k${i}`, kind: 'instance error', failure: { kind: 'connect' } }] })
  }
  expect(bench.fleet.instance('m', 'i0')?.state).toBe('ejected')
  expect((await bench.post('/v1/placements', lone)).status).toBe(503)
  const forced = await bench.post('/v1/placements', { ...lone, client: 'litellm', key: 'k' })
  expect(forced.body).toMatchObject({ instance: { name: 'i0' }, reason: 'any reachable instance' })
  expect(inFlight(bench)).toBe(1)
})
