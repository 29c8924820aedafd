import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { KV_BLOCK_TOKENS, type Profile } from '../profiles.ts'
import { type FittedLaw, fitOperators, fitOperatorsV0 } from './operators.ts'
import { fitDynamo, fitSplitwise, fitSteadyState } from './whole-steps.ts'

/** One profile that can be fitted from published measurements. */
export interface ProfileSource {
  readonly name: string
  readonly label: string
  /** Where the measurements lie below the data folder, and what they leave out. */
  readonly files: readonly string[]
  readonly note: string
  readonly kvTokens: number
  readonly fit: (files: readonly string[]) => FittedLaw
}

/** A profile with the errors of its fit. */
export interface FittedProfile {
  readonly profile: Profile
  readonly source: ProfileSource
  readonly fits: FittedLaw['fits']
}

const PERF = 'llmservingsim/profiler/perf'
const H100 = 'llmservingsim/profiler/v0/perf_models/H100/meta-llama/Llama-3.1-70B/tp4'
const SPLITWISE = 'splitwise-sim/data/perf_model.csv'
const H200 = 'dynamo/components/src/dynamo/planner/tests/data/profiling_results/H200_TP1P_TP1D'
const AICONFIGURATOR = 'aiconfigurator/silicon_sample.trtllm_sglang.csv'
const LLAMA_8B_LAYERS = 32
const LLAMA_70B_LAYERS = 80

const splitwise = (gpu: 'a100' | 'h100', tensorParallel: number, kvTokens: number): ProfileSource => ({
  name: `${gpu}-llama-2-70b-tp${tensorParallel}`,
  label: `${tensorParallel} × ${gpu.toUpperCase()}, Llama-2-70B`,
  files: [SPLITWISE],
  note: 'whole prompt and token times of 2023, engine overhead and communication included',
  kvTokens,
  fit: ([file = '']) => fitSplitwise(file, { model: 'llama2-70b', hardware: `${gpu}-80gb`, tensorParallel }),
})

const steady = (row: {
  readonly name: string
  readonly label: string
  readonly kvTokens: number
  readonly wanted: Parameters<typeof fitSteadyState>[1]
}): ProfileSource => ({
  name: row.name,
  label: row.label,
  files: [AICONFIGURATOR],
  note: 'from mean TPOT in steady state: prefill attention cannot be told apart',
  kvTokens: row.kvTokens,
  fit: ([file = '']) => fitSteadyState(file, row.wanted),
})

const operators = (name: string, label: string, folder: string, kvTokens: number): ProfileSource => ({
  name,
  label,
  files: [join(PERF, folder, 'meta-llama/Llama-3.1-8B/bf16/tp1')],
  note: "sum of one layer's operators times the layers; what runs between operators is not in it",
  kvTokens,
  fit: ([folder = '']) => fitOperators(folder, LLAMA_8B_LAYERS),
})

/**
 * Every row that the public data supports. KV sizes are computed: 90 % of the cards less weights and some GB, over the model's bytes per
 * token (bf16: 320 KiB for a 70B Llama, 128 KiB for an 8B); a run's own block count replaces them.
 */
export const PROFILE_SOURCES: readonly ProfileSource[] = [
  operators('rtx4090-llama-3.1-8b-refit', 'RTX 4090, Llama-3.1-8B, fitted anew', 'RTX4090', 41_408),
  operators('rtxpro6000-llama-3.1-8b-refit', 'RTX PRO 6000, Llama-3.1-8B, fitted anew', 'RTXPRO6000', 512_000),
  {
    name: 'h100-llama-3.1-70b-tp4',
    label: '4 × H100, Llama-3.1-70B',
    files: [H100],
    note: "operators of one GPU's share; communication between GPUs is not in it",
    kvTokens: 430_000,
    fit: ([folder = '']) => fitOperatorsV0(folder, LLAMA_70B_LAYERS),
  },
  splitwise('a100', 2, 24_000),
  splitwise('a100', 4, 430_000),
  splitwise('h100', 2, 24_000),
  splitwise('h100', 4, 430_000),
  {
    name: 'h200-dynamo',
    label: "H200, the model of Dynamo's planner tests",
    files: [join(H200, 'selected_prefill_interpolation/raw_data.npz'), join(H200, 'selected_decode_interpolation/raw_data.npz')],
    note: 'prefill by prompt length, decode by KV use and context; the model is not named with the points',
    kvTokens: 900_000,
    fit: ([prefill = '', decode = '']) => fitDynamo(prefill, decode),
  },
  steady({
    name: 'h100-llama-3.1-8b-tp2-trtllm',
    label: '2 × H100, Llama-3.1-8B, TensorRT-LLM',
    kvTokens: 900_000,
    wanted: { backend: 'trtllm', model: 'meta-llama/Llama-3.1-8B-Instruct', system: 'h100_sxm', precision: '', tensorParallel: 2 },
  }),
  steady({
    name: 'h100-qwen3-32b-tp4-trtllm',
    label: '4 × H100, Qwen3-32B fp8, TensorRT-LLM',
    kvTokens: 900_000,
    wanted: { backend: 'trtllm', model: 'Qwen/Qwen3-32B', system: 'h100_sxm', precision: 'fp8', tensorParallel: 4 },
  }),
  steady({
    name: 'b200-qwen3.5-397b-tp8-sglang',
    label: '8 × B200, Qwen3.5-397B, SGLang',
    kvTokens: 900_000,
    wanted: { backend: 'sglang', model: 'Qwen/Qwen3.5-397B-A17B', system: 'b200_sxm', precision: 'bf16', tensorParallel: 8 },
  }),
  steady({
    name: 'b200-deepseek-r1-tp8-sglang',
    label: '8 × B200, DeepSeek-R1 fp8, SGLang',
    kvTokens: 900_000,
    wanted: { backend: 'sglang', model: 'deepseek-ai/DeepSeek-R1', system: 'b200_sxm', precision: 'fp8', tensorParallel: 8 },
  }),
]

/** Significant digits that a shipped coefficient keeps: far below any fit's error. */
const DIGITS = 4

/** Fits one source from the data folder; undefined where its files are not there. */
export function fitSource(source: ProfileSource, dataDir: string): FittedProfile | undefined {
  const files = source.files.map((file) => join(dataDir, file))
  if (!files.every((file) => existsSync(file))) return undefined
  const { law, fits } = source.fit(files)
  const rounded = JSON.parse(
    JSON.stringify(law, (_, value) => (typeof value === 'number' ? Number(value.toPrecision(DIGITS)) : value)),
  ) as typeof law
  return {
    source,
    fits,
    profile: {
      name: source.name,
      label: source.label,
      law: rounded,
      order: 'v1',
      kvBlocks: Math.floor(source.kvTokens / KV_BLOCK_TOKENS),
      seats: 256,
      budgetTokens: 2048,
      prefixCache: true,
      admissionKvRatio: 1,
    },
  }
}
