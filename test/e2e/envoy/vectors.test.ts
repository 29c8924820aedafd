import { request as httpRequest, type RequestOptions } from 'node:http'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { createPickerBench, type PickerBench } from '../../fakes/picker.ts'
import { freePorts } from '../processes.ts'
import { filtersOf, type RunningEnvoy, startEnvoy } from './envoy.ts'
import { answerJson, type ScriptedInstances, startInstances } from './instances.ts'

/** The vectors of the endpoint pickers' hermetic tests, through real Envoy: weighted policy, all weights equal (gateways.md, section 1). */
let instances: ScriptedInstances
let bench: PickerBench
let envoy: RunningEnvoy

/** Test callers say subset and served by header; Envoy makes metadata of them, as a control plane would. */
const fromHeaders = {
  name: 'envoy.filters.http.header_to_metadata',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config',
    request_rules: [
      ['x-test-subset', 'STRING', 'NONE'],
      ['x-test-subset-list', 'PROTOBUF_VALUE', 'BASE64'],
    ].map(([header, type, encode]) => ({
      header,
      on_header_present: { metadata_namespace: 'envoy.lb.subset_hint', key: 'x-gateway-destination-endpoint-subset', type, encode },
      remove: true,
    })),
  },
}
const servedFromHeader = {
  name: 'served',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config',
    response_rules: [
      {
        header: 'x-served',
        on_header_present: { metadata_namespace: 'envoy.lb', key: 'x-gateway-destination-endpoint-served', type: 'STRING' },
      },
    ],
  },
}

beforeAll(async () => {
  instances = await startInstances(3)
  bench = await createPickerBench({ urls: instances.urls, pool: { aliases: { nick: 'm' } } })
  const [listenPort = 0, adminPort = 0] = await freePorts(2)
  envoy = await startEnvoy({
    pickerPort: bench.picker.port,
    listenPort,
    adminPort,
    unplaced: [new URL(instances.urls[2]!).host],
    change: (config) => {
      const filters = filtersOf(config)
      filters.splice(1, 0, fromHeaders)
      filters.splice(filters.length - 1, 0, servedFromHeader)
    },
  })
})

afterAll(async () => {
  await envoy.stop()
  await bench.picker.close(0)
  await instances.close()
})

beforeEach(() => {
  instances.answer = answerJson
  instances.asked.length = 0
})

interface Got {
  readonly status: number
  readonly headers: NodeJS.Dict<string | string[]>
  readonly body: string
  readonly chunks: readonly string[]
}

/** Sends these pieces of a body, one write each, and reads the answer chunk by chunk. */
function send(
  pieces: readonly (string | Buffer)[],
  options: Omit<RequestOptions, 'headers'> & { readonly headers?: Record<string, string>; readonly trailers?: Record<string, string> } = {},
): Promise<Got> {
  return new Promise((resolve, reject) => {
    const { trailers, headers = {}, ...rest } = options
    const request = httpRequest(
      `${envoy.url}/v1/chat/completions`,
      {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(trailers ? { trailer: Object.keys(trailers).join(', ') } : {}), ...headers },
        ...rest,
      },
      (response) => {
        const chunks: string[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk.toString()))
        response.on('error', reject)
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: chunks.join(''), chunks }))
      },
    )
    request.on('error', reject)
    const next = (i: number): void => {
      if (i === pieces.length) {
        if (trailers) request.addTrailers(trailers)
        request.end()
      } else request.write(pieces[i], () => setImmediate(next, i + 1))
    }
    if (pieces.length === 0) request.end()
    else next(0)
  })
}

const body = (model = 'm'): string => JSON.stringify({ model, messages: [{ role: 'user', content: 'hi' }] })

type State = readonly [queue: number, kv: number, adapters?: string]
function scrape(...states: readonly State[]): void {
  for (const [i, [queue, kv, adapters]] of states.entries()) bench.scrape(`i${i}`, { queue, kv, ...(adapters ? { adapters } : {}) })
}

