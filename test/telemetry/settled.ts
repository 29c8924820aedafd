import type { SettledCall } from '../../plugin/telemetry/call-metrics.ts'

/** A completed streamed chat call on 10.0.0.7:8000 of pool 'llama', with what the test is about in `changed`. */
export function settledCall(changed: Partial<SettledCall> = {}): SettledCall {
  return {
    call: { api: 'openai-chat', model: 'llama-2-7b', stream: true },
    gateway: 'openai',
    pool: 'llama',
    provider: 'vllm',
    instance: { url: 'http://10.0.0.7:8000' },
    placement: { policy: 'least-request-speed', reason: 'lowest cost', explored: false },
    decisionUs: 12,
    heldMs: 0,
    attempts: 1,
    outcome: {
      kind: 'completed',
      status: 200,
      ttftMs: 120,
      tpotMs: 30,
      e2eMs: 1_500,
      promptTokens: 400,
      outputTokens: 47,
      censored: false,
    },
    ...changed,
  }
}
