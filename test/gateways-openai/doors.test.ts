import { afterEach, expect, test } from 'vitest'
import { apiOf } from '../../plugin/call/parse.ts'
import { createMeter, type StreamMeter } from '../../plugin/outcome/meter.ts'
import { ANSWER, answerStream, answerWhole, chat, EVENTS, endAll, errorIn, post, startProxy, startUpstream } from './setup.ts'

afterEach(endAll)

const KEYS = [
  { application: 'search', key: 'sk-search' },
  { application: 'support', key: 'sk-support' },
]

test('a configured key names the application; no key and a wrong one get 401 in the API shape, and no instance hears of it', async () => {
  const upstream = await startUpstream(answerWhole)
  const setup = await startProxy([upstream.url], { parts: { callerKeys: KEYS }, apiKey: 'sk-instance' })
  for (const headers of [{}, { authorization: 'Bearer sk-wrong' }, { 'x-api-key': '' }, { authorization: 'Basic sk-search' }]) {
    const reply = await post(setup, '/v1/chat/completions', chat(), { headers })
    expect([reply.status, (await errorIn(reply)).code]).toEqual([401, 'invalid_api_key'])
  }
  expect(upstream.seen).toHaveLength(0)
  await post(setup, '/v1/chat/completions', chat(), { headers: { authorization: 'Bearer sk-support' } })
  await post(setup, '/v1/messages', chat({ max_tokens: 4 }), { headers: { 'x-api-key': 'sk-search' } })
  const rows = await setup.settled(2)
  expect(rows.map((row) => row.call.caller.application)).toEqual(['support', 'search'])
  for (const { headers } of upstream.seen) {
    expect(headers.authorization).toBe('Bearer sk-instance')
    expect(headers['x-api-key']).toBeUndefined()
  }
  expect((await fetch(`${setup.proxy.url}/v1/models`)).status).toBe(401)
  expect((await fetch(`${setup.proxy.url}/health`)).status).toBe(200)
})

test("without configured keys the caller's secrets still go nowhere", async () => {
  const upstream = await startUpstream(answerWhole)
  const setup = await startProxy([upstream.url])
  const headers = { authorization: 'Bearer sk-mine', 'x-api-key': 'sk-mine', 'api-key': 'sk-mine', cookie: 'session=1' }
  await post(setup, '/v1/chat/completions', chat(), { headers })
  expect(JSON.stringify(upstream.seen[0]?.headers)).not.toMatch(/sk-mine|session/)
})

test('hop-by-hop headers stay on their hop, both ways; the others pass', async () => {
  const upstream = await startUpstream((response) => {
    response.writeHead(200, {
      'content-type': 'application/json',
      connection: 'keep-alive, x-only-here',
      'keep-alive': 'timeout=9',
      'x-only-here': '1',
      'x-told': 'yes',
      'proxy-authenticate': 'no',
      'x-phasewise-call': 'forged',
    })
    response.end(JSON.stringify(ANSWER))
  })
  const setup = await startProxy([upstream.url])
  const { request } = await import('node:http')
  const reply = await new Promise<import('node:http').IncomingMessage>((done) => {
    const sent = request(`${setup.proxy.url}/v1/chat/completions`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        connection: 'keep-alive, x-mine',
        'x-mine': '1',
        te: 'trailers',
        trailer: 'x-end',
        'proxy-authorization': 'Basic x',
        'x-custom': 'yes',
        'x-virtual-output-tokens': '9',
        'x-phasewise-tenant': 'blue',
        'accept-encoding': 'gzip',
      },
    })
    sent.on('response', done)
    sent.end(chat())
  })
  reply.resume()
  const sent = upstream.seen[0]!.headers
  expect(sent).toMatchObject({ 'x-custom': 'yes', 'accept-encoding': 'identity' })
  for (const name of ['x-mine', 'te', 'trailer', 'proxy-authorization', 'x-virtual-output-tokens', 'x-phasewise-tenant'])
    expect(sent[name], name).toBeUndefined()
  expect(reply.headers['x-told']).toBe('yes')
  for (const name of ['x-only-here', 'proxy-authenticate']) expect(reply.headers[name], name).toBeUndefined()
  expect(reply.headers['x-phasewise-call']).toMatch(/^[0-9A-Z]{11}$/)
  const [row] = await setup.settled(1)
  expect(row?.call.caller.tenant).toBe('blue')
})

test('x-virtual headers reach virtual instances', async () => {
  const upstream = await startUpstream(answerWhole)
  const setup = await startProxy([upstream.url], { pool: { virtual: true } })
  await post(setup, '/v1/chat/completions', chat(), { headers: { 'x-virtual-output-tokens': '9' } })
  expect(upstream.seen[0]?.headers['x-virtual-output-tokens']).toBe('9')
})