test.each<[what: string, states: State[], model: string, cut: number, expected: string]>([
  [
    'lower queue and kv',
    [
      [3, 0.2],
      [0, 0.1],
      [10, 0.2],
    ],
    'm',
    0,
    '2',
  ],
  [
    'adapter loaded, low queue',
    [
      [0, 0.2, 'foo,bar'],
      [0, 0.1, 'foo,T'],
      [10, 0.2, 'foo,bar'],
    ],
    'T',
    0,
    '2',
  ],
  [
    'adapter beats kv',
    [
      [10, 0.2, 'foo,bar'],
      [10, 0.4, 'foo,T'],
      [10, 0.3, 'foo'],
    ],
    'T',
    0,
    '2',
  ],
  [
    'body split inside the model name',
    [
      [4, 0.2, 'T'],
      [4, 0.85, 'foo,T'],
      [20, 0.9],
    ],
    'T',
    11,
    '1',
  ],
])('%s', async (_, states, model, cut, expected) => {
  scrape(...states)
  const text = body(model)
  const { headers, status } = await send(cut > 0 ? [text.slice(0, cut), text.slice(cut)] : [text])
  expect([status, headers['x-instance']]).toEqual([200, expected])
})

test.each([
  ['invalid JSON', '{"model":"m", "mess'],
  ['no model in body', '{"messages":[]}'],
])('%s: 400, and no instance is asked', async (_, text) => {
  const { status, body: told } = await send([text])
  expect(status).toBe(400)
  expect(JSON.parse(told)).toHaveProperty('error.message')
  expect(instances.asked).toEqual([])
})

const hosts = (...numbers: number[]): string[] => numbers.map((n) => new URL(instances.urls[n - 1]!).host)
/** A google.protobuf.Value of a list of texts, in base64. */
function listValue(texts: readonly string[]): string {
  const field = (tag: number, bytes: Buffer): Buffer => Buffer.concat([Buffer.from([tag, bytes.length]), bytes])
  return field(0x32, Buffer.concat(texts.map((text) => field(0x0a, field(0x1a, Buffer.from(text)))))).toString('base64')
}

test.each<[what: string, headers: () => Record<string, string>, expected: string | number]>([
  ['of three', () => ({ 'x-test-subset': hosts(1, 2, 3).join(',') }), '2'],
  ['of the loaded one', () => ({ 'x-test-subset': hosts(3).join(',') }), '3'],
  ['of an unknown one', () => ({ 'x-test-subset': '10.99.99.99:1' }), 503],
  ['as a list', () => ({ 'x-test-subset-list': listValue(hosts(1, 3)) }), '1'],
  ['as an empty list', () => ({ 'x-test-subset-list': 'MgA=' }), 503],
  ['as an ip alone', () => ({ 'x-test-subset': '127.0.1.3' }), '3'],
  ['of another port', () => ({ 'x-test-subset': '127.0.1.3:1' }), 503],
])('subset %s', async (_, headers, expected) => {
  scrape([0, 0.2], [0, 0.1], [10, 0.2, 'T'])
  const { status, headers: got } = await send([body()], { headers: headers() })
  expect(typeof expected === 'number' ? status : got['x-instance']).toBe(expected)
})

test.each([
  [0, 1],
  [61_000, 1],
  [62_000, 1],
  [62_001, 2],
  [125_000, 3],
])('a body of %i bytes arrives whole', async (bytes) => {
  const fixed = '{"model":"m","prompt":""}'
  const text = bytes === 0 ? '' : fixed.replace('""}', `"${'x'.repeat(bytes - fixed.length)}"}`)
  const path = bytes === 0 ? '/tokenize' : '/v1/completions'
  const { status } = await send(text === '' ? [] : [text], { path })
  expect(status).toBe(200)
  const [asked] = instances.asked
  expect(asked?.body.equals(Buffer.from(text))).toBe(true)
})

test('SSE goes back as it comes and its usage is counted', async () => {
  const before = bench.calls().length
  const parts = [
    'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n',
    'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":10}}\n\ndata: [DONE]\n\n',
  ]
  const release: (() => void)[] = []
  instances.answer = (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(parts[0])
    release.push(() => response.end(parts[1]))
  }
  const seen: string[] = []
  const first = Promise.withResolvers<void>()
  const done = new Promise<void>((resolve, reject) => {
    const request = httpRequest(
      `${envoy.url}/v1/chat/completions`,
      { method: 'POST', headers: { 'content-type': 'application/json' } },
      (response) => {
        response.on('data', (chunk: Buffer) => {
          seen.push(chunk.toString())
          first.resolve()
        })
        response.on('end', resolve)
        response.on('error', reject)
      },
    )
    request.end('{"model":"m","stream":true,"messages":[]}')
  })
  // The first part is through before the second is written.
  await first.promise
  expect(seen).toEqual([parts[0]])
  release[0]?.()
  await done
  expect(seen.join('')).toBe(parts.join(''))
  const rows = await bench.settled(before + 1)
  expect(rows.at(-1)?.outcome).toMatchObject({ kind: 'completed', promptTokens: 7, outputTokens: 10, tokensFrom: 'usage' })
  expect(rows.at(-1)?.outcome.ttftMs).toBeGreaterThan(0)
})

