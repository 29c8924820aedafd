import type { Api, RequestShape } from './call.ts'
import { type JsonObject, listIn, numberIn, objectIn, wholeIn } from './json.ts'
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
    responseFormat: formatIn(api, body),
    wantsStreamUsage: objectIn(body.stream_options)?.include_usage === true,
    systemHash: hashText(prompt.system),
  }
}

function stopsIn(stop: unknown): number {
  return typeof stop === 'string' ? 1 : listIn(stop).length
}

/** vLLM's own ways to ask for a grammar, from before `response_format` and beside it. */
const GUIDED_FIELDS = ['guided_json', 'guided_regex', 'guided_choice', 'guided_grammar', 'structured_outputs'] as const

function formatIn(api: Api, body: JsonObject): RequestShape['responseFormat'] {
  const asked =
    api === 'openai-responses' ? objectIn(body.text)?.format : api === 'anthropic-messages' ? anthropicFormat(body) : body.response_format
  const type = objectIn(asked)?.type
  if (type === 'json_object') return 'json'
  if (type === 'json_schema' || type === 'structural_tag' || type === 'grammar') return 'schema'
  return GUIDED_FIELDS.some((name) => body[name] !== undefined && body[name] !== null) ? 'schema' : 'text'
}

function anthropicFormat(body: JsonObject): unknown {
  return objectIn(body.output_config)?.format ?? body.output_format
}
