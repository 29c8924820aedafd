import { z } from 'zod'

/** The APIs a virtual instance serves, by path. */
export const PATHS = {
  '/v1/chat/completions': 'chat',
  '/v1/completions': 'completions',
  '/v1/responses': 'responses',
  '/v1/embeddings': 'embeddings',
  '/v1/messages': 'messages',
} as const

export type VirtualApi = (typeof PATHS)[keyof typeof PATHS]

/** A JSON schema, as far as it is read here. */
export type JsonSchema = Readonly<Record<string, unknown>>

export interface Tool {
  readonly name: string
  readonly parameters: JsonSchema
}

/** What a body asks for, in one form for all APIs. */
export interface Demand {
  readonly api: VirtualApi
  readonly model: string
  readonly stream: boolean
  /** Send the usage chunk at the end of the stream. */
  readonly streamUsage: boolean
  /** One per prompt: all text that would be tokenized. */
  readonly prompts: readonly string[]
  /** What the caller said last: the task is recognised in it. */
  readonly lastText: string
  /** Answers per prompt. */
  readonly answers: number
  readonly maxTokens?: number
  readonly minTokens: number
  readonly ignoreEos: boolean
  readonly stops: readonly string[]
  /** The tool the answer has to call. */
  readonly tool?: Tool
  /** The answer has to be JSON, of this schema where one is given. */
  readonly json?: JsonSchema
  readonly embeddingFormat: 'float' | 'base64'
}

const part = z.looseObject({ type: z.string().optional(), text: z.string().optional() })
const content = z.union([z.string(), z.array(z.union([part, z.string()]))]).nullish()
const message = z.looseObject({
  role: z.string().optional(),
  type: z.string().optional(),
  content,
  output: z.unknown().optional(),
  arguments: z.string().optional(),
})
const toolEntry = z.looseObject({
  name: z.string().optional(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  input_schema: z.record(z.string(), z.unknown()).optional(),
  function: z.looseObject({ name: z.string(), parameters: z.record(z.string(), z.unknown()).optional() }).optional(),
})
const format = z.looseObject({
  type: z.string(),
  schema: z.record(z.string(), z.unknown()).optional(),
  json_schema: z.looseObject({ schema: z.record(z.string(), z.unknown()).optional() }).optional(),
})
const count = z.number().int().min(1).nullish()
const stops = z.union([z.string(), z.array(z.string())]).nullish()
const tokenIds = z.array(z.number().int())

const body = z.looseObject({
  model: z.string(),
  messages: z.array(message).min(1).optional(),
  prompt: z.union([z.string(), z.array(z.string()).min(1), tokenIds.min(1), z.array(tokenIds).min(1)]).optional(),
  input: z.union([z.string(), z.array(z.string()), tokenIds, z.array(tokenIds), z.array(message)]).optional(),
  system: content,
  instructions: z.string().nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  max_tokens: count,
  max_completion_tokens: count,
  max_output_tokens: count,
  min_tokens: z.number().int().min(0).nullish(),
  ignore_eos: z.boolean().nullish(),
  n: z.number().int().min(1).max(128).nullish(),
  stop: stops,
  stop_sequences: stops,
  tools: z.array(toolEntry).nullish(),
  tool_choice: z.union([z.string(), z.looseObject({ type: z.string() })]).nullish(),
  response_format: format.nullish(),
  text: z.looseObject({ format: format.optional() }).nullish(),
  encoding_format: z.enum(['float', 'base64']).nullish(),
})

type Body = z.infer<typeof body>

/** A body that cannot be answered; `field` is the JSON path at fault. */
export class BadBody extends Error {
  readonly field: string | null
  constructor(message: string, field: string | null = null) {
    super(message)
    this.name = 'BadBody'
    this.field = field
  }
}

/** Reads a body of the given API. Throws `BadBody`. */
export function parseDemand(api: VirtualApi, raw: unknown): Demand {
  const parsed = body.safeParse(raw)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw new BadBody(issue?.message ?? 'invalid body', issue?.path.join('.') || null)
  }
  const fields = parsed.data
  const prompts = promptsOf(api, fields)
  const lastText = lastTextOf(fields) ?? prompts.at(-1) ?? ''
  if (api === 'messages' && !fields.max_tokens) throw new BadBody('Field required', 'max_tokens')
  const maxTokens =
    fields.max_completion_tokens ?? fields.max_tokens ?? fields.max_output_tokens ?? (api === 'completions' ? 16 : undefined)
  const tool = toolOf(fields, lastText)
  const json = jsonOf(fields)
  return {
    api,
    model: fields.model,
    stream: fields.stream === true && api !== 'embeddings',
    streamUsage: fields.stream_options?.include_usage === true,
    prompts,
    lastText,
    answers: fields.n ?? 1,
    ...(maxTokens === undefined ? {} : { maxTokens }),
    minTokens: fields.min_tokens ?? 0,
    ignoreEos: fields.ignore_eos === true,
    stops: [fields.stop ?? fields.stop_sequences ?? []].flat().filter((stop) => stop !== ''),
    ...(tool ? { tool } : {}),
    ...(json ? { json } : {}),
    embeddingFormat: fields.encoding_format ?? 'float',
  }
}

