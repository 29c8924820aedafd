import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createManualClock } from '../../plugin/clock.ts'
import { createTelemetry, type Telemetry } from '../../plugin/telemetry/telemetry.ts'
import { settledCall } from './settled.ts'

interface Received {
  readonly path: string
  readonly contentType: string
  readonly body: Buffer
}
interface OtlpValue {
  readonly stringValue?: string
  readonly intValue?: number
  readonly doubleValue?: number
  readonly boolValue?: boolean
}
interface OtlpAttribute {
  readonly key: string
  readonly value: OtlpValue
}

let received: Received[]
let collector: Server
beforeEach(async () => {
  received = []
  collector = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      received.push({ path: request.url!, contentType: request.headers['content-type']!, body: Buffer.concat(chunks) })
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    })
  }).listen(0, '127.0.0.1')
  await once(collector, 'listening')
  setVariables({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}` })
})
afterEach(() => {
  for (const name of Object.keys(process.env)) if (name.startsWith('OTEL_')) delete process.env[name]
  collector.close()
  collector.closeAllConnections()
})

const setVariables = (variables: Record<string, string>): void => void Object.assign(process.env, variables)
const openTelemetry = (): Promise<Telemetry> =>
  createTelemetry({ metricsListen: undefined, otlp: true, version: '1.2.3', clock: createManualClock() })
const attributesOf = (list: readonly OtlpAttribute[]): Record<string, unknown> =>
  Object.fromEntries(list.map(({ key, value }) => [key, value.stringValue ?? value.intValue ?? value.doubleValue ?? value.boolValue]))
const bodyAt = (path: string) => JSON.parse(received.find((each) => each.path === path)!.body.toString())

const PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
const start = {
  call: { callId: 42, api: 'openai-chat', model: 'llama-2-7b', arrivedUnixMs: 1_767_225_600_250, request: callShape(128) },
  gateway: 'openai',
  pool: 'llama',
  provider: 'vllm',
} as const
function callShape(maxTokens: number) {
  return { maxTokens, answers: 1, stops: 0, tools: 0, turns: 1, responseFormat: 'text', wantsStreamUsage: false, systemHash: 0 } as const
}
const placement = {
  policy: 'least-request-speed',
  reason: 'lowest cost',
  propensity: 0.99,
  explored: false,
  policyVersion: 'none',
  lengthVersion: 'none',
} as const

test('a span and the histograms of a call arrive at an OTLP collector', async () => {
  setVariables({ OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' })
  const telemetry = await openTelemetry()
  const span = telemetry.startCall!({ ...start, traceparent: PARENT, tracestate: 'vendor=1' })
  span.placed(placement, { name: 'gpu-1', url: 'http://10.0.0.7:8000' })
  span.retried({ name: 'gpu-2', url: 'http://10.0.0.8:8000' }, 'reset')
  const settled = settledCall()
  span.ended(settled.outcome, 'Llama-2-7b-hf')
  telemetry.callSettled(settled)
  await telemetry.close()

  const { resource, scopeSpans } = bodyAt('/v1/traces').resourceSpans[0]
  expect(attributesOf(resource.attributes)).toMatchObject({ 'service.name': 'phasewise', 'service.version': '1.2.3' })
  const told = scopeSpans[0].spans[0]
  expect(told).toMatchObject({
    name: 'chat llama-2-7b',
    kind: 3,
    traceId: '0af7651916cd43dd8448eb211c80319c',
    parentSpanId: 'b7ad6b7169203331',
    traceState: 'vendor=1',
    startTimeUnixNano: '1767225600250000000',
    endTimeUnixNano: '1767225601750000000',
  })
  expect(span.headers.traceparent).toBe(`00-${told.traceId}-${told.spanId}-01`)
  expect(span.headers.tracestate).toBe('vendor=1')
  expect(attributesOf(told.attributes)).toMatchObject({
    'gen_ai.operation.name': 'chat',
    'gen_ai.provider.name': 'vllm',
    'gen_ai.request.model': 'llama-2-7b',
    'gen_ai.response.model': 'Llama-2-7b-hf',
    'gen_ai.request.max_tokens': 128,
    'gen_ai.usage.input_tokens': 400,
    'gen_ai.usage.output_tokens': 47,
    'server.address': '10.0.0.8',
    'server.port': 8000,
    'phasewise.instance': 'gpu-2',
    'phasewise.policy': 'least-request-speed',
    'phasewise.reason': 'lowest cost',
    'phasewise.propensity': 0.99,
  })
  expect(told.events[0].name).toBe('phasewise.retry')

  const metrics = bodyAt('/v1/metrics').resourceMetrics[0].scopeMetrics[0].metrics as { name: string; unit: string; histogram: never }[]
  const duration = metrics.find((each) => each.name === 'gen_ai.server.request.duration')
  expect(duration).toMatchObject({ unit: 's', histogram: { dataPoints: [{ count: 1, sum: 1.5 }] } })
  expect(metrics.map((each) => each.name)).toContain('phasewise.calls')
})

test('the default protocol is protobuf over HTTP', async () => {
  const telemetry = await openTelemetry()
  telemetry.startCall!(start).ended(settledCall().outcome)
  telemetry.callSettled(settledCall())
  await telemetry.close()
  for (const [path, word] of [
    ['/v1/traces', 'chat llama-2-7b'],
    ['/v1/metrics', 'gen_ai.server.request.duration'],
  ] as const) {
    const message = received.find((each) => each.path === path)
    expect(message?.contentType).toBe('application/x-protobuf')
    expect(message?.body.includes(word)).toBe(true)
  }
})

test('a failed call’s span has the error, a caller who left has none', async () => {
  setVariables({ OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_SERVICE_NAME: 'edge-router' })
  const telemetry = await openTelemetry()
  telemetry.startCall!(start).ended({ kind: 'instance error', error: 'status 500', e2eMs: 10, censored: true })
  telemetry.startCall!(start).ended({ kind: 'client gone', e2eMs: 10, censored: true })
  telemetry.startCall!(start).refused('no_instance')
  await telemetry.close()
  const { resource, scopeSpans } = bodyAt('/v1/traces').resourceSpans[0]
  expect(attributesOf(resource.attributes)['service.name']).toBe('edge-router')
  const [failed, left, refused] = scopeSpans[0].spans
  expect(failed.status.code).toBe(2)
  expect(attributesOf(failed.attributes)['error.type']).toBe('500')
  expect(left.status.code).toBe(0)
  expect(refused.status).toMatchObject({ code: 2, message: 'no_instance' })
})

test('a caller’s unsampled trace stays unsampled and is still carried on', async () => {
  const telemetry = await openTelemetry()
  const span = telemetry.startCall!({ ...start, traceparent: PARENT.replace(/01$/, '00') })
  span.ended(settledCall().outcome)
  await telemetry.close()
  expect(span.headers.traceparent).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-00$/)
  expect(received.filter((each) => each.path === '/v1/traces')).toEqual([])
})

test('a traceparent that is none starts a trace of its own', async () => {
  const telemetry = await openTelemetry()
  const span = telemetry.startCall!({ ...start, traceparent: 'nonsense' })
  span.ended(settledCall().outcome)
  await telemetry.close()
  expect(span.headers.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
})

test.each([
  ['OTEL_SDK_DISABLED', { OTEL_SDK_DISABLED: 'true' }],
  [
    'an endpoint for metrics alone',
    { OTEL_EXPORTER_OTLP_ENDPOINT: '', OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://127.0.0.1:9/v1/metrics' },
  ],
  ['OTEL_TRACES_EXPORTER=none', { OTEL_TRACES_EXPORTER: 'none' }],
])('%s means no spans', async (_, variables) => {
  setVariables({ ...variables, OTEL_METRIC_EXPORT_TIMEOUT: '200', OTEL_METRIC_EXPORT_INTERVAL: '200' })
  const telemetry = await openTelemetry()
  expect(telemetry.startCall).toBeUndefined()
  await telemetry.close()
})

test('a collector that refuses is counted and harms no call', async () => {
  collector.removeAllListeners('request')
  collector.on('request', (_request, response) => response.writeHead(400).end())
  const told = await createTelemetry({
    metricsListen: { host: '127.0.0.1', port: 0 },
    otlp: true,
    version: '1.2.3',
    clock: createManualClock(),
  })
  told.callSettled(settledCall())
  const page = async () => (await fetch(told.metricsUrl!)).text()
  expect(await page()).not.toContain('telemetry export')
  for (let i = 0; i < 600; i++) told.startCall!(start).ended(settledCall().outcome)
  await once(collector, 'request')
  await expect.poll(page, { timeout: 20_000 }).toContain('phasewise_lost_total{phasewise_what="telemetry export"}')
  await told.close()
})
