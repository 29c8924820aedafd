import { readFileSync } from 'node:fs'
import { z } from 'zod'
import type { Call } from '../call/call.ts'
import { parseCall } from '../call/parse.ts'
import { ROW_WIDTH, writeRow } from '../prediction/length-model.ts'
import type { TextReader } from '../prediction/text/reading.ts'
import type { LengthExample } from './length.ts'

/** One answered prompt: what length models are trained on and judged by. */
export interface LengthRow {
  readonly set: string
  readonly task: string
  readonly model: string
  /** The application whose history it belongs to; the task where none is named. */
  readonly application?: string
  readonly prompt?: string
  readonly messages?: readonly { readonly role: string; readonly content: unknown }[]
  readonly maxTokens?: number
  readonly outputTokens: number
  /** Cut: the answer would have been at least this long. */
  readonly censored: boolean
}

/** A row with the call it would be and the numbers a model reads of it. */
export interface LengthCase extends LengthExample {
  readonly of: LengthRow
  readonly call: Call
}

const jsonRow = z
  .object({
    messages: z.array(z.object({ role: z.string(), content: z.unknown() })).optional(),
    prompt: z.string().optional(),
    outputTokens: z.number().min(0),
    censored: z.boolean().default(false),
    application: z.string().optional(),
    model: z.string().default('model'),
    task: z.string().optional(),
    maxTokens: z.number().optional(),
  })
  .refine((row) => row.messages !== undefined || row.prompt !== undefined, 'needs "messages" or "prompt"')

/** A row of a JSONL file is not one. */
export class RowError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'RowError'
  }
}

function textAt(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new RowError(`${path}: it cannot be read (${(cause as NodeJS.ErrnoException).code ?? String(cause)})`, { cause })
  }
}

/** Rows of a JSONL file. Throws RowError with the line that is no row, or where the file cannot be read. */
export function readRows(path: string): LengthRow[] {
  return textAt(path)
    .split('\n')
    .flatMap((line, i) => (line.trim() === '' ? [] : [readRow(line, `${path}:${i + 1}`)]))
}

function readRow(line: string, where: string): LengthRow {
  let parsed: unknown
  try {
    parsed = JSON.parse(line)
  } catch (cause) {
    throw new RowError(`${where}: this line is no JSON`, { cause })
  }
  const row = jsonRow.safeParse(parsed)
  if (!row.success)
    throw new RowError(`${where}: ${row.error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`).join('; ')}`)
  const { prompt, messages, application, model, task, maxTokens, outputTokens, censored } = row.data
  return {
    set: where.slice(0, where.lastIndexOf(':')),
    task: task ?? application ?? 'rows',
    model,
    outputTokens,
    censored,
    ...(application === undefined ? {} : { application }),
    ...(prompt === undefined ? {} : { prompt }),
    ...(messages === undefined ? {} : { messages }),
    ...(maxTokens === undefined ? {} : { maxTokens }),
  }
}

/** What a call of this row would have been read as. Throws RowError where it could be none. */
export function caseOf(row: LengthRow, readText: TextReader, id = 0): LengthCase {
  const messages = row.messages ?? [{ role: 'user', content: row.prompt ?? '' }]
  const body = { model: row.model, messages, ...(row.maxTokens === undefined ? {} : { max_tokens: row.maxTokens }) }
  const parsed = parseCall({
    path: '/v1/chat/completions',
    headers: { 'x-phasewise-application': row.application ?? row.task },
    body: Buffer.from(JSON.stringify(body)),
    callId: id,
    arrivedUnixMs: 0,
    textFeatures: true,
    readText,
  })
  if (parsed.kind === 'refused') throw new RowError(parsed.error.message)
  const { call } = parsed
  const values = new Float32Array(ROW_WIDTH)
  writeRow(call, { reading: call.reading, promptTokens: promptTokensOf(call) }, values)
  return { of: row, call, row: values, words: call.textFeatures, outputTokens: row.outputTokens, censored: row.censored }
}

/** What the router's estimate starts from, where no tokeniser was ever heard: four bytes each. */
export function promptTokensOf(call: Call): number {
  return Math.ceil(call.promptBytes / 4)
}
