import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { compareRun, replayRun } from '../../../plugin/simulation/accuracy.ts'
import { readProfile } from '../../../plugin/simulation/profile-file.ts'
import type { RecordedRun } from '../../../plugin/simulation/recorded-run.ts'

const FOLDER = 'llm-d-benchmark/_history/collected/data/openshift/exp-2/vllm-70b-2replicas'
const PROFILE = 'a100-llama-2-70b-tp2'
const REPLICAS = 2
/** 80 GB × 2 × 0.95 less 141 GB of bf16 weights and about 3 GB of activations leaves 8 GB, at 320 KiB per token. */
const KV_BLOCKS = 1500

/**
 * Llama-3.1-70B on two replicas of two A100 behind a Kubernetes service, from llm-d's own benchmark, beside the twin with a profile fitted on another 70B model's
 * published batch times. Printed to be looked at, with why it is off; nothing is fitted on these calls.
 */
export function compareLlmd(dataDir: string): void {
  const folder = join(dataDir, FOLDER)
  if (!existsSync(folder)) {
    console.error(`llm-d-benchmark skipped: ${FOLDER} is not in ${dataDir}`)
    return
  }
  const rows = globSync('*.csv', { cwd: folder })
    .sort()
    .map((file) => {
      const recorded = readRun(join(folder, file))
      const errors = compareRun(recorded, replayRun(recorded, readProfile(PROFILE)))
      const of = (latency: string): string => {
        const error = errors.find((one) => one.latency === latency)
        return error ? `${error.realMeanMs.toFixed(0)} / ${error.twinMeanMs.toFixed(0)} (${(100 * error.mean).toFixed(0)} %)` : ''
      }
      return {
        run: file.replace(/^LMBench_|\.csv$/g, ''),
        calls: recorded.calls.length,
        'TTFT real / twin': of('ttft'),
        'TPOT real / twin': of('tpot'),
        'E2E real / twin': of('e2e'),
      }
    })
  console.log(
    `llm-d-benchmark, Llama-3.1-70B, 2 × (2 × A100), vLLM of May 2025; twin: ${PROFILE}, ${KV_BLOCKS} blocks each, calls dealt in turn`,
  )
  console.table(rows)
  console.log(
    [
      'Why it is off: the profile comes from Llama-2-70B under an older engine (splitwise-sim, prompt and token times by batch), not from this model and version;',
      'block count, seats and version are not recorded with the runs (the image is `latest`); the prefix cache was on and its hits are not recorded (the short-input',
      'prompts are all 76 tokens and mostly equal); times are taken at a client beyond a service that picks a replica at random, where the twin deals in turn.',
    ].join('\n'),
  )
}

function readRun(file: string): RecordedRun {
  const [header = '', ...lines] = readFileSync(file, 'utf8').trim().split('\n')
  const names = header.split(',')
  const at = (name: string): number => names.indexOf(name)
  const rows = lines
    .map((text) => text.split(',').map(Number))
    .filter((row) => row.every(Number.isFinite))
    .map((row) => ({
      launch: row[at('launch_time')] as number,
      promptTokens: Math.max(1, row[at('prompt_tokens')] as number),
      outputTokens: Math.max(1, row[at('generation_tokens')] as number),
      ttftMs: 1000 * (row[at('ttft')] as number),
      e2eMs: 1000 * ((row[at('finish_time')] as number) - (row[at('launch_time')] as number)),
    }))
    .sort((a, b) => a.launch - b.launch)
  const startS = rows[0]?.launch ?? 0
  return {
    label: file,
    calls: rows.map(({ launch, ...call }) => ({ ...call, atMs: 1000 * (launch - startS) })),
    kvBlocks: KV_BLOCKS,
    seats: 256,
    budgetTokens: 2048,
    replicas: REPLICAS,
    device: 'A100',
    model: 'Llama-3.1-70B',
  }
}
