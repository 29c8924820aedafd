import { afterEach, expect, test } from 'vitest'
import { ANSWER, answerStream, answerWhole, chat, EVENTS, endAll, post, startProxy, startUpstream } from './setup.ts'

afterEach(endAll)

test('a whole answer passes, is settled once, and leaves the ledger empty (I2, I12)', async () => {
  const upstream = await startUpstream(answerWhole)
  const setup = await startProxy([upstream.url])
  const reply = await post(setup, '/v1/chat/completions', chat())
  expect(reply.status).toBe(200)
  expect(await reply.json()).toEqual(ANSWER)
  const [row] = await setup.settled(1)
  expect(row?.outcome).toMatchObject({
    kind: 'completed',
    status: 200,
    outputTokens: 2,
    promptTokens: 9,
    tokensFrom: 'usage',
    finishReason: 'stop',
  })
  expect(row?.gateway).toBe('openai')
  expect(setup.router.inFlight()).toBe(0)
  expect(setup.fleet.instances('m')[0]?.ledger.inFlight).toBe(0)
})

test('a stream reaches the caller byte for byte as it would have come unasked for usage, and usage is known all the same', async () => {
  const upstream = await startUpstream(answerStream)
  const setup = await startProxy([upstream.url])
  const reply = await post(setup, '/v1/chat/completions', chat({ stream: true }))
  expect(reply.headers.get('content-type')).toContain('text/event-stream')
  expect(await reply.text()).toBe(EVENTS.join(''))
  const [row] = await setup.settled(1)
  expect(row?.outcome).toMatchObject({ kind: 'completed', outputTokens: 2, tokensFrom: 'usage', promptTokens: 9 })
  expect(JSON.parse(upstream.seen[0]!.body).stream_options).toEqual({ include_usage: true })
})

test('a caller who asked for usage gets it', async () => {
  const upstream = await startUpstream(answerStream)
  const setup = await startProxy([upstream.url])
  const reply = await post(setup, '/v1/chat/completions', chat({ stream: true, stream_options: { include_usage: true } }))
  expect(await reply.text()).toContain('"completion_tokens":2')
})

test('a pool that is not to be asked for usage gets the body as it came', async () => {
  const upstream = await startUpstream(answerStream)
  const setup = await startProxy([upstream.url], { pool: { requestUsage: false } })
  const body = `{ "stream":true,"model":"m" , "messages":[{"role":"user","content":"\\u0048i 1e400"}],"seed":12345678901234567890 }`
  await (await post(setup, '/v1/chat/completions?beta=1', body)).text()
  expect(upstream.seen[0]).toMatchObject({ body, url: '/v1/chat/completions?beta=1' })
})

test('an alias becomes the name that the instance knows, and not one other byte changes', async () => {
  const upstream = await startUpstream(answerWhole)
  const setup = await startProxy([upstream.url])
  const body = `{"messages":[ {"role":"user","content":"model \\"nick\\""}],"model" : "nick","seed":12345678901234567890}`
  expect((await post(setup, '/v1/chat/completions', body)).status).toBe(200)
  expect(upstream.seen[0]?.body).toBe(body.replace('"model" : "nick"', '"model" : "m"'))
  expect(upstream.seen[0]?.headers['content-length']).toBe(String(upstream.seen[0]?.body.length))
})