function promptsOf(api: VirtualApi, fields: Body): string[] {
  if (api === 'completions' || api === 'embeddings') {
    const value = api === 'completions' ? fields.prompt : fields.input
    if (value === undefined) throw new BadBody('Field required', api === 'completions' ? 'prompt' : 'input')
    return textsOf(value)
  }
  const said = api === 'responses' ? fields.input : fields.messages
  if (said === undefined) throw new BadBody('Field required', api === 'responses' ? 'input' : 'messages')
  const head = (fields.tools?.length ? JSON.stringify(fields.tools) : '') + (fields.instructions ?? '') + contentText(fields.system)
  if (typeof said === 'string') return [head + said]
  return [head + said.map((entry) => (isMessage(entry) ? messageText(entry) : '')).join('')]
}

/** Texts stay; token ids become four bytes each, so that equal ids are equal text of the same token count. */
function textsOf(value: NonNullable<Body['prompt'] | Body['input']>): string[] {
  if (typeof value === 'string') return [value]
  if (value.every((entry) => typeof entry === 'number')) return [idsText(value)]
  return value.map((entry) => {
    if (typeof entry === 'string') return entry
    return Array.isArray(entry) ? idsText(entry) : JSON.stringify(entry)
  })
}

function idsText(ids: readonly number[]): string {
  return ids.map((id) => (id % 1_679_616).toString(36).padStart(4, '0')).join('')
}

type Message = z.infer<typeof message>

function isMessage(entry: unknown): entry is Message {
  return typeof entry === 'object' && entry !== null && !Array.isArray(entry)
}

function messageText(entry: Message): string {
  const output = typeof entry.output === 'string' ? entry.output : ''
  return contentText(entry.content) + output + (entry.arguments ?? '')
}

function contentText(value: z.infer<typeof content>): string {
  if (value === null || value === undefined) return ''
  if (typeof value === 'string') return value
  return value.map((p) => (typeof p === 'string' ? p : (p.text ?? `[${p.type ?? 'part'}]`))).join('')
}

function lastTextOf(fields: Body): string | undefined {
  const said = fields.messages ?? fields.input
  if (!Array.isArray(said)) return undefined
  const last = said.filter(isMessage).findLast((entry) => entry.role === 'user')
  return last ? contentText(last.content) : undefined
}

/** The tool to call: when the caller demands one, or names one in the prompt and has not got its result yet. */
function toolOf(fields: Body, lastText: string): Tool | undefined {
  const tools = (fields.tools ?? []).flatMap((entry): Tool[] => {
    const name = entry.function?.name ?? entry.name
    return name === undefined ? [] : [{ name, parameters: entry.function?.parameters ?? entry.parameters ?? entry.input_schema ?? {} }]
  })
  const choice = fields.tool_choice
  if (tools.length === 0 || choice === 'none') return undefined
  if (typeof choice === 'object' && choice !== null) {
    const nested = choice.function
    const wanted = isNamed(nested) ? nested.name : isNamed(choice) ? choice.name : undefined
    if (wanted !== undefined) return tools.find((tool) => tool.name === wanted)
    return choice.type === 'any' ? tools[0] : undefined
  }
  if (choice === 'required') return tools[0]
  if (resultGiven(fields)) return undefined
  return (
    tools.find((tool) => lastText.includes(tool.name)) ?? (/\b(use|call) (the|a) (tool|function)/i.test(lastText) ? tools[0] : undefined)
  )
}

function isNamed(value: unknown): value is { readonly name: string } {
  return typeof value === 'object' && value !== null && 'name' in value && typeof value.name === 'string'
}

function resultGiven(fields: Body): boolean {
  const said = fields.messages ?? fields.input
  const last = Array.isArray(said) ? said.at(-1) : undefined
  if (!isMessage(last)) return false
  const parts = Array.isArray(last.content) ? last.content : []
  return (
    last.role === 'tool' || last.type === 'function_call_output' || parts.some((p) => typeof p !== 'string' && p.type === 'tool_result')
  )
}

function jsonOf(fields: Body): JsonSchema | undefined {
  const wanted = fields.response_format ?? fields.text?.format
  if (!wanted || wanted.type === 'text') return undefined
  return wanted.json_schema?.schema ?? wanted.schema ?? {}
}
