import type { EngineStats } from '../engine.ts'
import { KV_BLOCK_TOKENS } from '../profiles.ts'

export type FinishedReason = 'stop' | 'length' | 'abort' | 'error'

/** Totals of the server around the engine. */
export interface ServerCounters {
  readonly finished: Record<FinishedReason, number>
  ttftCount: number
  ttftSeconds: number
  e2eCount: number
  e2eSeconds: number
}

/** All zero. */
export function emptyCounters(): ServerCounters {
  return { finished: { stop: 0, length: 0, abort: 0, error: 0 }, ttftCount: 0, ttftSeconds: 0, e2eCount: 0, e2eSeconds: 0 }
}

export interface MetricsSources {
  readonly model: string
  readonly engine: EngineStats
  readonly server: ServerCounters
  readonly prefixCache: boolean
  readonly lostMs: number
}

/** The Prometheus text of a vLLM server, as far as routers read it, plus `virtual:clock_lost_ms_total` of our own. */
export function metricsText({ model, engine, server, prefixCache, lostMs }: MetricsSources): string {
  const labels = `engine="0",model_name="${model.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
  const lines: string[] = []
  const sample = (name: string, value: number, extra = ''): void => {
    lines.push(`${name}{${labels}${extra}} ${value}`)
  }
  const family = (kind: 'gauge' | 'counter', name: string, value: number): void => {
    lines.push(`# TYPE ${name} ${kind}`)
    sample(name, value)
  }
  const histogram = (name: string, count: number, sum: number): void => {
    lines.push(`# TYPE ${name} histogram`)
    sample(`${name}_bucket`, count, ',le="+Inf"')
    sample(`${name}_count`, count)
    sample(`${name}_sum`, sum)
  }
  family('gauge', 'vllm:num_requests_running', engine.running)
  family('gauge', 'vllm:num_requests_waiting', engine.waiting)
  family('gauge', 'vllm:kv_cache_usage_perc', engine.kvBlocksUsed / engine.kvBlocks)
  family('counter', 'vllm:num_preemptions_total', engine.preemptions)
  family('counter', 'vllm:prompt_tokens_total', engine.promptTokens)
  family('counter', 'vllm:generation_tokens_total', engine.generationTokens)
  family('counter', 'vllm:prefix_cache_queries_total', engine.prefixQueryTokens)
  family('counter', 'vllm:prefix_cache_hits_total', engine.prefixHitTokens)
  lines.push('# TYPE vllm:request_success_total counter')
  for (const [reason, count] of Object.entries(server.finished)) sample('vllm:request_success_total', count, `,finished_reason="${reason}"`)
  histogram('vllm:time_to_first_token_seconds', server.ttftCount, server.ttftSeconds)
  histogram('vllm:e2e_request_latency_seconds', server.e2eCount, server.e2eSeconds)
  lines.push('# TYPE vllm:cache_config_info gauge')
  const cache = `block_size="${KV_BLOCK_TOKENS}",enable_prefix_caching="${prefixCache ? 'True' : 'False'}",engine="0"`
  lines.push(
    `vllm:cache_config_info{${cache},kv_cache_size_tokens="${engine.kvBlocks * KV_BLOCK_TOKENS}",num_gpu_blocks="${engine.kvBlocks}"} 1`,
    '# TYPE virtual:clock_lost_ms_total counter',
  )
  sample('virtual:clock_lost_ms_total', lostMs)
  return `${lines.join('\n')}\n`
}
