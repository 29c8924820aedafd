import { existsSync, readdirSync, readFileSync } from 'node:fs'

/** Real prompts of the public sets beside the repository, for tests only; nothing is copied into it. */
const ROOT = new URL('../../../shared/data/', import.meta.url)

/** Whether the sets are there. */
export const haveDatasets = existsSync(ROOT)

const text = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8')
const lines = (path: string): string[] => text(path).split('\n').filter(Boolean)
const column = (path: string, name: string): string[] => {
  const [head = [], ...rows] = csvRows(text(path))
  const at = head.indexOf(name)
  return [...new Set(rows.map((row) => row[at] ?? ''))].filter(Boolean)
}

/** Prompts by set, in file order. */
export function realPrompts(): Readonly<Record<string, readonly string[]>> {
  const just = JSON.parse(text('just-eval/leaderboard/outputs/gpt-4-0314.to_eval.json')) as { instruction: string }[]
  const agents = readdirSync(new URL('lmcache-agent-trace/miniswe/', ROOT)).flatMap((file) => lines(`lmcache-agent-trace/miniswe/${file}`))
  return {
    'just-eval': just.map((row) => row.instruction),
    'self-instruct': lines('self-instruct/human_eval/predictions/text-davinci-003_predictions.jsonl').map(
      (line) => JSON.parse(line).prompt,
    ),
    'gpt-mt en-de': lines('gpt-mt/evaluation/testset/wmt-testset/ende/test.en-de.en').map(
      (line) => `Translate this sentence to German: ${line}`,
    ),
    'gpt-mt zh-en': lines('gpt-mt/evaluation/testset/wmt-testset/zhen/test.zh-en.zh').map(
      (line) => `Translate this sentence to English: ${line}`,
    ),
    'gpt-mt German': lines('gpt-mt/evaluation/system-outputs/GPT-4/ende/en_de_gpt_4.txt'),
    'llmdrift code': column('llmdrift/generation/LEETCODE_EASY_EVAL.csv', 'query'),
    'llmdrift opinion': column('llmdrift/generation/OPINIONQA_EVAL.csv', 'query'),
    'llmdrift sensitive': column('llmdrift/generation/SENSITIVEQ_EVAL.csv', 'query'),
    'routellm gsm8k': column('routellm/routellm/evals/gsm8k/gsm8k_responses.csv', 'prompt'),
    'lmcache agents': agents.map((line) => JSON.parse(line).input),
  }
}

/** Rows of a CSV text with quoted fields (RFC 4180). */
function csvRows(csv: string): string[][] {
  const rows: string[][] = [[]]
  for (const [, quoted, plain, end] of csv.matchAll(/(?:"((?:[^"]|"")*)"|([^,\r\n]*))(,|\r?\n|$)/g)) {
    rows.at(-1)?.push(quoted === undefined ? (plain ?? '') : quoted.replaceAll('""', '"'))
    if (end !== ',') rows.push([])
  }
  return rows
}
