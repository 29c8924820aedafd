import { StringDecoder } from 'node:string_decoder'

interface Chunk {
  readonly error?: unknown
  readonly usage?: { readonly completion_tokens?: number } | null
  readonly choices?: readonly {
    readonly finish_reason?: string | null
    readonly text?: string
    readonly delta?: { readonly content?: string | null; readonly tool_calls?: readonly unknown[] }
  }[]
}

/**
 * The sender's own reading of an OpenAI stream, apart from the router's: a replay must not be judged by the meter it judges. Events may
 * be split anywhere.
 */
export class SseMeter {
  readonly #decoder = new StringDecoder('utf8')
  readonly #keepText: boolean
  #rest = ''
  #counted = 0
  #usageTokens: number | undefined
  #firstMs: number | undefined
  #lastMs = 0
  #done = false
  #failure: string | undefined
  text = ''

  constructor(options: { readonly keepText: boolean }) {
    this.#keepText = options.keepText
  }

  /** Time of the first token, undefined before it. */
  get firstMs(): number | undefined {
    return this.#firstMs
  }

  get outputTokens(): number {
    return this.#usageTokens ?? this.#counted
  }

  get tpotMs(): number | undefined {
    if (this.#firstMs === undefined || this.outputTokens < 2) return undefined
    return (this.#lastMs - this.#firstMs) / (this.outputTokens - 1)
  }

  push(bytes: Buffer, nowMs: number): void {
    const lines = (this.#rest + this.#decoder.write(bytes)).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) if (line.startsWith('data:')) this.#event(line.slice(5).trim(), nowMs)
  }

  /** What was wrong with the stream once it has ended; undefined when it was whole. */
  failure(): string | undefined {
    return this.#failure ?? (this.#done ? undefined : 'no [DONE]')
  }

  #event(data: string, nowMs: number): void {
    if (data === '[DONE]') {
      this.#done = true
      return
    }
    const chunk = parseChunk(data)
    if (chunk === undefined) this.#failure ??= 'no JSON'
    else if (chunk.error) this.#failure ??= 'engine error'
    else this.#read(chunk, nowMs)
  }

  #read(chunk: Chunk, nowMs: number): void {
    this.#usageTokens = chunk.usage?.completion_tokens ?? this.#usageTokens
    for (const choice of chunk.choices ?? []) {
      if (choice.finish_reason === 'abort') this.#failure ??= 'finish abort'
      const text = choice.delta?.content ?? choice.text ?? ''
      if (text === '' && !choice.delta?.tool_calls) continue
      this.#counted++
      this.#firstMs ??= nowMs
      this.#lastMs = nowMs
      if (this.#keepText) this.text += text
    }
  }
}

function parseChunk(data: string): Chunk | undefined {
  try {
    return JSON.parse(data) as Chunk
  } catch (cause) {
    if (cause instanceof SyntaxError) return undefined
    throw cause
  }
}
