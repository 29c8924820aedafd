import type { Api, RequestShape } from './call.ts'
import { type JsonObject, listIn, numberIn, objectIn, textIn, wholeIn } from './json.ts'
import { hashText } from './prefix.ts'
import type { Prompt } from './prompt.ts'

/** What a parsed body asks for besides its text; fields of an odd type count as not sent. */
export function readRequest(api: Api, body: JsonObject, prompt: Prompt): RequestShape {
  const maxTokens = wholeIn(body.max_completion_tokens, 0) ?? wholeIn(body.max_tokens, 0) ?? wholeIn(body.max_output_tokens, 0)
  const temperature = numberIn(body.temperature)
  return {
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(temperature === undefined ? {} : { temperature }),
    answers: (wholeIn(body.n, 1) ?? 1) * prompt.prompts,
    stops: stopsIn(body.stop ?? body.stop_sequences),
    tools: listIn(body.tools).length + listIn(body.functions).length,
    turns: prompt.turns,
    ...formatIn(api, body),
    ...effortIn(body),
    wantsStreamUsage: objectIn(body.stream_options)?.include_usage === true,
    systemHash: hashText(prompt.system),
  }
}

function stopsIn(stop: unknown): number {
  return typeof stop === 'string' ? 1 : listIn(stop).length
}

/** vLLM's own ways to ask for a grammar, from before `response_format` and beside it. */
const GUIDED_FIELDS = ['guided_json', 'guided_regex', 'guided_choice', 'guided_grammar', 'structured_outputs'] as const

function formatIn(api: Api, body: JsonObject): Pick<RequestShape, 'responseFormat' | 'schemaBytes'> {
  const asked = objectIn(
    api === 'openai-responses' ? objectIn(body.text)?.format : api === 'anthropic-messages' ? anthropicFormat(body) : body.response_format,
  )
  if (asked?.type === 'json_object') return { responseFormat: 'json' }
  if (asked && ['json_schema', 'structural_tag', 'grammar'].includes(String(asked.type)))
    return { responseFormat: 'schema', schemaBytes: JSON.stringify(asked).length }
  const guided = GUIDED_FIELDS.map((name) => body[name]).find((value) => value !== undefined && value !== null)
  return guided === undefined ? { responseFormat: 'text' } : { responseFormat: 'schema', schemaBytes: JSON.stringify(guided).length }
}

const EFFORTS = ['none', 'minimal', 'low', 'medium', 'high']
/** Thinking budgets of Anthropic's API, tokens, at which the next effort begins. */
const EFFORT_BUDGETS = [1, 1_024, 4_096, 16_384]

function effortIn(body: JsonObject): Pick<RequestShape, 'reasoningEffort'> {
  const named = textIn(body.reasoning_effort) ?? textIn(objectIn(body.reasoning)?.effort)
  if (named !== undefined) return { reasoningEffort: EFFORTS.includes(named) ? EFFORTS.indexOf(named) : EFFORTS.length - 1 }
  const budget = numberIn(objectIn(body.thinking)?.budget_tokens)
  return budget === undefined ? {} : { reasoningEffort: EFFORT_BUDGETS.filter((from) => budget >= from).length }
}

function anthropicFormat(body: JsonObject): unknown {
  return objectIn(body.output_config)?.format ?? body.output_format
}
