import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type { EnvoyPickerParts } from '../../../plugin/gateways/envoy/picker.ts'
import { PlacementError, type Router } from '../../../plugin/router.ts'
import { createPickerBench, type PickerBench, type PickerBenchOptions } from '../../fakes/picker.ts'
import {
  type Answer,
  type ExtProcCall,
  type ExtProcClient,
  extProcClient,
  headerSet,
  PROCESS,
  requestBody,
  requestHeaders,
  responseBody,
  responseHeaders,
  streamed,
} from './extproc-client.ts'

/** The protocol at the gRPC level, spoken by node:http2 and protobufjs, over a real router. */
const open: { bench: PickerBench; client: ExtProcClient }[] = []
afterEach(async () => {
  for (const { bench, client } of open.splice(0)) {
    client.close()
    await bench.picker.close(0)
  }
})

async function start(options: PickerBenchOptions = {}): Promise<{ bench: PickerBench; client: ExtProcClient }> {
  const bench = await createPickerBench(options)
  const client = extProcClient(bench.url)
  open.push({ bench, client })
  return { bench, client }
}

const CHAT = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hello' }] })

/** Sends a request and gives the answers to it: head, then body. */
async function place(
  client: ExtProcClient,
  body = CHAT,
  head: Parameters<typeof requestHeaders>[0] = {},
): Promise<{ call: ExtProcCall; head: Answer }> {
  const call = client.open()
  call.send(requestHeaders(head))
  call.send(requestBody(body))
  return { call, head: await call.next() }
}

/** envoy.type.v3.StatusCode by name. */
const STATUS: Readonly<Record<string, number>> = { BadRequest: 400, NotFound: 404, TooManyRequests: 429, ServiceUnavailable: 503 }

const refusalOf = (answer: Answer): { code: number; body: string } => {
  const told = answer.immediate_response as { status?: { code?: string }; body?: Buffer } | undefined
  return { code: STATUS[told?.status?.code ?? ''] ?? 0, body: told?.body ? Buffer.from(told.body).toString() : '' }
}

test('the destination is told twice, as a header and as metadata, and the body follows', async () => {
  const { client } = await start()
  const { call, head } = await place(client)
  expect(head.destination).toMatch(/^192\.168\.1\.[123]:8000$/)
  expect(headerSet(head, 'x-gateway-destination-endpoint')).toBe(head.destination)
  expect(headerSet(head, 'content-length')).toBe(String(CHAT.length))
  expect((head.request_headers as { response: { clear_route_cache: boolean } }).response.clear_route_cache).toBe(true)
  expect(streamed(await call.next())).toEqual({ side: 'request', body: CHAT, end: true })
})

test('a JSON answer is metered by its usage and logged as this door’s', async () => {
  const { bench, client } = await start()
  const { call } = await place(client)
  await call.next()
  const answer = JSON.stringify({
    object: 'chat.completion',
    choices: [{ finish_reason: 'stop' }],
    usage: { prompt_tokens: 11, completion_tokens: 7 },
  })
  call.send(responseHeaders())
  expect(await call.next()).toHaveProperty('response_headers')
  call.send(responseBody(answer.slice(0, 20), false))
  call.send(responseBody(answer.slice(20), true))
  expect(streamed(await call.next())).toEqual({ side: 'response', body: answer, end: true })
  expect(await call.status).toBe(0)
  const [row] = await bench.settled(1)
  expect(row).toMatchObject({
    gateway: 'envoy',
    pool: 'm',
    outcome: { kind: 'completed', status: 200, promptTokens: 11, outputTokens: 7, tokensFrom: 'usage' },
  })
})

test('a stream is mirrored chunk by chunk, its tokens and usage counted, its end told', async () => {
  const { bench, client } = await start()
  const { call } = await place(client, JSON.stringify({ model: 'm', stream: true, messages: [] }))
  await call.next()
  const chunks = [
    'data: {"model":"m","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
    'data: {"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}]}\n\ndata: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\ndata: [DONE]\n\n',
  ]
  call.send(responseHeaders({ type: 'text/event-stream' }))
  await call.next()
  for (const chunk of chunks) {
    call.send(responseBody(chunk, false))
    expect(streamed(await call.next())).toEqual({ side: 'response', body: chunk, end: false })
  }
  call.send(responseBody('', true))
  expect(streamed(await call.next())).toEqual({ side: 'response', body: '', end: true })
  const [row] = await bench.settled(1)
  expect(row?.outcome).toMatchObject({ kind: 'completed', outputTokens: 2, promptTokens: 5, tokensFrom: 'usage' })
  expect(row?.outcome.ttftMs).toBeGreaterThan(0)
})

