import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { createManualClock } from '../../plugin/clock.ts'
import { createTelemetry, silentTelemetry, type Telemetry } from '../../plugin/telemetry/telemetry.ts'
import { type MetricsText, parseMetricsText } from './prometheus-text.ts'
import { settledCall } from './settled.ts'

const open: Telemetry[] = []
afterEach(async () => {
  for (const telemetry of open.splice(0)) await telemetry.close()
})

async function listening(): Promise<Telemetry & { read(): Promise<MetricsText> }> {
  const telemetry = await createTelemetry({
    metricsListen: { host: '127.0.0.1', port: 0 },
    otlp: false,
    version: '1.2.3',
    clock: createManualClock(),
  })
  open.push(telemetry)
  return { ...telemetry, read: async () => parseMetricsText(await (await fetch(telemetry.metricsUrl!)).text()) }
}

const sampleOf = (page: MetricsText, name: string, labels: Record<string, string> = {}): number | undefined =>
  page.samples.find((each) => each.name === name && Object.entries(labels).every(([key, value]) => each.labels[key] === value))?.value

test('a settled call is told in seconds, with the conventions’ attributes', async () => {
  const telemetry = await listening()
  telemetry.callSettled(settledCall({ responseModel: 'Llama-2-7b-hf' }))
  const page = await telemetry.read()
  const duration = page.samples.find((each) => each.name === 'gen_ai_server_request_duration_sum')
  expect(duration?.value).toBe(1.5)
  expect(duration?.labels).toEqual({
    gen_ai_operation_name: 'chat',
    gen_ai_provider_name: 'vllm',
    gen_ai_request_model: 'llama-2-7b',
    gen_ai_response_model: 'Llama-2-7b-hf',
    server_address: '10.0.0.7',
    server_port: '8000',
  })
  expect(page.units.get('gen_ai_server_request_duration')).toBe('s')
  expect(page.kinds.get('gen_ai_server_request_duration')).toBe('histogram')
  expect(sampleOf(page, 'gen_ai_server_time_to_first_token_sum')).toBe(0.12)
  expect(sampleOf(page, 'gen_ai_server_time_per_output_token_sum')).toBe(0.03)
  expect(sampleOf(page, 'gen_ai_client_token_usage_sum', { gen_ai_token_type: 'input' })).toBe(400)
  expect(sampleOf(page, 'gen_ai_client_token_usage_sum', { gen_ai_token_type: 'output' })).toBe(47)
  expect(page.units.get('gen_ai_client_token_usage')).toBe('{token}')
  expect(sampleOf(page, 'phasewise_decision_duration_sum', { phasewise_pool: 'llama' })).toBe(12e-6)
  expect(sampleOf(page, 'target_info', { service_name: 'phasewise', service_version: '1.2.3' })).toBe(1)
})

test('the loop’s counters tell outcomes, retries, exploration, fallbacks and holds apart', async () => {
  const telemetry = await listening()
  const placement = { policy: 'least-request', reason: 'fallback policy', explored: false } as const
  telemetry.callSettled(settledCall())
  telemetry.callSettled(settledCall({ placement, attempts: 3, heldMs: 40 }))
  telemetry.callSettled(settledCall({ placement: { policy: 'p2c', reason: 'explored', explored: true } }))
  telemetry.callSettled(settledCall({ outcome: { kind: 'timed out', e2eMs: 900, censored: true } }))
  telemetry.count('log rows')
  telemetry.count('log rows', 4)
  const page = await telemetry.read()
  expect(sampleOf(page, 'phasewise_calls_total', { phasewise_outcome: 'completed' })).toBe(3)
  expect(sampleOf(page, 'phasewise_calls_total', { phasewise_outcome: 'timed out', phasewise_gateway: 'openai' })).toBe(1)
  expect(sampleOf(page, 'phasewise_retries_total')).toBe(2)
  expect(sampleOf(page, 'phasewise_fallbacks_total', { phasewise_policy: 'least-request' })).toBe(1)
  expect(sampleOf(page, 'phasewise_explored_total', { phasewise_policy: 'p2c' })).toBe(1)
  expect(sampleOf(page, 'phasewise_placements_total', { phasewise_reason: 'lowest cost' })).toBe(2)
  expect(sampleOf(page, 'phasewise_hold_duration_count')).toBe(1)
  expect(sampleOf(page, 'phasewise_hold_duration_sum')).toBe(0.04)
  expect(sampleOf(page, 'phasewise_lost_total', { phasewise_what: 'log rows' })).toBe(5)
})

