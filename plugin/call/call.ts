/** What arrives: one inference request as placement sees it. No prompt text is in here, only counts and hashes. */

/** The API a caller speaks; it also decides the shape of errors. */
export type Api = 'openai-chat' | 'openai-completions' | 'openai-responses' | 'openai-embeddings' | 'anthropic-messages'

export interface Call {
  /** Unique and ordered by arrival (see `id.ts`): a safe integer that carries the arrival time. */
  readonly callId: number
  readonly arrivedUnixMs: number
  readonly api: Api
  /** The model name as the caller wrote it. */
  readonly model: string
  readonly stream: boolean
  /** Bytes of the prompt's raw JSON as sent (`messages`, `prompt` or `input`, plus `system` for Anthropic). */
  readonly promptBytes: number
  /** What kind of characters the prompt is made of, for the token estimate; absent where the door saw no text. */
  readonly promptText?: TextCounts
  /** Prompt tokens where the caller sent token ids (exact); otherwise undefined and the pool's bytes-per-token estimate serves. */
  readonly promptTokensExact?: number
  readonly request: RequestShape
  readonly caller: Caller
  /** Chained 64-bit hashes over blocks of 256 raw bytes of the prompt as sent; a longer conversation keeps its prefix. */
  readonly prefixBlocks: BigUint64Array
  /** Hashed word features of the last user message, 32-bit, at most 64; empty where switched off. Pseudonymous, not anonymous. */
  readonly textFeatures: Uint32Array
  /** What the length predictor read of the last user message: numbers about it, from which the text cannot be told; absent where nothing reads. */
  readonly reading?: Float32Array
}

/**
 * What the prompt's text is made of, in characters (UTF-16 units) or runs of them. Long prompts are sampled and scaled, so counts may
 * have fractions. Enough to estimate tokens, not enough to tell a word of the text.
 */
export interface TextCounts {
  /** Runs of letters. */
  readonly words: number
  /** Letters beyond the sixth of their run: long words are split by every tokeniser. */
  readonly longLetters: number
  readonly digits: number
  /** Runs of punctuation and symbols; an opening bracket or quote starts a run of its own. */
  readonly signRuns: number
  /** Punctuation and symbols beyond the first of their run. */
  readonly signsMore: number
  /** Runs of white space other than a single space. */
  readonly gaps: number
  /** Latin letters with accents. */
  readonly accents: number
  /** Letters of other alphabets: Greek, Cyrillic, Arabic, Devanagari. */
  readonly alphabets: number
  /** Characters of scripts without spaces, full-width forms and halves of emoji. */
  readonly wides: number
  /** Images, sounds and files among the prompt's parts. */
  readonly media: number
}

/** What the request asks for besides its text. Numbers the caller did not send are undefined, never 0. */
export interface RequestShape {
  readonly maxTokens?: number
  readonly temperature?: number
  /** Answers asked for per prompt (`n`), 1 when absent; prompts in one body (`prompt` or `input` arrays) multiply it. */
  readonly answers: number
  readonly stops: number
  readonly tools: number
  readonly turns: number
  /** 'text' unless the caller demands JSON or a schema. */
  readonly responseFormat: 'text' | 'json' | 'schema'
  /** Bytes of the JSON schema demanded, as JSON. */
  readonly schemaBytes?: number
  /** How much reasoning is asked for: 0 none, 1 minimal, 2 low, 3 medium, 4 high and above. */
  readonly reasoningEffort?: number
  /** The caller itself asked for the usage chunk at the end of the stream. */
  readonly wantsStreamUsage: boolean
  /** 32-bit hash of the system prompt, 0 when there is none. */
  readonly systemHash: number
}

/** Who calls. Names come from configured keys or headers; the key itself is never kept. */
export interface Caller {
  /** Application name: from the caller key's name or `x-phasewise-application`; 'unknown' otherwise. */
  readonly application: string
  /** Fairness group: `x-phasewise-tenant` or its alias; the application otherwise. */
  readonly tenant: string
  /** Higher goes first where an order is kept; 0 by default. */
  readonly priority: number
  /** Task hint (`x-phasewise-task`), the paper's "This is a … task". */
  readonly task?: string
  readonly sloTtftMs?: number
  readonly sloTpotMs?: number
}