test('a model name split over two events of a stream counts all the same', async () => {
  const { bench, client } = await start()
  const { call } = await place(client, JSON.stringify({ model: 'm', stream: true, messages: [] }))
  await call.next()
  call.send(responseHeaders({ type: 'text/event-stream' }))
  await call.next()
  for (const part of [
    'data: {"model":"fo',
    'o","choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n',
    '\ndata: [DO',
    'NE]\n\n',
  ]) {
    call.send(responseBody(part, false))
    expect(streamed(await call.next()).body).toBe(part)
  }
  call.send(responseBody('', true))
  await call.next()
  expect((await bench.settled(1))[0]?.outcome).toMatchObject({ kind: 'completed', outputTokens: 1, tokensFrom: 'chunks' })
})

test.each([
  ['a list', ['192.168.1.2:8000'], '192.168.1.2:8000'],
  ['a text with a comma', '192.168.1.3:8000, 10.9.9.9:1', '192.168.1.3:8000'],
  ['an ip alone', ['192.168.1.1'], '192.168.1.1:8000'],
  ['another port of the same ip', ['192.168.1.2:9000'], undefined],
  ['an empty list', [], undefined],
  ['an empty text', '', undefined],
  ['nobody we know', ['10.9.9.9:8000'], undefined],
  ['what is no text', [17, null], undefined],
])('subset: %s', async (_, subset, expected) => {
  const { client } = await start()
  const { head } = await place(client, CHAT, { subset })
  expect(head.destination).toBe(expected)
  if (expected === undefined) expect(refusalOf(head).code).toBe(503)
})

test('two instances on one ip are told apart by their port, and both are meant by the ip', async () => {
  const { client } = await start({ urls: ['http://10.0.0.1:8000', 'http://10.0.0.1:8001'] })
  expect((await place(client, CHAT, { subset: ['10.0.0.1:8001'] })).head.destination).toBe('10.0.0.1:8001')
  const seen = new Set<string | undefined>()
  for (let i = 0; i < 12; i++) seen.add((await place(client, CHAT, { subset: '10.0.0.1' })).head.destination)
  expect([...seen].sort()).toEqual(['10.0.0.1:8000', '10.0.0.1:8001'])
})

test.each([
  ['no JSON', '{"model":', 400],
  ['JSON, but no object', '[1]', 400],
  ['no model', '{"messages":[]}', 400],
  ['an unknown model', '{"model":"nobody"}', 404],
])('%s is refused with %s', async (_, body, status) => {
  const { bench, client } = await start()
  const { head } = await place(client, body)
  expect(refusalOf(head).code).toBe(status)
  expect(JSON.parse(refusalOf(head).body)).toHaveProperty('error.message')
  expect(bench.fleet.rows(0).every(({ inFlight }) => inFlight === 0)).toBe(true)
})

test('a call without a body and without an instance is refused with 503, not 500', async () => {
  const { client } = await start({ urls: [] })
  const call = client.open()
  call.send(requestHeaders({ method: 'GET', path: '/v1/models', endOfStream: true }))
  expect(refusalOf(await call.next()).code).toBe(503)
})

test('an unknown path, a form and an encoded body go to any healthy instance', async () => {
  const { client } = await start()
  for (const [path, body, extra] of [
    ['/v1/audio/transcriptions', '--x\r\n', { 'content-type': 'multipart/form-data; boundary=x' }],
    ['/tokenize', '{"prompt":"x"}', {}],
    ['/v1/chat/completions', 'packed', { 'content-encoding': 'gzip' }],
  ] as const) {
    const { call, head } = await place(client, body, { path, extra: extra as Record<string, string> })
    expect(head.destination).toMatch(/^192/)
    expect(streamed(await call.next()).body).toBe(body)
  }
})

