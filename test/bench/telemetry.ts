import { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import { MeterProvider } from '@opentelemetry/sdk-metrics'
import { systemClock } from '../../plugin/clock.ts'
import type { SettledCall } from '../../plugin/telemetry/call-metrics.ts'
import { GEN_AI, LOOP } from '../../plugin/telemetry/metrics.ts'
import { createTelemetry } from '../../plugin/telemetry/telemetry.ts'

/** What telling costs: µs per settled call, ours and by the SDK's own instruments, and ms per look at /metrics. */
const CALLS = 200_000
const ROUNDS = 5
const INSTANCES = 64

/** Settled calls over `INSTANCES` instances, made beforehand. */
const settled = Array.from(
  { length: INSTANCES },
  (_, i): SettledCall => ({
    call: { api: 'openai-chat', model: 'llama-2-7b', stream: true },
    gateway: 'openai',
    pool: 'llama',
    provider: 'vllm',
    instance: { url: `http://10.0.0.${i}:8000` },
    placement: { policy: 'least-request-speed', reason: 'lowest cost', explored: i === 7 },
    decisionUs: 12,
    heldMs: 0,
    attempts: 1,
    outcome: {
      kind: 'completed',
      ttftMs: 100 + i,
      tpotMs: 20 + i / 10,
      e2eMs: 1_000 + i,
      promptTokens: 400,
      outputTokens: 40,
      censored: false,
    },
  }),
)

/** Median µs per call of `settle` over the rounds. */
function measureUs(settle: (call: SettledCall) => void): number {
  const rounds = Array.from({ length: ROUNDS }, () => {
    const startMs = systemClock.nowMs()
    for (let i = 0; i < CALLS; i++) settle(settled[i % INSTANCES]!)
    return ((systemClock.nowMs() - startMs) / CALLS) * 1_000
  })
  return rounds.sort((a, b) => a - b)[ROUNDS >> 1]!
}

/** The same nine records through the SDK's instruments, with the attribute objects kept ready per instance. */
function createBySdk(): (call: SettledCall) => void {
  const reader = new PrometheusExporter({ preventServerStart: true })
  const meter = new MeterProvider({ readers: [reader] }).getMeter('bench')
  const [duration, ttft, tpot, tokens] = Object.values(GEN_AI).map((each) =>
    meter.createHistogram(each.name, { advice: { explicitBucketBoundaries: [...each.boundaries] } }),
  )
  const decision = meter.createHistogram(LOOP.decisionDuration.name)
  const calls = meter.createCounter(LOOP.calls.name)
  const placements = meter.createCounter(LOOP.placements.name)
  const attributes = new Map(
    settled.map((each) => [
      each,
      {
        'gen_ai.operation.name': 'chat',
        'gen_ai.provider.name': each.provider,
        'gen_ai.request.model': each.call.model,
        'server.address': each.instance!.url.slice(7, -5),
        'server.port': 8000,
      },
    ]),
  )
  const input = new Map([...attributes].map(([call, own]) => [call, { ...own, 'gen_ai.token.type': 'input' }]))
  const output = new Map([...attributes].map(([call, own]) => [call, { ...own, 'gen_ai.token.type': 'output' }]))
  const loop = { 'phasewise.pool': 'llama', 'phasewise.gateway': 'openai', 'phasewise.outcome': 'completed' }
  return (call) => {
    const own = attributes.get(call)!
    duration!.record(call.outcome.e2eMs / 1_000, own)
    ttft!.record(call.outcome.ttftMs! / 1_000, own)
    tpot!.record(call.outcome.tpotMs! / 1_000, own)
    tokens!.record(call.outcome.promptTokens!, input.get(call)!)
    tokens!.record(call.outcome.outputTokens!, output.get(call)!)
    decision.record(call.decisionUs / 1e6, loop)
    calls.add(1, loop)
    placements.add(1, loop)
  }
}

const telemetry = await createTelemetry({
  metricsListen: { host: '127.0.0.1', port: 0 },
  otlp: false,
  version: 'bench',
  clock: systemClock,
})
console.log(`${ROUNDS} rounds of ${CALLS} calls over ${INSTANCES} instances`)
const oursUs = measureUs(telemetry.callSettled)
const sdkUs = measureUs(createBySdk())
const looksMs: number[] = []
let pageBytes = 0
for (let i = 0; i < 10; i++) {
  const startMs = systemClock.nowMs()
  pageBytes = (await (await fetch(telemetry.metricsUrl!)).text()).length
  looksMs.push(systemClock.nowMs() - startMs)
}
await telemetry.close()
const lookMs = looksMs.sort((a, b) => a - b)[5]!
console.table({ 'per settled call, µs': { ours: oursUs, SDK: sdkUs }, [`look at ${pageBytes} bytes, ms`]: { ours: lookMs } })
const bars = [{ name: 'settledUs', value: oursUs, goal: 5, met: oursUs <= 5 }]
console.log(JSON.stringify({ bench: 'telemetry', rows: [{ instances: INSTANCES, oursUs, sdkUs, lookMs, pageBytes }], bars }))
