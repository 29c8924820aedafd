import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { readCsv } from './csv.ts'
import type { LengthRow } from './length-rows.ts'

/**
 * The open sets of prompts with responses that the base model is trained on, read from their authors' own files: one model's answers
 * per set, so that no prompt has two lengths. Responses are counted with OpenAI's cl100k tokeniser: what matters is that all are counted alike.
 */
export interface OpenSet {
  readonly name: string
  readonly licence: string
  /** Answers of this model. */
  readonly model: string
  /** Its rows from the authors' files in `folder`. */
  readonly read: (folder: string, count: CountTokens) => readonly LengthRow[]
}

export type CountTokens = (text: string) => number

/** GPT-4 answers of just-eval stop at 1,024 tokens. */
const JUST_EVAL_LIMIT_TOKENS = 1_024

const text = (...path: string[]): string => readFileSync(join(...path), 'utf8')
const lines = (...path: string[]): string[] => text(...path).split(/\r?\n/)

export const OPEN_SETS: readonly OpenSet[] = [
  { name: 'just-eval', licence: 'MIT', model: 'gpt-4-0314', read: readJustEval },
  { name: 'llmdrift', licence: 'Apache-2.0', model: 'gpt-4-0314', read: readLlmDrift },
  { name: 'routellm', licence: 'Apache-2.0', model: 'gpt-4-1106-preview', read: readRouteLlm },
  { name: 'gpt-mt', licence: 'MIT', model: 'gpt-4', read: readGptMt },
  { name: 'self-instruct', licence: 'Apache-2.0', model: 'text-davinci-003', read: readSelfInstruct },
]

function readJustEval(folder: string, count: CountTokens): readonly LengthRow[] {
  const file = text(folder, 'leaderboard/outputs/gpt-4-0314.to_eval.json')
  return (JSON.parse(file) as { instruction: string; output: string; dataset: string }[]).map(({ instruction, output, dataset }) => {
    const outputTokens = count(output)
    return {
      set: 'just-eval',
      task: `just-eval ${dataset}`,
      model: 'gpt-4-0314',
      prompt: instruction,
      outputTokens,
      censored: outputTokens >= JUST_EVAL_LIMIT_TOKENS,
    }
  })
}

function readLlmDrift(folder: string, count: CountTokens): readonly LengthRow[] {
  return ['LEETCODE_EASY', 'OPINIONQA', 'SENSITIVEQ'].flatMap((file) =>
    readCsv(text(folder, `generation/${file}_EVAL.csv`))
      .filter((row) => row.model === 'openaichat/gpt-4-0314')
      .map(({ dataset = '', query = '', answer = '', max_tokens = '' }) => {
        const outputTokens = count(answer)
        return {
          set: 'llmdrift',
          task: dataset,
          model: 'gpt-4-0314',
          prompt: query,
          outputTokens,
          censored: outputTokens >= Number(max_tokens),
        }
      }),
  )
}

function readRouteLlm(folder: string, count: CountTokens): readonly LengthRow[] {
  return readCsv(text(folder, 'routellm/evals/gsm8k/gsm8k_responses.csv')).map((row) => ({
    set: 'routellm',
    task: 'gsm8k',
    model: 'gpt-4-1106-preview',
    prompt: row.prompt ?? '',
    outputTokens: count(row['gpt-4-1106-preview_response'] ?? ''),
    censored: false,
  }))
}

function readGptMt(folder: string, count: CountTokens): readonly LengthRow[] {
  const pairs = [
    { task: 'translate en-de', into: 'German', from: 'ende/test.en-de.en', to: 'ende/en_de_gpt_4.txt' },
    { task: 'translate zh-en', into: 'English', from: 'zhen/test.zh-en.zh', to: 'zhen/zh_en_gpt_4.txt' },
  ]
  return pairs.flatMap(({ task, into, from, to }) => {
    const answers = lines(folder, 'evaluation/system-outputs/GPT-4', to)
    return lines(folder, 'evaluation/testset/wmt-testset', from).flatMap((line, i) => {
      const answer = answers[i]
      if (line === '' || !answer) return []
      const prompt = `Translate this sentence to ${into}: ${line}`
      return [{ set: 'gpt-mt', task, model: 'gpt-4', prompt, outputTokens: count(answer), censored: false }]
    })
  })
}

function readSelfInstruct(folder: string, count: CountTokens): readonly LengthRow[] {
  return lines(folder, 'human_eval/predictions/text-davinci-003_predictions.jsonl')
    .filter(Boolean)
    .map((line) => {
      const { prompt, response } = JSON.parse(line) as { prompt: string; response: string }
      return {
        set: 'self-instruct',
        task: 'self-instruct',
        model: 'text-davinci-003',
        prompt,
        outputTokens: count(response),
        censored: false,
      }
    })
}