test('a body over the limit is placed by the name at its beginning and streamed through', async () => {
  const { bench, client } = await start({ parts: { bodyLimitBytes: 1_000 } })
  const call = client.open()
  call.send(requestHeaders({ extra: { 'content-length': '5000' } }))
  call.send(requestBody(`{"model":"m","prompt":"${'x'.repeat(1_200)}`, false))
  const head = await call.next()
  expect(head.destination).toMatch(/^192/)
  expect(headerSet(head, 'content-length')).toBeUndefined()
  expect(streamed(await call.next())).toMatchObject({ end: false })
  call.send(requestBody('yy"}', true))
  expect(streamed(await call.next())).toEqual({ side: 'request', body: 'yy"}', end: true })
  call.send(responseHeaders({ endOfStream: true }))
  await call.next()
  expect((await bench.settled(1))[0]?.call).toMatchObject({ model: 'm', promptBytes: 5_000 })
})

test('an alias is rewritten in the body, and the length with it; every other byte stays', async () => {
  const { client } = await start({ pool: { aliases: { nick: 'm' } } })
  const sent = '{ "stream":false,\n "model" : "nick", "messages":[], "n":1.0, "big":12345678901234567890 }'
  const { call, head } = await place(client, sent)
  const got = streamed(await call.next()).body
  expect(got).toBe(sent.replace('"nick"', '"m"'))
  expect(headerSet(head, 'content-length')).toBe(String(got.length))
})

test('a stream is asked for its usage where the caller did not, and the caller does not see it', async () => {
  const { bench, client } = await start({ pool: { requestUsage: true } })
  const { call } = await place(client, '{"model":"m","stream":true,"messages":[]}')
  expect(JSON.parse(streamed(await call.next()).body)).toMatchObject({ stream_options: { include_usage: true } })
  call.send(responseHeaders({ type: 'text/event-stream' }))
  await call.next()
  call.send(responseBody('data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}],"usage":null}\n\n', false))
  call.send(responseBody('data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}\n\ndata: [DONE]\n\n', true))
  let seen = ''
  for (let end = false; !end; ) {
    const chunk = streamed(await call.next())
    seen += chunk.body
    end = chunk.end
  }
  expect(seen).not.toContain('completion_tokens')
  expect(seen).toContain('[DONE]')
  expect((await bench.settled(1))[0]?.outcome).toMatchObject({ outputTokens: 9, tokensFrom: 'usage' })
})

test('a compressed answer goes on untouched and is counted', async () => {
  const { bench, client } = await start()
  const { call } = await place(client)
  await call.next()
  call.send(responseHeaders({ extra: { 'content-encoding': 'gzip' } }))
  await call.next()
  call.send(responseBody('packed', true))
  expect(streamed(await call.next())).toEqual({ side: 'response', body: 'packed', end: true })
  expect((await bench.settled(1))[0]?.outcome).toMatchObject({ kind: 'completed', status: 200 })
  expect(bench.counted).toContain('encoded answer not metered')
})

test.each([
  ['an instance that fails', { status: 500 }, 'boom', { kind: 'instance error', status: 500, error: 'status 500' }],
  ['an instance that is full', { status: 503 }, '{}', { kind: 'instance error', status: 503, error: 'full (status 503)' }],
  ['a mistake of the caller', { status: 422 }, '{}', { kind: 'completed', status: 422, error: 'status 422' }],
  [
    'nobody listens there',
    { status: 503, type: 'text/plain', own: true },
    'upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused',
    { kind: 'instance error', error: 'connect' },
  ],
  [
    'the instance hung up',
    { status: 503, type: 'text/plain', own: true },
    'upstream connect error or disconnect/reset before headers. reset reason: connection termination',
    { kind: 'instance error', error: 'reset' },
  ],
  [
    'Envoy waited too long',
    { status: 504, type: 'text/plain', own: true },
    'upstream request timeout',
    { kind: 'timed out', error: 'timed out' },
  ],
])('%s is told by :status and logged so', async (_, head, body, expected) => {
  const { bench, client } = await start()
  const { call } = await place(client)
  await call.next()
  const message = responseHeaders({ status: head.status, ...('type' in head ? { type: head.type } : {}) })
  const list = message.response_headers as { headers: { headers: { key: string }[] } }
  if ('own' in head) list.headers.headers = list.headers.headers.filter(({ key }) => key !== 'x-envoy-upstream-service-time')
  call.send(message)
  await call.next()
  call.send(responseBody(body, true))
  await call.next()
  expect((await bench.settled(1))[0]?.outcome).toMatchObject(expected)
})

