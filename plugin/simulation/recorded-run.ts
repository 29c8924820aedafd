import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'

/** One call of a run that was measured on a real engine. Times in ms; `atMs` from the run's first arrival. */
export interface RecordedCall {
  readonly atMs: number
  readonly promptTokens: number
  readonly outputTokens: number
  readonly ttftMs: number
  readonly e2eMs: number
}

/** A measured run, and what the engine said of its own settings. */
export interface RecordedRun {
  readonly label: string
  /** In order of arrival. */
  readonly calls: readonly RecordedCall[]
  readonly kvBlocks: number
  readonly seats: number
  readonly budgetTokens: number
  /** Engines behind one queue (data parallel). */
  readonly replicas: number
  readonly device: string
  readonly model: string
}

/** What vLLM takes where a run's settings leave it open. */
const SEATS_DEFAULT = 256
const BUDGET_DEFAULT = 2048

const meta = z.object({
  model: z.string(),
  vllm_version: z.string().default('?'),
  engine_kwargs: z
    .object({
      max_num_seqs: z.number().nullish(),
      max_num_batched_tokens: z.number().nullish(),
      data_parallel_size: z.number().nullish(),
    })
    .default({}),
  kv_cache: z.object({ num_gpu_blocks: z.number(), block_size: z.number().default(16) }),
  hardware: z.object({ device_name: z.string().default('unknown device') }).default({ device_name: 'unknown device' }),
})

const request = z.object({
  input_toks: z.number(),
  output_toks: z.number(),
  queued_ts: z.number(),
  first_token_ts: z.number(),
  last_token_ts: z.number(),
})

const OWN_BLOCK_TOKENS = 16

/**
 * A run in LLMServingSim's format: a folder with `meta.json` and `requests.jsonl`, or with both below `vllm/`. Block count, seats and budget are
 * what the engine reported. Throws with the file and what is wrong in it.
 */
export function readRecordedRun(folder: string): RecordedRun {
  const at = existsSync(join(folder, 'requests.jsonl')) ? folder : join(folder, 'vllm')
  const metaFile = join(at, 'meta.json')
  const told = readJson(metaFile, readFileSync(metaFile, 'utf8'), meta)
  const requestsFile = join(at, 'requests.jsonl')
  const rows = readFileSync(requestsFile, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line, i) => readJson(`${requestsFile}, line ${i + 1}`, line, request))
    .sort((a, b) => a.queued_ts - b.queued_ts)
  const startTs = rows[0]?.queued_ts ?? 0
  return {
    label: `${told.hardware.device_name}, ${told.model}, vLLM ${told.vllm_version}, ${rows.length} calls`,
    calls: rows.map((row) => ({
      atMs: (row.queued_ts - startTs) * 1000,
      promptTokens: row.input_toks,
      outputTokens: row.output_toks,
      ttftMs: (row.first_token_ts - row.queued_ts) * 1000,
      e2eMs: (row.last_token_ts - row.queued_ts) * 1000,
    })),
    kvBlocks: Math.floor((told.kv_cache.num_gpu_blocks * told.kv_cache.block_size) / OWN_BLOCK_TOKENS),
    seats: told.engine_kwargs.max_num_seqs ?? SEATS_DEFAULT,
    budgetTokens: told.engine_kwargs.max_num_batched_tokens ?? BUDGET_DEFAULT,
    replicas: told.engine_kwargs.data_parallel_size ?? 1,
    device: told.hardware.device_name,
    model: told.model,
  }
}

function readJson<T>(where: string, text: string, schema: z.ZodType<T>): T {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (cause) {
    throw new Error(`${where}: not JSON`, { cause })
  }
  const checked = schema.safeParse(parsed)
  if (checked.success) return checked.data
  const issue = checked.error.issues[0]
  throw new Error(`${where}: field ${issue?.path.join('.') || '(root)'}: ${issue?.message ?? 'invalid'}`)
}
