import type { Attributes } from '@opentelemetry/api'
import type { Api, Call } from '../call/call.ts'
import type { InstanceView } from '../fleet/instance.ts'
import type { Outcome } from '../outcome/outcome.ts'

/** Our words in OpenTelemetry's: the GenAI attributes that spans and metrics share. */
const OPERATION: Readonly<Record<Api, string>> = {
  'openai-chat': 'chat',
  'openai-responses': 'chat',
  'anthropic-messages': 'chat',
  'openai-completions': 'text_completion',
  'openai-embeddings': 'embeddings',
}

/** gen_ai.operation.name of an API. */
export const operationOf = (api: Api): string => OPERATION[api]

/**
 * error.type: undefined for a completed call, else a short word: the HTTP status ('503'), 'timeout', 'client_gone', or the
 * outcome's cause in snake_case ('connect', 'engine_error'); '_OTHER' where none was told.
 */
export function errorTypeOf(outcome: Pick<Outcome, 'kind' | 'error'>): string | undefined {
  if (outcome.kind === 'completed') return undefined
  if (outcome.kind === 'timed out') return 'timeout'
  if (outcome.kind === 'client gone') return 'client_gone'
  return outcome.error?.replace(/^status (?=\d)/, '').replace(/\W+/g, '_') || '_OTHER'
}

/** server.address and server.port of an instance; the scheme's own port where the address names none. */
export function serverAttributes(instance: Pick<InstanceView, 'url'>): Attributes {
  const { hostname, port, protocol } = new URL(instance.url)
  return { 'server.address': hostname, 'server.port': Number(port || (protocol === 'https:' ? 443 : 80)) }
}

export interface CallNames {
  readonly call: Pick<Call, 'api' | 'model'>
  /** What answers, e.g. the pool's engine: 'vllm', 'sglang'. */
  readonly provider: string
}

/** What every GenAI span and metric starts with. */
export function genAiAttributes({ call, provider }: CallNames): Attributes {
  return { 'gen_ai.operation.name': operationOf(call.api), 'gen_ai.provider.name': provider, 'gen_ai.request.model': call.model }
}
