import type { Answer } from './answer.ts'
import type { Demand } from './demand.ts'

/** What an API's renderer knows of the call it renders. */
export interface Reply {
  /** Without the API's prefix. */
  readonly id: string
  readonly createdUnixS: number
  readonly demand: Demand
  readonly answers: readonly Answer[]
}

export interface Usage {
  readonly promptTokens: number
  readonly outputTokens: number
  readonly cachedTokens: number
}

/** Turns answers into one API's bytes: as events of a stream, piece by piece, or as one body. */
export interface Renderer {
  /** Events before the first piece of any answer. */
  open(usage: Usage): string
  /** Events for piece `index` of answer `answer`, with whatever must come before the first and after the last one. */
  piece(at: { readonly answer: number; readonly index: number }): string
  /** Events after all answers. */
  close(usage: Usage): string
  /** The whole body, not streamed. */
  whole(usage: Usage): unknown
  /** Events of a stream that breaks because the engine died. */
  broken(message: string): string
}

/** One server-sent event without a name, as OpenAI's APIs send them. */
export function dataEvent(json: string): string {
  return `data: ${json}\n\n`
}

/** One named server-sent event. */
export function namedEvent(name: string, payload: unknown): string {
  return `event: ${name}\ndata: ${JSON.stringify(payload)}\n\n`
}

/** An error as vLLM words it. */
export function vllmError(error: {
  readonly status: number
  readonly type: string
  readonly message: string
  readonly field?: string | null
}): unknown {
  return { error: { message: error.message, type: error.type, param: error.field ?? null, code: error.status } }
}

/** vLLM's own end of a stream whose engine died: an error event, then [DONE], under HTTP 200. */
export function brokenOpenai(message: string): string {
  return `${dataEvent(JSON.stringify(vllmError({ status: 500, type: 'InternalServerError', message })))}data: [DONE]\n\n`
}
