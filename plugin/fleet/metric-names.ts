/** What one engine's /metrics can tell. */
export type Signal =
  | 'waiting'
  | 'running'
  | 'kvUsageRatio'
  | 'kvBlocks'
  | 'kvBlockTokens'
  | 'kvTokens'
  | 'prefixHits'
  | 'prefixQueries'
  | 'prefixHitRatio'
  | 'preemptions'
  /** Counters that move with every step of the engine: standing still while calls run means hung. */
  | 'steps'
  /** Counters that move only when a call ends: moving they tell that the engine lives, standing still they tell nothing. */
  | 'ends'
  /** Values in labels: KV cache layout, and loaded adapters. */
  | 'cacheLabels'
  | 'adapterLabels'

/** How the lines of one metric (one per engine of a data-parallel server, per finish reason …) become one number. */
export type Fold = 'sum' | 'mean' | 'max'

/**
 * Counts and sizes add up. A share of the KV cache is the mean over the engines of one server: they are equal in size, so it is the
 * share of the whole; the fullest alone would make a server with one busy engine look as full as one with all busy. A block
 * size is the same everywhere.
 */
export const FOLDS: Readonly<Record<Signal, Fold>> = {
  waiting: 'sum',
  running: 'sum',
  kvUsageRatio: 'mean',
  kvBlocks: 'sum',
  kvBlockTokens: 'max',
  kvTokens: 'sum',
  prefixHits: 'sum',
  prefixQueries: 'sum',
  prefixHitRatio: 'mean',
  preemptions: 'sum',
  steps: 'sum',
  ends: 'sum',
  cacheLabels: 'sum',
  adapterLabels: 'max',
}

/**
 * Metric name → signal. Where two names of one engine mean the same (a rename between versions), only one is ever present.
 * vLLM counts tokens at every step. SGLang's `realtime_tokens_total` moves every 40 decode steps, its other counters when a call ends;
 * so do llama.cpp's token counters, but not its `n_decode_total`; TGI counts forward passes.
 */
export const METRICS: ReadonlyMap<string, Signal> = new Map<string, Signal>([
  ['vllm:num_requests_waiting', 'waiting'],
  ['vllm:num_requests_running', 'running'],
  ['vllm:kv_cache_usage_perc', 'kvUsageRatio'],
  ['vllm:gpu_cache_usage_perc', 'kvUsageRatio'],
  ['vllm:cache_config_info', 'cacheLabels'],
  ['vllm:prefix_cache_hits_total', 'prefixHits'],
  ['vllm:prefix_cache_queries_total', 'prefixQueries'],
  ['vllm:gpu_prefix_cache_hits_total', 'prefixHits'],
  ['vllm:gpu_prefix_cache_queries_total', 'prefixQueries'],
  ['vllm:num_preemptions_total', 'preemptions'],
  ['vllm:lora_requests_info', 'adapterLabels'],
  ['vllm:generation_tokens_total', 'steps'],
  ['vllm:prompt_tokens_total', 'steps'],
  ['vllm:request_success_total', 'ends'],

  ['sglang:num_queue_reqs', 'waiting'],
  ['sglang:num_running_reqs', 'running'],
  ['sglang:token_usage', 'kvUsageRatio'],
  ['sglang:cache_config_info', 'cacheLabels'],
  ['sglang:max_total_num_tokens', 'kvTokens'],
  ['sglang:cache_hit_rate', 'prefixHitRatio'],
  ['sglang:num_retracted_reqs', 'preemptions'],
  ['sglang:realtime_tokens_total', 'steps'],
  ['sglang:generation_tokens_total', 'ends'],
  ['sglang:prompt_tokens_total', 'ends'],

  ['trtllm_num_requests_waiting', 'waiting'],
  ['trtllm_num_requests_running', 'running'],
  ['trtllm_kv_cache_utilization', 'kvUsageRatio'],
  ['trtllm_kv_cache_tokens_per_block', 'kvBlockTokens'],
  ['trtllm_kv_cache_max_blocks', 'kvBlocks'],
  ['trtllm_kv_cache_hit_rate', 'prefixHitRatio'],
  ['trtllm_request_success_total', 'ends'],

  ['tgi_queue_size', 'waiting'],
  ['tgi_batch_current_size', 'running'],
  ['tgi_batch_inference_count', 'steps'],
  ['tgi_request_success', 'ends'],

  ['llamacpp:requests_deferred', 'waiting'],
  ['llamacpp:requests_processing', 'running'],
  ['llamacpp:n_decode_total', 'steps'],
  ['llamacpp:tokens_predicted_total', 'ends'],
])