test('the gateway says which endpoint served: the call is booked there', async () => {
  const { bench, client } = await start({ parts: { fallbacks: 2 } })
  const { call, head } = await place(client)
  const endpoints = head.destination?.split(',') ?? []
  expect(endpoints).toHaveLength(3)
  await call.next()
  call.send(responseHeaders({ served: endpoints[1]!, endOfStream: true }))
  await call.next()
  const [row] = await bench.settled(1)
  expect(row?.instance?.url).toBe(`http://${endpoints[1]}`)
  expect(row?.attempts).toHaveLength(2)
})

test('scores are told where they are asked for, best first', async () => {
  const { client } = await start({ parts: { scores: true, fallbacks: 1 } })
  const { head } = await place(client)
  const [first, second] = head.destination?.split(',') ?? []
  expect((head.lb as Record<string, unknown>)['x-gateway-destination-endpoint-scores']).toEqual({ [first!]: 1, [second!]: 0.5 })
})

test.each<[string, (call: ExtProcCall) => Promise<void>]>([
  ['before the body is whole', async (call) => call.send(requestHeaders())],
  [
    'after the placement',
    async (call) => {
      call.send(requestHeaders())
      call.send(requestBody(CHAT))
      await call.next()
    },
  ],
  [
    'in the middle of a stream',
    async (call) => {
      call.send(requestHeaders())
      call.send(requestBody('{"model":"m","stream":true}'))
      await call.next()
      await call.next()
      call.send(responseHeaders({ type: 'text/event-stream' }))
      await call.next()
      call.send(responseBody('data: {"choices":[{"delta":{"content":"a"}}]}\n\n', false))
      await call.next()
    },
  ],
])('a caller who leaves %s frees the ledger', async (what, until) => {
  const { bench, client } = await start()
  const call = client.open()
  await until(call)
  call.reset()
  while (bench.picker.inFlight() > 0) await new Promise((resolve) => setImmediate(resolve))
  expect(bench.fleet.rows(0).every(({ inFlight }) => inFlight === 0)).toBe(true)
  expect(bench.calls().map(({ outcome }) => outcome.kind)).toEqual(what.startsWith('before') ? [] : ['client gone'])
})

/** A router whose answers a test gives. */
function slowRouter(): { router: Router; asked: { signal: AbortSignal | undefined; refuse: (error: Error) => void }[] } {
  const asked: { signal: AbortSignal | undefined; refuse: (error: Error) => void }[] = []
  return {
    asked,
    router: {
      place: (_call, options) => new Promise((_, refuse) => asked.push({ signal: options.signal, refuse })),
      preview: () => {
        throw new Error('not asked here')
      },
      poolFor: () => ({ name: 'm', upstreamModel: 'm', requestUsage: false, virtual: false }),
      models: () => [{ id: 'm', pool: 'm' }],
      ready: () => true,
    },
  }
}

const some =
  (bench: { fleet: PickerBench['fleet'] }): EnvoyPickerParts['anyInstance'] =>
  () =>
    bench.fleet.instances('m')[0]

test('a caller who leaves while held aborts the hold', async () => {
  const { router, asked } = slowRouter()
  const { client } = await start({ parts: { router } })
  const call = client.open()
  call.send(requestHeaders())
  call.send(requestBody(CHAT))
  while (asked.length === 0) await new Promise((resolve) => setImmediate(resolve))
  const { signal } = asked[0]!
  expect(signal?.aborted).toBe(false)
  call.reset()
  await new Promise((resolve) => signal?.addEventListener('abort', resolve))
})

