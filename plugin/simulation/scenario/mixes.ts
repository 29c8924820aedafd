import type { Rng } from '../../rng.ts'
import { TASKS, type TaskName } from '../tasks.ts'
import { drawCall } from '../workload.ts'

/** One drawn call of a mix. */
export interface MixCall {
  readonly task: TaskName
  readonly application: string
  readonly promptTokens: number
  readonly outputTokens: number
}

/** Draws calls one after another. */
export type Mix = (rng: Rng) => MixCall

/** Mean ± standard deviation of prompt and output, tokens. */
interface WideTask {
  readonly name: TaskName
  readonly prompt: readonly [number, number]
  readonly output: readonly [number, number]
}

/** The mix `wide` of the named scenarios: short answers to long prompts beside long answers to short ones. */
const WIDE: readonly WideTask[] = [
  { name: 'sentiment', prompt: [300, 150], output: [6, 4] },
  { name: 'entities', prompt: [120, 60], output: [40, 30] },
  { name: 'in-context-qna', prompt: [900, 400], output: [40, 40] },
  { name: 'qna', prompt: [40, 25], output: [280, 160] },
  { name: 'translation', prompt: [120, 80], output: [140, 90] },
]
const WIDE_PROMPT_CUT = { low: 8, high: 3500 }
const WIDE_OUTPUT_CUT = { low: 1, high: 2000 }

/** The five tasks of the paper, equally likely, log-normal lengths with its means. */
export const drawPaper: Mix = drawCall

/** Five tasks with wider differences, equally likely, log-normal lengths. */
export function drawWide(rng: Rng): MixCall {
  const task = WIDE[rng.int(WIDE.length)] as WideTask
  const applications = TASKS.find((one) => one.name === task.name)?.applications ?? [task.name]
  return {
    task: task.name,
    application: applications[rng.int(applications.length)] as string,
    promptTokens: cut(logNormal(task.prompt, rng), WIDE_PROMPT_CUT),
    outputTokens: cut(logNormal(task.output, rng), WIDE_OUTPUT_CUT),
  }
}

function logNormal([mean, deviation]: readonly [number, number, number?], rng: Rng): number {
  const variance = Math.log(1 + (deviation / mean) ** 2)
  return Math.exp(Math.log(mean) - variance / 2 + Math.sqrt(variance) * rng.normal())
}

function cut(value: number, { low, high }: { readonly low: number; readonly high: number }): number {
  return Math.min(high, Math.max(low, Math.round(value)))
}

/** One application's part of a mixture. */
export interface Part {
  readonly application: string
  readonly weight: number
  readonly mix: Mix
}

/** Several applications in one stream, each with its share of the calls and lengths of its own. */
export function mixtureOf(parts: readonly Part[]): Mix {
  const total = parts.reduce((sum, part) => sum + part.weight, 0)
  return (rng) => {
    const target = rng.next() * total
    let sum = 0
    const part = parts.find((one) => {
      sum += one.weight
      return target < sum
    })
    const drawn = part ?? (parts.at(-1) as Part)
    return { ...drawn.mix(rng), application: drawn.application }
  }
}

/** Log-normal prompt and output lengths, [mean, standard deviation, largest], for applications known by their means alone. */
export function drawLogNormal(task: TaskName, lengths: { readonly prompt: Lengths; readonly output: Lengths }): Mix {
  return (rng) => ({
    task,
    application: task,
    promptTokens: cut(logNormal(lengths.prompt, rng), { low: 1, high: lengths.prompt[2] }),
    outputTokens: cut(logNormal(lengths.output, rng), { low: 1, high: lengths.output[2] }),
  })
}

export type Lengths = readonly [mean: number, deviation: number, largest: number]