test.each([
  [{ kind: 'instance error', error: 'status 503' }, '503'],
  [{ kind: 'instance error', error: 'engine error' }, 'engine_error'],
  [{ kind: 'instance error' }, '_OTHER'],
  [{ kind: 'timed out', error: 'stalled' }, 'timeout'],
  [{ kind: 'client gone' }, 'client_gone'],
] as const)('a call that ended as %j is of error type %s and no first-token time is told', async (ended, errorType) => {
  const telemetry = await listening()
  telemetry.callSettled(settledCall({ outcome: { ...ended, e2eMs: 250, ttftMs: 100, tpotMs: 10, censored: true } }))
  const page = await telemetry.read()
  expect(sampleOf(page, 'gen_ai_server_request_duration_count', { error_type: errorType })).toBe(1)
  expect(sampleOf(page, 'gen_ai_server_time_to_first_token_count')).toBeUndefined()
})

test('a call that was never placed is still counted', async () => {
  const telemetry = await listening()
  const { instance, placement, ...unplaced } = settledCall({ outcome: { kind: 'client gone', e2eMs: 5, censored: true } })
  expect([instance, placement].every(Boolean)).toBe(true)
  telemetry.callSettled(unplaced)
  const page = await telemetry.read()
  expect(sampleOf(page, 'phasewise_calls_total', { phasewise_outcome: 'client gone' })).toBe(1)
  expect(page.samples.some((each) => each.name.startsWith('phasewise_placements'))).toBe(false)
})

test('gauges are read when somebody looks; unknown ones are left out; one that throws is counted and harms no other', async () => {
  const telemetry = await listening()
  let inFlight = 3
  telemetry.observe(() => {
    throw new Error('a broken reading')
  })
  telemetry.observe(() => [
    { name: 'inFlight', value: inFlight, pool: 'llama', instance: 'a' },
    { name: 'inFlight', value: Number.NaN, pool: 'llama', instance: 'b' },
    { name: 'instances', value: 1, pool: 'llama', state: 'ejected' },
    { name: 'logDropped', value: 7 },
  ])
  expect(sampleOf(await telemetry.read(), 'phasewise_in_flight', { phasewise_instance: 'a' })).toBe(3)
  inFlight = 0
  const page = await telemetry.read()
  expect(sampleOf(page, 'phasewise_in_flight', { phasewise_instance: 'a' })).toBe(0)
  expect(sampleOf(page, 'phasewise_in_flight', { phasewise_instance: 'b' })).toBeUndefined()
  expect(sampleOf(page, 'phasewise_instances', { phasewise_state: 'ejected' })).toBe(1)
  expect(sampleOf(page, 'phasewise_log_dropped_total')).toBe(7)
  expect(sampleOf(page, 'phasewise_lost_total', { phasewise_what: 'telemetry reading' })).toBe(2)
})

test('odd model names come through escaped', async () => {
  const telemetry = await listening()
  telemetry.callSettled(settledCall({ call: { api: 'openai-chat', model: 'a "b"\\\nc', stream: false } }))
  expect(sampleOf(await telemetry.read(), 'gen_ai_server_request_duration_count', { gen_ai_request_model: 'a \\"b\\"\\\\\\nc' })).toBe(1)
})

test('only /metrics answers, and a port in use says which key to change', async () => {
  const telemetry = await listening()
  expect((await fetch(new URL('/', telemetry.metricsUrl))).status).toBe(404)
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  const { port } = taken.address() as AddressInfo
  const second = createTelemetry({ metricsListen: { host: '127.0.0.1', port }, otlp: false, version: '0', clock: createManualClock() })
  await expect(second).rejects.toThrow(`telemetry.metrics: 127.0.0.1:${port} is in use already`)
  taken.close()
})

test('with nobody listening there is nothing behind it', async () => {
  const telemetry = await createTelemetry({ metricsListen: undefined, otlp: false, version: '0', clock: createManualClock() })
  expect(telemetry).toBe(silentTelemetry)
  expect(telemetry.startCall).toBeUndefined()
})