test('a router that never answers is not waited for beyond the hold limit', async () => {
  const { router } = slowRouter()
  const instance = { url: 'http://192.168.1.7:8000' } as never
  const { bench, client } = await start({ parts: { router, holdLimitMs: 120, anyInstance: () => instance } })
  const { head } = await place(client)
  expect(head.destination).toBe('192.168.1.7:8000')
  expect(bench.counted).toContain('hold limit reached')
})

test('a router that throws is replaced by any reachable instance', async () => {
  const broken: Router = { ...slowRouter().router, place: () => Promise.reject(new TypeError('broken')) }
  const helper = await createPickerBench()
  const { bench, client } = await start({ parts: { router: broken, anyInstance: some(helper)! } })
  const { call, head } = await place(client)
  expect(head.destination).toBe('192.168.1.1:8000')
  await call.next()
  call.send(responseHeaders({ endOfStream: true }))
  expect(await call.next()).toHaveProperty('response_headers')
  expect(bench.counted).toEqual(expect.arrayContaining(['placing failed', 'served without the router']))
  await helper.picker.close(0)
})

test('where even that is impossible, the stream is closed cleanly for failure_mode_allow', async () => {
  const broken: Router = { ...slowRouter().router, place: () => Promise.reject(new TypeError('broken')) }
  const { client } = await start({ parts: { router: broken } })
  const call = client.open()
  call.send(requestHeaders())
  call.send(requestBody(CHAT))
  expect(await call.status).toBe(14)
})

test('shed calls get 429 with the time to wait', async () => {
  const { router } = slowRouter()
  const shedding: Router = { ...router, place: () => Promise.reject(new PlacementError('shed', 'too much', 2_000)) }
  const { client } = await start({ parts: { router: shedding } })
  const { head } = await place(client)
  expect(refusalOf(head).code).toBe(429)
  const told = head.immediate_response as { headers?: { set_headers: { header: { key: string; raw_value: Buffer } }[] } }
  expect(told.headers?.set_headers.map(({ header }) => [header.key, String(header.raw_value)])).toContainEqual(['retry-after', '2'])
})

test('a meter that breaks costs the measurement, not the answer', async () => {
  const { bench, client } = await start({
    parts: {
      createMeter: () => {
        throw new TypeError('broken')
      },
    },
  })
  const { call } = await place(client)
  await call.next()
  call.send(responseHeaders())
  await call.next()
  call.send(responseBody('{"a":1}', true))
  expect(streamed(await call.next()).body).toBe('{"a":1}')
  expect((await bench.settled(1))[0]?.outcome.kind).toBe('completed')
})

test('bytes that are no protobuf end their stream, and only theirs', async () => {
  const { client } = await start()
  const bad = client.open()
  bad.stream.write(Buffer.from([0, 0, 0, 0, 3, 0xff, 0xff, 0xff]))
  expect(await bad.status).toBe(3)
  expect((await place(client)).head.destination).toMatch(/^192/)
})

test('compressed gRPC messages and unknown methods are told so; there is no reflection', async () => {
  const { client } = await start()
  const packed = client.open()
  packed.stream.write(Buffer.from([1, 0, 0, 0, 0]))
  expect(await packed.status).toBe(12)
  expect(await client.open('/grpc.reflection.v1.ServerReflection/ServerReflectionInfo').status).toBe(12)
})

/** grpc.health.v1.Health/Check: the status, or the gRPC error. */
async function check(client: ExtProcClient, service: string): Promise<number | string> {
  const call = client.open('/grpc.health.v1.Health/Check')
  const bytes: Buffer[] = []
  call.stream.removeAllListeners('data')
  call.stream.on('data', (chunk: Buffer) => bytes.push(chunk))
  const name = Buffer.from(service)
  const request = Buffer.concat([Buffer.from([0x0a, name.length]), name])
  call.stream.end(Buffer.concat([Buffer.from([0, 0, 0, 0, request.length]), request]))
  const status = await call.status
  return status === 0 ? (Buffer.concat(bytes)[6] ?? 0) : `error ${status}`
}