test('request ids are kept or made, trace context goes on, and with debug headers the placement is told', async () => {
  const upstream = await startUpstream(answerWhole)
  const setup = await startProxy([upstream.url], { parts: { debugHeaders: true } })
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const kept = await post(setup, '/v1/chat/completions', chat(), { headers: { 'x-request-id': 'mine-1', traceparent, tracestate: 'a=b' } })
  expect(kept.headers.get('x-request-id')).toBe('mine-1')
  expect(upstream.seen[0]?.headers).toMatchObject({ 'x-request-id': 'mine-1', traceparent, tracestate: 'a=b' })
  expect(kept.headers.get('x-phasewise-instance')).toBe('i0')
  expect(kept.headers.get('x-phasewise-placement')).toBe('least-request-speed')
  expect(kept.headers.get('x-phasewise-reason')).toBe('only candidate')
  expect(kept.headers.get('x-phasewise-model-version')).toMatch(/^policy=none, length=/)
  const made = await post(setup, '/v1/chat/completions', chat())
  expect(made.headers.get('x-request-id')).toBe(made.headers.get('x-phasewise-call'))
})

test('where traces are sent, the span of the call is what the instance sees, and it is ended with the outcome', async () => {
  const upstream = await startUpstream(answerWhole)
  const told: string[] = []
  const setup = await startProxy([upstream.url], {
    parts: {
      telemetry: {
        startCall: ({ traceparent, pool, provider }) => ({
          headers: { traceparent: `${traceparent}-child`, tracestate: 'ours' },
          placed: (_placement, instance) => void told.push(`placed ${pool} ${provider} ${instance.name}`),
          retried: () => void told.push('retried'),
          ended: (outcome) => void told.push(`ended ${outcome.kind}`),
          refused: () => void told.push('refused'),
        }),
      },
      providerOf: () => 'vllm',
    },
  })
  await post(setup, '/v1/chat/completions', chat(), { headers: { traceparent: 'p' } })
  expect(upstream.seen[0]?.headers).toMatchObject({ traceparent: 'p-child', tracestate: 'ours' })
  expect(told).toEqual(['placed m vllm i0', 'ended completed'])
})

test('models are listed, found one by one, and an unknown one is 404', async () => {
  const setup = await startProxy([])
  const list = await (await fetch(`${setup.proxy.url}/v1/models`)).json()
  expect(list).toMatchObject({ object: 'list', data: [{ id: 'm', object: 'model', owned_by: 'm' }, { id: 'nick' }] })
  expect(await (await fetch(`${setup.proxy.url}/v1/models/nick`)).json()).toMatchObject({ id: 'nick' })
  expect((await fetch(`${setup.proxy.url}/v1/models/none`)).status).toBe(404)
})

test('health is alive always, ready only when a call could be placed', async () => {
  const none = await startProxy([])
  const some = await startProxy([(await startUpstream(answerWhole)).url])
  const status = async (setup: typeof none, path: string, method = 'GET') => (await fetch(`${setup.proxy.url}${path}`, { method })).status
  expect([await status(none, '/health'), await status(none, '/health/ready')]).toEqual([200, 503])
  expect([await status(some, '/health'), await status(some, '/health/ready'), await status(some, '/health', 'HEAD')]).toEqual([
    200, 200, 200,
  ])
})

test('no instance at all: 503 with a time to come back', async () => {
  const setup = await startProxy([])
  const reply = await post(setup, '/v1/chat/completions', chat())
  expect([reply.status, reply.headers.get('retry-after')]).toEqual([503, '1'])
  expect(await reply.json()).toMatchObject({ error: { type: 'server_error' } })
})

test.each([
  ['POST', '/v1/chat/completions', '{not json', 400, 'JSON'],
  ['POST', '/v1/chat/completions', '{"messages":[]}', 400, 'model'],
  ['POST', '/v1/chat/completions', '{"model":"none","messages":[]}', 404, 'none'],
  ['POST', '/v1/rerank', '{"query":"x"}', 400, 'model'],
  ['POST', '/v1/rerank', '{"model":"none"}', 404, 'none'],
  ['POST', '/chat', '{}', 404, '/v1/chat/completions'],
  ['GET', '/', undefined, 404, '/v1/models'],
  ['GET', '/v1/chat/completions', undefined, 405, 'POST'],
  ['DELETE', '/v1/models', undefined, 405, 'GET'],
  ['POST', '/health', '{}', 405, 'GET'],
] as const)('%s %s with %s is answered %d in the API shape', async (method, path, body, status, word) => {
  const setup = await startProxy([(await startUpstream(answerWhole)).url])
  const reply = await fetch(`${setup.proxy.url}${path}`, { method, ...(body === undefined ? {} : { body }) })
  expect(reply.status).toBe(status)
  const error = await errorIn(reply)
  expect(error.message).toContain(word)
  expect(error.type).toBe('invalid_request_error')
  if (status === 405) expect(reply.headers.get('allow')).toContain(word)
  expect(setup.calls()).toHaveLength(0)
})

test('an encoded body is refused with what would be taken', async () => {
  const setup = await startProxy([(await startUpstream(answerWhole)).url])
  const reply = await post(setup, '/v1/chat/completions', chat(), { headers: { 'content-encoding': 'gzip' } })
  expect([reply.status, reply.headers.get('accept-encoding')]).toEqual([415, 'identity'])
})

