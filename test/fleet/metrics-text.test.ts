import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type EngineMetrics, readLabels, readMetrics } from '../../plugin/fleet/metrics-text.ts'
import { vllmBody } from './vllm-body.ts'

const read = (...lines: string[]): EngineMetrics => readMetrics(`${lines.join('\n')}\n`)

test('a whole vLLM body gives its signals, summed over engines', () => {
  const metrics = readMetrics(vllmBody({ engines: 2, running: 3, waiting: 2, kvUsageRatio: 0.25 }))
  expect(metrics).toMatchObject({
    waiting: 4,
    running: 6,
    kvUsageRatio: 0.25,
    kvBlocks: 2 * 2588,
    kvBlockTokens: 16,
    prefixHits: 80,
    prefixQueries: 200,
  })
  expect([...(metrics.adapters ?? [])]).toEqual(['sql', 'poem'])
  expect(metrics.preemptions).toBe(2)
})

test.each([
  ['vLLM, old', ['vllm:gpu_cache_usage_perc{model_name="m"} 0.5'], { kvUsageRatio: 0.5 }],
  [
    'SGLang',
    [
      'sglang:num_queue_reqs{model_name="m"} 4.0',
      'sglang:num_running_reqs{model_name="m"} 2.0',
      'sglang:token_usage{model_name="m"} 0.28',
      'sglang:cache_hit_rate{model_name="m"} 0.5',
      'sglang:cache_config_info{page_size="32",num_pages="100"} 1.0',
    ],
    { waiting: 4, running: 2, kvUsageRatio: 0.28, prefixHitRatio: 0.5, kvBlocks: 100, kvBlockTokens: 32 },
  ],
  [
    'trtllm-serve',
    [
      'trtllm_num_requests_waiting 1',
      'trtllm_num_requests_running 2',
      'trtllm_kv_cache_utilization 0.125',
      'trtllm_kv_cache_tokens_per_block 64',
      'trtllm_kv_cache_max_blocks 1000',
      'trtllm_kv_cache_hit_rate 0.9',
    ],
    { waiting: 1, running: 2, kvUsageRatio: 0.125, kvBlockTokens: 64, kvBlocks: 1000, prefixHitRatio: 0.9 },
  ],
  [
    'TGI',
    ['tgi_queue_size 3', 'tgi_batch_current_size 5', 'tgi_batch_inference_count{method="prefill"} 7'],
    { waiting: 3, running: 5, steps: 7, kvUsageRatio: Number.NaN },
  ],
  [
    'llama.cpp',
    ['llamacpp:requests_deferred 1', 'llamacpp:requests_processing 4', 'llamacpp:n_decode_total 50000'],
    { waiting: 1, running: 4, steps: 50_000 },
  ],
])('%s names are understood', (_, lines, expected) => {
  expect(read(...lines)).toMatchObject(expected)
})

test('a missing gauge is unknown, never 0', () => {
  const metrics = read('vllm:num_requests_running{engine="0"} 3.0')
  expect(metrics.running).toBe(3)
  for (const [name, value] of Object.entries(metrics)) if (name !== 'running' && name !== 'adapters') expect(value, name).toBeNaN()
  expect(metrics.adapters).toBeUndefined()
})

test.each(['+Inf', '-Inf', 'NaN', 'Infinity', '', '0x10', 'three'])('a value of "%s" is unknown', (value) => {
  expect(read(`vllm:num_requests_waiting ${value}`).waiting).toBeNaN()
  expect(read(`vllm:num_requests_waiting{engine="0"} ${value}`).waiting).toBeNaN()
})

test.each([
  ['1.5e+06', 1.5e6],
  ['2E3', 2000],
  ['-0.5', -0.5],
  ['.25', 0.25],
  ['+7', 7],
  ['12 1769900000000', 12],
  ['3\r', 3],
])('a value written "%s" is read as %d', (text, value) => {
  expect(read(`vllm:num_requests_waiting{engine="0"} ${text}`).waiting).toBe(value)
})