test('a JSON answer in two chunks comes whole', async () => {
  instances.answer = (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.write('{"choices":[],')
    setImmediate(() => response.end('"usage":{"prompt_tokens":1,"completion_tokens":2}}'))
  }
  expect((await send([body()])).chunks).toEqual(['{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}'])
})

test('trailers end a request and a response', async () => {
  const before = bench.calls().length
  instances.answer = (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json', trailer: 'x-after' })
    response.write('{"choices":[]}')
    response.addTrailers({ 'x-after': 'yes' })
    response.end()
  }
  const { status, body: text } = await send([body()], { trailers: { 'x-sum': 'abc' }, headers: { te: 'trailers' } })
  expect([status, text]).toEqual([200, '{"choices":[]}'])
  expect(instances.asked[0]?.body.toString()).toBe(body())
  expect((await bench.settled(before + 1)).at(-1)?.outcome.kind).toBe('completed')
})

test('a compressed answer reaches the caller as it was', async () => {
  const packed = gzipSync('{"choices":[]}')
  instances.answer = (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip', 'content-length': packed.length })
    response.end(packed)
  }
  const answer = await fetch(`${envoy.url}/v1/chat/completions`, { method: 'POST', body: body() })
  expect(await answer.json()).toEqual({ choices: [] })
})

test('a GET without a body and an unknown path are passed to some healthy instance', async () => {
  const models = await fetch(`${envoy.url}/v1/models`)
  expect(models.status).toBe(200)
  const form = await fetch(`${envoy.url}/v1/audio/transcriptions`, { method: 'POST', body: 'no json' })
  expect(form.status).toBe(200)
  expect(instances.asked.map(({ path }) => path)).toEqual(['/v1/models', '/v1/audio/transcriptions'])
})

test('an alias is rewritten with its length', async () => {
  await fetch(`${envoy.url}/v1/chat/completions`, { method: 'POST', body: body('nick') })
  expect(instances.asked[0]?.body.toString()).toBe(body('m'))
  // Envoy 1.40 sends full-duplex bodies on in chunks of its own; an older one keeps the length that it is told.
  expect([undefined, String(body('m').length)]).toContain(instances.asked[0]?.headers['content-length'])
})

test('a caller cannot choose the destination', async () => {
  scrape([0, 0.2], [0, 0.1], [10, 0.2])
  for (const theirs of [hosts(3)[0]!, '127.0.0.1:1']) {
    const { status, headers } = await send([body()], { headers: { 'x-gateway-destination-endpoint': theirs } })
    expect([status, headers['x-instance']]).toEqual([200, '2'])
  }
  expect(bench.counted).not.toContain('envoy: a caller named a destination')
})

test('the endpoint that served is told by the gateway', async () => {
  const before = bench.calls().length
  instances.answer = (asked, response) => {
    response.setHeader('x-served', hosts(3)[0]!)
    answerJson(asked, response)
  }
  await send([body()])
  const row = (await bench.settled(before + 1)).at(-1)
  // Envoy was given one endpoint only, so another one is noted, not booked.
  expect(bench.counted).toContain('served elsewhere')
  expect(row?.outcome.kind).toBe('completed')
})

test('an instance that nobody listens at is told by Envoy’s own 503, and logged as a failed connection', async () => {
  const before = bench.calls().length
  bench.fleet.reconcile('m', [{ name: 'away', url: 'http://127.0.1.9:9', weight: 1, speed: 1 }])
  const { status } = await send([body()])
  bench.fleet.reconcile(
    'm',
    instances.urls.map((url, i) => ({ name: `i${i}`, url, weight: 1, speed: 1 })),
  )
  expect(status).toBe(503)
  expect((await bench.settled(before + 1)).at(-1)?.outcome).toMatchObject({ kind: 'instance error', error: 'connect' })
})

test('a caller who leaves in the middle of a stream is logged, and the instance hears of it', async () => {
  const before = bench.calls().length
  const closed = Promise.withResolvers<void>()
  instances.answer = (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
    response.on('close', () => closed.resolve())
  }
  const control = new AbortController()
  const answer = await fetch(`${envoy.url}/v1/chat/completions`, { method: 'POST', body: body(), signal: control.signal })
  await answer.body!.getReader().read()
  control.abort()
  await closed.promise
  expect((await bench.settled(before + 1)).at(-1)?.outcome.kind).toBe('client gone')
  expect(bench.fleet.rows(0).every(({ inFlight }) => inFlight === 0)).toBe(true)
})