test('other paths of the engine are served by model name alone', async () => {
  const upstream = await startUpstream(
    (response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{"results":[1]}'),
  )
  const setup = await startProxy([upstream.url])
  expect(apiOf('/v1/rerank')).toBeUndefined()
  const reply = await post(setup, '/v1/rerank', '{"model":"m","query":"q","documents":[]}')
  expect(await reply.json()).toEqual({ results: [1] })
  expect((await setup.settled(1))[0]?.outcome.kind).toBe('completed')
})

test('a base address with a path keeps it', async () => {
  const upstream = await startUpstream(answerWhole)
  const setup = await startProxy([`${upstream.url}/team/llm`])
  await post(setup, '/v1/chat/completions', chat())
  expect(upstream.seen[0]?.url).toBe('/team/llm/v1/chat/completions')
})

test('a compressed answer is passed as it is', async () => {
  const { gzipSync } = await import('node:zlib')
  const upstream = await startUpstream((response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end(gzipSync(JSON.stringify(ANSWER)))
  })
  const setup = await startProxy([upstream.url])
  expect(await (await post(setup, '/v1/chat/completions', chat())).json()).toEqual(ANSWER)
})

function breaking(at: 'head' | 'chunk' | 'end', after: number): (...args: Parameters<typeof createMeter>) => StreamMeter {
  return (parts) => {
    let times = 0
    return new Proxy(createMeter(parts), {
      get(meter, name) {
        const value = Reflect.get(meter, name, meter)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) => {
          if (name === at && ++times > after) throw new Error('broken meter')
          return value.apply(meter, args)
        }
      },
    })
  }
}

test.each([
  ['head', 0, true],
  ['chunk', 0, true],
  ['chunk', 2, true],
  ['chunk', 4, false],
  ['end', 0, true],
  ['end', 0, false],
] as const)('a meter that breaks at %s %d is left out and the answer goes on (I5)', async (at, after, asksUsage) => {
  const upstream = await startUpstream((response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const bytes = Buffer.from(EVENTS.join(''))
    const step = (i: number): void => {
      if (i >= bytes.length) response.end()
      else response.write(bytes.subarray(i, i + 50), () => step(i + 50))
    }
    step(0)
  })
  const setup = await startProxy([upstream.url], {
    pool: { requestUsage: asksUsage && at !== 'chunk' },
    parts: { createMeter: breaking(at, after) },
  })
  const reply = await post(setup, '/v1/chat/completions', chat({ stream: true }))
  expect(await reply.text()).toBe(EVENTS.join(''))
  await setup.settled(1)
  expect(setup.counted).toContain('meter failed: Error')
})

test('a router that breaks is gone round: any instance serves the call, and it is counted (I5)', async () => {
  const upstream = await startUpstream(answerStream)
  const inner = await startProxy([upstream.url])
  const setup = await startProxy([upstream.url], {
    parts: {
      router: { ...inner.router, place: () => Promise.reject(new TypeError('broken')) },
      anyInstance: () => inner.fleet.instances('m')[0],
    },
  })
  const reply = await post(setup, '/v1/chat/completions', chat({ stream: true }))
  expect(await reply.text()).toBe(EVENTS.join(''))
  expect(setup.counted).toEqual(['placing failed', 'served without the router'])
})

test('a router that breaks where nothing else is known costs the call a 503, never the process', async () => {
  const upstream = await startUpstream(answerWhole)
  const inner = await startProxy([upstream.url])
  const setup = await startProxy([upstream.url], {
    parts: {
      router: {
        ...inner.router,
        place: () => {
          throw new TypeError('broken')
        },
      },
    },
  })
  const reply = await post(setup, '/v1/chat/completions', chat())
  expect(reply.status).toBe(503)
  expect(setup.proxy.inFlight()).toBe(0)
  expect((await fetch(`${setup.proxy.url}/health`)).status).toBe(200)
})

test('a ticket that breaks in its bookkeeping costs the books, not the call', async () => {
  const upstream = await startUpstream(answerStream)
  const inner = await startProxy([upstream.url])
  const setup = await startProxy([upstream.url], {
    parts: {
      router: {
        ...inner.router,
        async place(call, options) {
          const ticket = await inner.router.place(call, options)
          return Object.assign(Object.create(null), {
            call: ticket.call,
            pool: ticket.pool,
            placement: ticket.placement,
            instance: ticket.instance,
            ...Object.fromEntries(
              ['firstToken', 'progress', 'retry', 'onStalled', 'settle'].map((name) => [
                name,
                () => {
                  throw new Error(name)
                },
              ]),
            ),
          })
        },
      },
    },
  })
  const reply = await post(setup, '/v1/chat/completions', chat({ stream: true }))
  expect(await reply.text()).toBe(EVENTS.join(''))
  expect(setup.counted).toContain('bookkeeping failed: Error')
})