test('an engine of unknown queue makes the sum unknown', () => {
  expect(read('vllm:num_requests_waiting{engine="0"} 3', 'vllm:num_requests_waiting{engine="1"} NaN').waiting).toBeNaN()
})

test('KV use is the mean over engines: the share of the whole cache', () => {
  expect(read('vllm:kv_cache_usage_perc{engine="0"} 1', 'vllm:kv_cache_usage_perc{engine="1"} 0').kvUsageRatio).toBe(0.5)
})

test('ranks of one tensor-parallel engine count once, data-parallel ranks add up', () => {
  const metrics = read(
    'sglang:num_running_reqs{dp_rank="0",tp_rank="0"} 4',
    'sglang:num_running_reqs{dp_rank="0",tp_rank="1"} 0',
    'sglang:num_running_reqs{dp_rank="1",tp_rank="2"} 3',
    'sglang:num_running_reqs{dp_rank="1",tp_rank="3"} 3',
  )
  expect(metrics.running).toBe(7)
})

test('quotes, commas, braces, spaces and backslashes in labels are no structure', () => {
  expect(read('vllm:num_requests_running{model_name="a\\"b,c}d e\\\\",engine="0"} 9').running).toBe(9)
  expect(readLabels('{a="x\\ny",b="\\"",} 1')?.labels).toEqual(
    new Map([
      ['a', 'x\ny'],
      ['b', '"'],
    ]),
  )
})

test('of several adapter lines the latest one holds', () => {
  const metrics = read(
    'vllm:lora_requests_info{max_lora="2",running_lora_adapters="new, second",waiting_lora_adapters=""} 1.7886264577368872e+09',
    'vllm:lora_requests_info{max_lora="2",running_lora_adapters="old",waiting_lora_adapters=""} 1.7886264546318772e+09',
  )
  expect([...(metrics.adapters ?? [])]).toEqual(['new', 'second'])
})

test('an idle engine with adapters has none loaded, which is known', () => {
  expect(read('vllm:lora_requests_info{running_lora_adapters="",waiting_lora_adapters=""} 1.7e9').adapters?.size).toBe(0)
})

test('blocks follow from tokens where only those are told', () => {
  expect(read('vllm:cache_config_info{block_size="16",num_gpu_blocks="None",kv_cache_size_tokens="1600"} 1.0').kvBlocks).toBe(100)
  expect(read('vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1.0').kvBlocks).toBeNaN()
})

test('longer names that begin alike are other metrics', () => {
  expect(read('vllm:num_requests_waiting_by_reason{reason="capacity"} 5').waiting).toBeNaN()
})

test('a body cut anywhere gives each signal as in the whole body, or unknown', () => {
  const body = vllmBody({ engines: 1, running: 12, waiting: 34, kvUsageRatio: 0.5 })
  fc.assert(
    fc.property(fc.nat(body.length), (cut) => {
      const metrics = readMetrics(body.slice(0, cut))
      expect(Number.isNaN(metrics.running) || metrics.running === 12).toBe(true)
      expect(Number.isNaN(metrics.waiting) || metrics.waiting === 34).toBe(true)
      expect(Number.isNaN(metrics.kvUsageRatio) || metrics.kvUsageRatio === 0.5).toBe(true)
    }),
  )
})

test('Windows line ends change nothing', () => {
  const body = vllmBody({ engines: 2, running: 1, waiting: 0, kvUsageRatio: 0.1 })
  expect(readMetrics(body.replaceAll('\n', '\r\n'))).toEqual(readMetrics(body))
})

test('no text breaks the reader', () => {
  const piece = fc.oneof(
    fc.string(),
    fc.constantFrom('vllm:num_requests_running', 'vllm:lora_requests_info{', '{', '}', '"', '\\', ' 1', '\n', 'running_lora_adapters="'),
  )
  fc.assert(fc.property(fc.array(piece), (pieces) => void readMetrics(pieces.join(''))))
})