test('health: alive always, ready when a call could be placed, unknown services are not found', async () => {
  const { bench, client } = await start()
  const services = ['', 'liveness', 'readiness', 'envoy.service.ext_proc.v3.ExternalProcessor']
  expect(await Promise.all(services.map((one) => check(client, one)))).toEqual([1, 1, 1, 1])
  expect(await check(client, 'nobody')).toBe('error 5')
  bench.fleet.reconcile('m', [])
  expect(await Promise.all(services.map((one) => check(client, one)))).toEqual([1, 1, 2, 2])
})

test('what is not gRPC is refused with 415, HTTP/1 is counted for doctor', async () => {
  const { bench, client } = await start()
  const stream = client.session.request({ ':method': 'GET', ':path': PROCESS })
  const status = await new Promise((resolve) => stream.on('response', (headers) => resolve(headers[':status'])))
  expect(status).toBe(415)
  await fetch(bench.url).catch(() => undefined)
  expect(bench.counted).toContain('envoy: HTTP/1 to the picker')
})

test('bodies that are not streamed in full duplex are counted for doctor, and served all the same', async () => {
  const { bench, client } = await start()
  const call = client.open()
  call.send(requestHeaders({ modes: [2, 1] }))
  expect((await call.next()).destination).toMatch(/^192/)
  call.send(requestBody(CHAT))
  expect(streamed(await call.next())).toEqual({ side: 'request', body: '', end: false })
  expect(bench.counted).toEqual(
    expect.arrayContaining(['envoy: request bodies not FULL_DUPLEX_STREAMED', 'envoy: response bodies not FULL_DUPLEX_STREAMED']),
  )
})

test('closing lets open calls end, refuses new ones, and cuts what stays', async () => {
  const { bench, client } = await start()
  const { call } = await place(client)
  await call.next()
  const stuck = await place(client)
  await stuck.call.next()
  const closed = bench.picker.close(300)
  call.send(responseHeaders({ type: 'text/plain', endOfStream: true }))
  expect(await call.next()).toHaveProperty('response_headers')
  await closed
  expect((await bench.settled(2)).map(({ outcome }) => outcome.kind).sort()).toEqual(['completed', 'timed out'])
})

/** A certificate authority, a server's and a client's certificate, by openssl. */
function makeCertificates(): string {
  const folder = mkdtempSync(join(tmpdir(), 'phasewise-tls-'))
  const run = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  run('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.crt', '-subj', '/CN=ca')
  for (const name of ['server', 'server2', 'client'])
    run(
      'req',
      '-x509',
      ...key,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.crt`,
      '-subj',
      `/CN=${name}`,
      '-CA',
      'ca.crt',
      '-CAkey',
      'ca.key',
      '-addext',
      'subjectAltName=IP:127.0.0.1',
    )
  return folder
}

test('TLS and mutual TLS, with certificates taken into use when they change', async () => {
  const folder = makeCertificates()
  const at = (name: string): string => join(folder, name)
  copyFileSync(at('server.crt'), at('now.crt'))
  copyFileSync(at('server.key'), at('now.key'))
  const bench = await createPickerBench({ parts: { tls: { certFile: at('now.crt'), keyFile: at('now.key'), caFile: at('ca.crt') } } })
  const url = `https://127.0.0.1:${bench.picker.port}`
  const { readFileSync } = await import('node:fs')
  const ca = readFileSync(at('ca.crt'))
  const own = { ca, cert: readFileSync(at('client.crt')), key: readFileSync(at('client.key')) }
  const placed = async (options: object): Promise<string | undefined> => {
    const client = extProcClient(url, options)
    const answer = await place(client).then(
      ({ head }) => head.destination,
      () => undefined,
    )
    client.close()
    return answer
  }
  expect(await placed(own)).toMatch(/^192/)
  expect(await placed({ ca })).toBeUndefined()
  copyFileSync(at('server2.crt'), at('now.crt'))
  copyFileSync(at('server2.key'), at('now.key'))
  let name = ''
  while (name !== 'server2') {
    const client = extProcClient(url, own)
    await new Promise((resolve) => client.session.on('connect', resolve))
    name = (client.session.socket as unknown as { getPeerCertificate(): { subject: { CN: string } } }).getPeerCertificate().subject.CN
    client.close()
  }
  expect(await placed(own)).toMatch(/^192/)
  await bench.picker.close(0)
})
