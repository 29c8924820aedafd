/** A /metrics body of vLLM's shape: comments, histograms, several engines. About 25 KB per engine. */
export function vllmBody(given: {
  readonly engines: number
  readonly running: number
  readonly waiting: number
  readonly kvUsageRatio: number
  readonly generatedTokens?: number
}): string {
  const lines: string[] = []
  const gauge = (name: string, value: (engine: number) => string, type = 'gauge', labels = ''): void => {
    lines.push(`# HELP ${name} As the engine tells it.`, `# TYPE ${name} ${type}`)
    for (let engine = 0; engine < given.engines; engine++)
      lines.push(`${name}{engine="${engine}",${labels}model_name="org/model"} ${value(engine)}`)
  }
  lines.push(
    '# HELP python_gc_objects_collected_total Objects collected during gc',
    'python_gc_objects_collected_total{generation="0"} 1.0',
  )
  gauge('vllm:num_requests_running', () => `${given.running}.0`)
  gauge('vllm:num_requests_waiting', () => `${given.waiting}.0`)
  gauge('vllm:num_requests_waiting_by_reason', () => '1.0', 'gauge', 'reason="capacity",')
  gauge('vllm:kv_cache_usage_perc', () => `${given.kvUsageRatio}`)
  gauge('vllm:prefix_cache_queries_total', () => '100.0', 'counter')
  gauge('vllm:prefix_cache_hits_total', () => '40.0', 'counter')
  gauge('vllm:num_preemptions_total', () => '1.0', 'counter')
  gauge('vllm:generation_tokens_total', () => `${given.generatedTokens ?? 1.25e6}`, 'counter')
  gauge('vllm:prompt_tokens_total', () => '7e+06', 'counter')
  gauge('vllm:request_success_total', () => '10.0', 'counter', 'finished_reason="stop",')
  gauge(
    'vllm:cache_config_info',
    () => '1.0',
    'gauge',
    'block_size="16",cache_dtype="auto",num_gpu_blocks="2588",kv_cache_size_tokens="41408",',
  )
  for (let i = 0; i < 20; i++) {
    const name = `vllm:histogram_${i}_seconds`
    for (let b = 0; b < 20; b++) gauge(`${name}_bucket`, () => `${b * 10}.0`, 'histogram', `le="${b * 0.5}",`)
  }
  lines.push(
    'vllm:lora_requests_info{max_lora="2",running_lora_adapters="old",waiting_lora_adapters=""} 1.7886264546318772e+09',
    'vllm:lora_requests_info{max_lora="2",running_lora_adapters="sql,poem",waiting_lora_adapters=""} 1.7886264577368872e+09',
  )
  return `${lines.join('\n')}\n`
}
