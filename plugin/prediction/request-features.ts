import type { Call } from '../call/call.ts'

/** What the request asks for besides its text, as numbers; NaN is never among them: unknown is 0 with a flag of its own. */
interface Feature {
  readonly name: string
  readonly of: (call: Call, promptTokens: number) => number
}

const log = (value: number): number => Math.log1p(Math.max(0, value))
const flag = (name: string, of: (call: Call) => boolean): Feature => ({ name, of: (call) => (of(call) ? 1 : 0) })

/** What a temperature not sent is taken as: the default of the API. */
const USUAL_TEMPERATURE = 1

const FEATURES: readonly Feature[] = [
  { name: 'prompt tokens', of: (_, promptTokens) => log(promptTokens) },
  { name: 'turns', of: ({ request }) => log(request.turns) },
  flag('system prompt', ({ request }) => request.systemHash !== 0),
  flag('limit sent', ({ request }) => request.maxTokens !== undefined),
  { name: 'limit', of: ({ request }) => log(request.maxTokens ?? 0) },
  { name: 'stops', of: ({ request }) => Math.min(4, request.stops) },
  flag('json', ({ request }) => request.responseFormat === 'json'),
  flag('schema', ({ request }) => request.responseFormat === 'schema'),
  { name: 'schema bytes', of: ({ request }) => log(request.schemaBytes ?? 0) },
  { name: 'tools', of: ({ request }) => log(request.tools) },
  { name: 'answers', of: ({ request }) => log(request.answers - 1) },
  { name: 'temperature', of: ({ request }) => request.temperature ?? USUAL_TEMPERATURE },
  flag('stream', ({ stream }) => stream),
  flag('completion', ({ api }) => api === 'openai-completions'),
  flag('responses', ({ api }) => api === 'openai-responses'),
  flag('messages', ({ api }) => api === 'anthropic-messages'),
  flag('embeddings', ({ api }) => api === 'openai-embeddings'),
  { name: 'reasoning effort', of: ({ request }) => request.reasoningEffort ?? 0 },
  flag('media', ({ promptText }) => (promptText?.media ?? 0) > 0),
]

/** Names in order: part of a model's feature hash. */
export const REQUEST_FEATURES: readonly string[] = FEATURES.map((one) => one.name)

/** Writes the features of a call to `out` from `at`. */
export function writeRequestFeatures(call: Call, promptTokens: number, out: Float32Array, at: number): void {
  for (let i = 0; i < FEATURES.length; i++) out[at + i] = (FEATURES[i] as Feature).of(call, promptTokens)
}
