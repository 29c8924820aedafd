import { once } from 'node:events'
import { createServer } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { systemClock } from '../../plugin/clock.ts'
import { ANSWER, answerStream, answerWhole, chat, EVENTS, endAll, type Play, post, startProxy, startUpstream } from './setup.ts'

afterEach(endAll)

/** An address where nobody listens. */
async function deadUrl(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  return `http://127.0.0.1:${port}`
}

const refuse =
  (status: number, headers: Record<string, string> = {}): Play =>
  (response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end('{"error":{"message":"no"}}')
  }
const hangUp: Play = (response) => void response.socket?.destroy()
const hangUpAfterHead: Play = (response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.write(EVENTS[0])
  setImmediate(() => response.socket?.destroy())
}
const abortedStream: Play = (response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.write(EVENTS[0])
  response.end(`${EVENTS[3]?.replace('"stop"', '"abort"')}${EVENTS[4]}`)
}
const abortedWhole: Play = (response) => {
  const choices = [{ index: 0, message: { role: 'assistant', content: '' }, finish_reason: 'abort' }]
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ ...ANSWER, choices }))
}
const engineDies: Play = (response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.end('data: {"error":{"message":"EngineCore died","type":"InternalServerError","code":500}}\n\ndata: [DONE]\n\n')
}

test.each([
  ['429', refuse(429), 'full (status 429)'],
  ['503', refuse(503), 'full (status 503)'],
  ['a hang-up before the head', hangUp, 'reset UND_ERR_SOCKET'],
  ['a hang-up before the first token', hangUpAfterHead, 'reset UND_ERR_SOCKET'],
  ['a stream aborted empty under 200', abortedStream, 'aborted'],
  ['a whole answer aborted empty under 200', abortedWhole, 'aborted'],
  ['an engine that died before its first token', engineDies, 'engine error'],
])('%s is tried elsewhere and the caller sees success', async (_what, play, error) => {
  const bad = await startUpstream(play)
  const good = await startUpstream((response, request, body) =>
    (JSON.parse(body).stream ? answerStream : answerWhole)(response, request, body),
  )
  const setup = await startProxy([bad.url, good.url])
  const streams = play !== abortedWhole
  const reply = await post(setup, '/v1/chat/completions', chat({ stream: streams }))
  expect(reply.status).toBe(200)
  expect(await reply.text()).toBe(streams ? EVENTS.join('') : JSON.stringify(ANSWER))
  const [row] = await setup.settled(1)
  expect(row?.outcome.kind).toBe('completed')
  expect(row?.attempts.map((one) => [one.instance.name, one.outcome, one.error])).toEqual([
    ['i0', 'instance error', error],
    ['i1', 'completed', undefined],
  ])
  expect(good.seen[0]?.body).toBe(bad.seen[0]?.body)
  expect(setup.router.inFlight()).toBe(0)
})

test('an instance that is not there is passed over', async () => {
  const good = await startUpstream(answerWhole)
  const setup = await startProxy([await deadUrl(), good.url])
  expect((await post(setup, '/v1/chat/completions', chat())).status).toBe(200)
  const [row] = await setup.settled(1)
  expect(row?.attempts[0]?.error).toBe('connect ECONNREFUSED')
})

test('an instance that was removed after the placement counts as not there', async () => {
  const good = await startUpstream(answerWhole)
  const gone = await startUpstream(answerWhole)
  const setup = await startProxy([gone.url, good.url])
  setup.connections.configure('m', [{ name: 'i1', url: good.url, weight: 1, speed: 1 }])
  expect((await post(setup, '/v1/chat/completions', chat())).status).toBe(200)
  expect((await setup.settled(1))[0]?.attempts[0]?.error).toMatch(/^connect/)
})

test('with nowhere left to go the caller gets 502 in the API shape', async () => {
  const setup = await startProxy([await deadUrl()])
  const reply = await post(setup, '/v1/chat/completions', chat())
  expect(reply.status).toBe(502)
  expect(await reply.json()).toMatchObject({ error: { type: 'server_error', code: 'instance_failed' } })
  expect((await setup.settled(1))[0]?.outcome).toMatchObject({ kind: 'instance error', error: 'connect ECONNREFUSED' })
  const anthropic = await post(setup, '/v1/messages', chat({ max_tokens: 5 }))
  expect(await anthropic.json()).toMatchObject({ type: 'error', error: { type: expect.any(String) } })
})

test("a refusal that nobody else can mend is the instance's own, with a word on when to come back", async () => {
  const upstream = await startUpstream(refuse(503))
  const setup = await startProxy([upstream.url])
  const reply = await post(setup, '/v1/chat/completions', chat())
  expect([reply.status, reply.headers.get('retry-after'), await reply.text()]).toEqual([503, '1', '{"error":{"message":"no"}}'])
  expect((await setup.settled(1))[0]?.outcome).toMatchObject({ kind: 'instance error', status: 503 })
})

test("an instance's 500 and 400 pass as they are and are not tried again", async () => {
  for (const status of [500, 400]) {
    const bad = await startUpstream(refuse(status, { 'x-why': 'because' }))
    const good = await startUpstream(answerWhole)
    const setup = await startProxy([bad.url, good.url])
    const reply = await post(setup, '/v1/chat/completions', chat())
    expect([reply.status, reply.headers.get('x-why'), await reply.text()]).toEqual([status, 'because', '{"error":{"message":"no"}}'])
    expect(good.seen).toHaveLength(0)
    expect((await setup.settled(1))[0]?.outcome.kind).toBe(status === 500 ? 'instance error' : 'completed')
  }
})

