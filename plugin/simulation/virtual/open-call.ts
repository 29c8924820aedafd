import type { ServerResponse } from 'node:http'
import type { Emission } from '../engine.ts'
import type { Answer } from './answer.ts'
import type { Behaviour } from './behaviour.ts'
import type { Demand } from './demand.ts'
import type { FinishedReason } from './metrics.ts'
import { type Renderer, type Usage, vllmError } from './renderer.ts'

export interface OpenCallParts {
  readonly response: ServerResponse
  readonly demand: Demand
  readonly answers: readonly Answer[]
  readonly renderer: Renderer
  readonly behaviour: Behaviour
  readonly promptTokens: number
  /** Told once, when the call is over, however it ended. */
  readonly onEnd: (reason: FinishedReason) => void
  readonly onFirstToken: () => void
}

/** One call whose answer is under way. It ends exactly once: finished, broken by its behaviour, or left by its caller. */
export class OpenCall {
  readonly #parts: OpenCallParts
  /** Pieces sent so far, per answer. */
  readonly #indexes: number[] = []
  #sentTokens = 0
  #cachedTokens = 0
  #answersLeft: number
  #ended = false
  #silent = false

  constructor(parts: OpenCallParts) {
    this.#parts = parts
    this.#answersLeft = parts.answers.length
    if (parts.demand.stream) {
      // As behind vLLM's web server, the status line goes out when the call is accepted, long before the first token.
      parts.response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' })
      parts.response.flushHeaders()
    }
    parts.response.once('close', () => this.#end('abort'))
  }

  /** Nothing more is sent, and the call never ends by itself. */
  fallSilent(): void {
    this.#silent = true
  }

  /** The next token of answer `answer`. */
  token(answer: number, emission: Emission): void {
    if (this.#ended || this.#silent) return
    const { demand, renderer, response, behaviour } = this.#parts
    if (this.#sentTokens === 0) this.#parts.onFirstToken()
    if (emission.first && answer === 0) this.#cachedTokens = emission.cachedTokens
    const index = this.#indexes[answer] ?? 0
    this.#indexes[answer] = index + 1
    if (demand.stream) {
      const opening = this.#sentTokens === 0 ? renderer.open(this.#usage()) : ''
      response.write(opening + renderer.piece({ answer, index }))
    }
    this.#sentTokens += emission.tokens
    if (emission.finished && --this.#answersLeft === 0) this.#finish()
    else if (this.#sentTokens >= behaviour.afterTokens) this.#misbehave(behaviour)
  }

  /** Sends everything at once, without an engine. */
  finishAtOnce(): void {
    const { answers, demand, renderer, response } = this.#parts
    if (demand.stream)
      response.write(renderer.open(this.#usage()) + answers.map((_, answer) => renderer.piece({ answer, index: 0 })).join(''))
    this.#finish()
  }

  /** The engine under it died. */
  break(message: string): void {
    if (this.#ended) return
    const { demand, renderer, response } = this.#parts
    this.#end('error')
    if (demand.stream) {
      response.end(renderer.broken(message))
      return
    }
    response.writeHead(500, { 'content-type': 'application/json' })
    response.end(JSON.stringify(vllmError({ status: 500, type: 'InternalServerError', message })))
  }

  #misbehave({ mode }: Behaviour): void {
    if (mode === 'engine-killed') this.break('EngineCore encountered an issue. See stack trace (above) for the root cause.')
    else if (mode === 'cut') {
      this.#end('error')
      this.#parts.response.socket?.resetAndDestroy()
    } else if (mode === 'silent') this.fallSilent()
  }

  #finish(): void {
    const { answers, demand, renderer, response } = this.#parts
    this.#end(endReason(answers[0] as Answer))
    if (demand.stream) {
      response.end(renderer.close(this.#usage()))
      return
    }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(renderer.whole(this.#usage())))
  }

  #usage(): Usage {
    return { promptTokens: this.#parts.promptTokens, outputTokens: this.#sentTokens, cachedTokens: this.#cachedTokens }
  }

  #end(reason: FinishedReason): void {
    if (this.#ended) return
    this.#ended = true
    this.#parts.onEnd(reason)
  }
}

function endReason(answer: Answer): FinishedReason {
  return answer.finish === 'tool' ? 'stop' : answer.finish
}
