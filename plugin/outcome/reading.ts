import { type JsonObject, objectIn, textIn, wholeIn } from '../call/json.ts'
import type { OutcomeKind } from './outcome.ts'

/** What an answer has told so far; filled by the readers of streams and bodies, judged at the end. */
export interface Reading {
  promptTokens: number | undefined
  cachedPromptTokens: number | undefined
  /** As usage tells. */
  outputTokens: number | undefined
  /** Stream events that carried output. */
  chunks: number
  /** Answers whose end was told. */
  finished: number
  finishReason: string | undefined
  /** An answer was cut at its token limit. */
  lengthCut: boolean
  /** The stream's own end mark was seen. */
  done: boolean
  /** An error was told inside an answer of status 200. */
  failure: Failure | undefined
}

/** Whose failure it is: 'completed' means that the instance did its part and the caller's request was at fault. */
export interface Failure {
  readonly kind: Extract<OutcomeKind, 'completed' | 'instance error'>
  readonly error: string
}

/** A reading of nothing yet. */
export function emptyReading(): Reading {
  return {
    promptTokens: undefined,
    cachedPromptTokens: undefined,
    outputTokens: undefined,
    chunks: 0,
    finished: 0,
    finishReason: undefined,
    lengthCut: false,
    done: false,
    failure: undefined,
  }
}

/** Reasons that mean "cut at a limit" in the four APIs. */
const LENGTH_REASONS: ReadonlySet<string> = new Set(['length', 'max_tokens', 'max_output_tokens', 'model_context_window_exceeded'])

/** Takes in why one answer ended. vLLM ends calls it refuses while shutting down with "abort": an instance error under status 200. */
export function noteFinish(reading: Reading, reason: string): void {
  reading.finished++
  reading.finishReason = reason
  if (LENGTH_REASONS.has(reason)) reading.lengthCut = true
  if (reason === 'abort' || reason === 'cancelled') reading.failure ??= { kind: 'instance error', error: 'aborted' }
}

/** Takes in a usage object of any of the APIs; of the output the latest counts, of the prompt the largest. */
export function noteUsage(reading: Reading, usage: JsonObject): void {
  const prompt = wholeIn(usage.prompt_tokens, 0) ?? anthropicPrompt(usage)
  const details = objectIn(usage.prompt_tokens_details) ?? objectIn(usage.input_tokens_details)
  const cached = wholeIn(details?.cached_tokens, 0) ?? wholeIn(usage.cache_read_input_tokens, 0)
  // A stream's last usage may leave out the cached part that its first one told.
  if (prompt !== undefined) reading.promptTokens = Math.max(prompt, reading.promptTokens ?? 0)
  reading.cachedPromptTokens = cached ?? reading.cachedPromptTokens
  reading.outputTokens = wholeIn(usage.completion_tokens, 0) ?? wholeIn(usage.output_tokens, 0) ?? reading.outputTokens
}

/** Anthropic counts tokens read from and written to its cache apart from the rest; OpenAI's Responses has only `input_tokens`. */
function anthropicPrompt(usage: JsonObject): number | undefined {
  const rest = wholeIn(usage.input_tokens, 0)
  if (rest === undefined) return undefined
  return rest + (wholeIn(usage.cache_read_input_tokens, 0) ?? 0) + (wholeIn(usage.cache_creation_input_tokens, 0) ?? 0)
}

/** Takes in an error told inside an answer: vLLM's and OpenAI's `{code}`, Anthropic's `{type}`. */
export function noteError(reading: Reading, error: unknown): void {
  const told = objectIn(error)
  const code = wholeIn(told?.code, 400) ?? wholeIn(Number(textIn(told?.code)), 400)
  if (code !== undefined && isCallersStatus(code)) reading.failure ??= { kind: 'completed', error: `status ${code}` }
  else if (code === undefined && told?.type === 'invalid_request_error') reading.failure ??= { kind: 'completed', error: 'status 400' }
  else reading.failure ??= { kind: 'instance error', error: 'engine error' }
}

/**
 * How a status other than 2xx counts; undefined for 2xx. A 4xx is the caller's: the instance answered, so 'completed', with the
 * error named and the length censored. But not 401 and 403, which refuse the instance's own key and never the caller's (it is not forwarded), nor
 * 429, which says that the instance is full.
 */
export function failureOfStatus(status: number): Failure | undefined {
  if (status >= 200 && status < 300) return undefined
  return { kind: isCallersStatus(status) ? 'completed' : 'instance error', error: `status ${status}` }
}

function isCallersStatus(status: number): boolean {
  return status >= 400 && status < 500 && status !== 401 && status !== 403 && status !== 429
}