test('an instance killed in mid-stream: the caller gets an error event and an orderly end, no other instance is tried', async () => {
  const bad = await startUpstream((response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(`${EVENTS[0]}${EVENTS[1]}data: {"id":"half`, () => response.socket?.destroy())
  })
  const good = await startUpstream(answerStream)
  const setup = await startProxy([bad.url, good.url])
  const text = await (await post(setup, '/v1/chat/completions', chat({ stream: true }))).text()
  expect(text.startsWith(`${EVENTS[0]}${EVENTS[1]}`)).toBe(true)
  expect(JSON.parse(text.trimEnd().split('\n\n').at(-1)!.replace('data: ', ''))).toMatchObject({ error: { code: 'instance_failed' } })
  expect(text).not.toContain('[DONE]')
  expect(good.seen).toHaveLength(0)
  expect((await setup.settled(1))[0]?.outcome).toMatchObject({ kind: 'instance error', outputTokens: 1, censored: true })
})

test('an engine that dies in mid-stream says so itself: passed on as it is, an instance error all the same', async () => {
  const died = 'data: {"error":{"message":"EngineCore died","code":500}}\n\ndata: [DONE]\n\n'
  const upstream = await startUpstream((response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.end(`${EVENTS[0]}${EVENTS[1]}${died}`)
  })
  const setup = await startProxy([upstream.url])
  const text = await (await post(setup, '/v1/chat/completions', chat({ stream: true }))).text()
  expect(text).toBe(`${EVENTS[0]}${EVENTS[1]}${died}`)
  expect((await setup.settled(1))[0]?.outcome).toMatchObject({ kind: 'instance error', error: 'engine error' })
})

test('a whole answer that breaks off after its head went out breaks off for the caller too', async () => {
  const upstream = await startUpstream((response) => {
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': '1000' })
    response.write('x'.repeat(100), () => response.socket?.destroy())
  })
  const setup = await startProxy([upstream.url])
  const reply = await post(setup, '/v1/audio/speech', chat())
  await expect(reply.text()).rejects.toThrow()
  expect((await setup.settled(1))[0]?.outcome.kind).toBe('instance error')
})

test.each([
  ['first byte', { firstByteMs: 80 }, (() => undefined) as Play],
  ['idle', { idleMs: 80 }, ((response) => void response.writeHead(200, { 'content-type': 'application/json' }).write('{"id"')) as Play],
  ['total', { totalMs: 80 }, (() => undefined) as Play],
])('the %s time is up: 504 in the API shape, timed out, the instance let go', async (what, timeouts, play) => {
  const upstream = await startUpstream(play)
  const setup = await startProxy([upstream.url], {
    parts: { timeouts: { firstByteMs: 9_000, idleMs: 9_000, totalMs: 9_000, ...timeouts } },
  })
  const reply = await post(setup, '/v1/chat/completions', chat())
  expect(reply.status).toBe(504)
  expect(await reply.json()).toMatchObject({ error: { code: 'timeout' } })
  expect((await setup.settled(1))[0]?.outcome).toMatchObject({ kind: 'timed out', error: `timed out: ${what}` })
  await upstream.cut
})

test('a stream that falls silent ends with an error event in the words of the API', async () => {
  const upstream = await startUpstream((response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(
      'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}\n\n',
    )
  })
  const setup = await startProxy([upstream.url], { parts: { timeouts: { firstByteMs: 9_000, idleMs: 80, totalMs: 9_000 } } })
  const text = await (await post(setup, '/v1/messages', chat({ stream: true, max_tokens: 9 }))).text()
  expect(text).toContain('event: error\ndata: {"type":"error","error":{"type":"timeout_error"')
  expect((await setup.settled(1))[0]?.outcome).toMatchObject({ kind: 'timed out', error: 'timed out: idle' })
  await upstream.cut
})

const DAY_MS = 86_400_000

test('a hung instance is left for another one when the router finds it out', async () => {
  const hung = await startUpstream(() => undefined)
  const good = await startUpstream(answerStream)
  const setup = await startProxy([hung.url, good.url])
  const reply = post(setup, '/v1/chat/completions', chat({ stream: true }))
  while (hung.seen.length === 0) await new Promise(setImmediate)
  setup.router.abortStalled(systemClock.nowMs() + DAY_MS)
  expect(await (await reply).text()).toBe(EVENTS.join(''))
  await hung.cut
  expect((await setup.settled(1))[0]?.attempts.map((one) => one.error)).toEqual(['stalled', undefined])
})

test('an instance that hangs in mid-stream ends the call with an error event', async () => {
  const hung = await startUpstream((response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(`${EVENTS[0]}${EVENTS[1]}`)
  })
  const setup = await startProxy([hung.url])
  const reply = await post(setup, '/v1/chat/completions', chat({ stream: true }))
  setup.router.abortStalled(systemClock.nowMs() + DAY_MS)
  expect(await reply.text()).toContain('"code":"instance_failed"')
  await hung.cut
  expect((await setup.settled(1))[0]?.outcome).toMatchObject({ kind: 'instance error', error: 'stalled' })
})

test('a refusal whose body never ends keeps its connection for a moment only', async () => {
  const bad = await startUpstream((response) => {
    response.writeHead(503, { 'content-type': 'application/json', 'content-length': '100' })
    response.write('{')
  })
  const good = await startUpstream(answerWhole)
  const setup = await startProxy([bad.url, good.url])
  expect((await post(setup, '/v1/chat/completions', chat())).status).toBe(200)
  await bad.cut
})
