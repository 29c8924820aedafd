import type { Rng } from '../rng.ts'

/** The five tasks of the paper (Jain et al., arXiv 2408.13510), and what belongs to none of them. */
export type TaskName = 'translation' | 'qna' | 'sentiment' | 'in-context-qna' | 'entities' | 'generic'

export interface Task {
  readonly name: TaskName
  /** Means as in the paper, tokens. */
  readonly promptTokensMean: number
  readonly outputTokensMean: number
  /** What a prompt of the task starts with. */
  readonly opening: string
  /** How the task is recognised in a prompt. */
  readonly words: RegExp
  /** Applications that send it in generated traffic. */
  readonly applications: readonly string[]
}

/** In the order in which they are looked for: a context beats a question, because it contains one. */
export const TASKS: readonly Task[] = [
  {
    name: 'translation',
    promptTokensMean: 29,
    outputTokensMean: 62,
    opening: 'Translate to French: ',
    words: /\btranslat/i,
    applications: ['translator', 'subtitle-studio'],
  },
  {
    name: 'sentiment',
    promptTokensMean: 212,
    outputTokensMean: 143,
    opening: 'Sentiment of this review: ',
    words: /\bsentiment\b|positive or negative/i,
    applications: ['review-radar'],
  },
  {
    name: 'entities',
    promptTokensMean: 26,
    outputTokensMean: 64,
    opening: 'List the named entities: ',
    words: /\bentit(y|ies)\b/i,
    applications: ['contact-extractor'],
  },
  {
    name: 'in-context-qna',
    promptTokensMean: 125,
    outputTokensMean: 220,
    opening: 'Answer from this context: ',
    words: /\bcontext\b|\bpassage\b/i,
    applications: ['support-bot', 'docs-search'],
  },
  {
    name: 'qna',
    promptTokensMean: 30,
    outputTokensMean: 334,
    opening: 'Question: ',
    words: /\bquestion\b|\b(what|why|how|who|when|where)\b|\?/i,
    applications: ['homework-helper', 'chat-assistant'],
  },
]

/** Mean output where no task is recognised: the mean of the five. */
const GENERIC_OUTPUT_TOKENS = 165

/** Spread of the paper's mix: coefficients of variation of a log-normal, and the cuts (chosen, stated with the named scenarios). */
const PROMPT_CV = 0.6
const OUTPUT_CV = 0.8
const PROMPT_CUT = { low: 8, high: 3000 }
const OUTPUT_CUT = { low: 1, high: 2000 }

/** The task a prompt's words speak of. */
export function recogniseTask(text: string): TaskName {
  return TASKS.find((task) => task.words.test(text))?.name ?? 'generic'
}

/** An output length of the task in tokens, 1 to 2,000. */
export function drawOutputTokens(task: TaskName, rng: Rng): number {
  const meanTokens = TASKS.find((t) => t.name === task)?.outputTokensMean ?? GENERIC_OUTPUT_TOKENS
  return cut(logNormal({ mean: meanTokens, cv: OUTPUT_CV }, rng), OUTPUT_CUT)
}

/** A prompt length of the task in tokens, 8 to 3,000. */
export function drawPromptTokens(task: Task, rng: Rng): number {
  return cut(logNormal({ mean: task.promptTokensMean, cv: PROMPT_CV }, rng), PROMPT_CUT)
}

/** A log-normal value with the given mean and coefficient of variation. */
export function logNormal({ mean, cv }: { readonly mean: number; readonly cv: number }, rng: Rng): number {
  const variance = Math.log(1 + cv * cv)
  return Math.exp(Math.log(mean) - variance / 2 + Math.sqrt(variance) * rng.normal())
}

function cut(value: number, { low, high }: { readonly low: number; readonly high: number }): number {
  return Math.min(high, Math.max(low, Math.round(value)))
}
