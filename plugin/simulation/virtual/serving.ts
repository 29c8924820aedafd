import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '../../clock.ts'
import type { Engine, Submitted } from '../engine.ts'
import { blockHashesOf, countTokens } from '../tokens.ts'
import { type Answer, planAnswer } from './answer.ts'
import { renderMessages } from './anthropic-messages.ts'
import { type Behaviour, behaviourOfCall } from './behaviour.ts'
import { BadBody, type Demand, parseDemand, type VirtualApi } from './demand.ts'
import { renderEmbeddings } from './embeddings.ts'
import { readJson, refuse } from './exchange.ts'
import type { EngineLoop } from './loop.ts'
import type { FinishedReason, ServerCounters } from './metrics.ts'
import { OpenCall } from './open-call.ts'
import { renderChat } from './openai-chat.ts'
import { renderCompletions } from './openai-completions.ts'
import { renderResponses } from './openai-responses.ts'
import type { Renderer, Reply } from './renderer.ts'

const RENDERERS: Readonly<Record<VirtualApi, (reply: Reply) => Renderer>> = {
  chat: renderChat,
  completions: renderCompletions,
  responses: renderResponses,
  messages: renderMessages,
  embeddings: renderEmbeddings,
}

export interface ServingParts {
  readonly engine: Engine
  readonly loop: EngineLoop
  readonly clock: Clock
  readonly counters: ServerCounters
  readonly models: readonly string[]
  /** Start of every id, so that two instances never give the same. */
  readonly idPrefix: string
  /** What the instance as a whole does now. */
  readonly behaviour: () => Behaviour
}

/** One sequence that the engine has to compute for a call. */
interface Planned {
  readonly answer: Answer
  readonly promptTokens: number
  readonly blockHashes: Float64Array
}

/** Takes calls, has them computed by the engine loop and keeps the list of those under way. */
export class Serving {
  readonly #parts: ServingParts
  readonly #open = new Set<OpenCall>()
  #calls = 0
  #sequences = 0

  constructor(parts: ServingParts) {
    this.#parts = parts
  }

  /** Answers one request of an API path. */
  async serve(api: VirtualApi, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const arrivedMs = this.#parts.clock.nowMs()
    const raw = await readJson(request)
    if (raw === undefined) {
      refuse(response, api, { status: 400, message: 'the body is not JSON' })
      return
    }
    try {
      const demand = parseDemand(api, raw)
      const own = behaviourOfCall(oneHeader(request, 'x-virtual-behaviour'), oneHeader(request, 'x-virtual-after-tokens'))
      this.#accept({ demand, request, response, behaviour: own ?? this.#parts.behaviour(), hangs: own?.mode === 'hung', arrivedMs })
    } catch (cause) {
      if (!(cause instanceof BadBody)) throw cause
      refuse(response, api, { status: 400, message: cause.message, field: cause.field })
    }
  }

  /** The engine died: every open call is told so. */
  breakAll(message: string): void {
    for (const call of [...this.#open]) call.break(message)
  }

  /** Open calls never hear anything again. */
  silenceAll(): void {
    for (const call of this.#open) call.fallSilent()
  }

  #accept(call: Arrived): void {
    const { demand, response, behaviour } = call
    if (!this.#parts.models.includes(demand.model)) {
      refuse(response, demand.api, { status: 404, message: `The model \`${demand.model}\` does not exist.`, field: 'model' })
      return
    }
    switch (behaviour.mode) {
      case 'queue-full':
        refuse(response, demand.api, { status: 503, message: 'The server is overloaded: the queue is full.' })
        return
      case 'status-500':
        refuse(response, demand.api, { status: 500, message: 'Internal server error' })
        return
      case 'reset':
        response.socket?.resetAndDestroy()
        return
      case 'draining-abort': {
        const answers = demand.prompts.flatMap(() =>
          Array.from({ length: demand.answers }, () => ({ pieces: [''], finish: 'abort' as const })),
        )
        this.#track(call, answers, { sequenceIds: [], promptTokens: 0 }).finishAtOnce()
        return
      }
      default:
        this.#compute(call)
    }
  }

  #compute(call: Arrived): void {
    const planned = this.#plan(call)
    const sequenceIds: number[] = []
    let open: OpenCall | undefined
    let submitted: Submitted = 'queued'
    const computed = call.hangs ? [] : planned
    for (const [index, { answer, promptTokens, blockHashes }] of computed.entries()) {
      const id = ++this.#sequences
      submitted = this.#parts.loop.submit({ id, promptTokens, outputTokens: answer.pieces.length, blockHashes }, (emission) =>
        open?.token(index, emission),
      )
      if (submitted !== 'queued') break
      sequenceIds.push(id)
    }
    if (submitted !== 'queued') {
      for (const id of sequenceIds) this.#parts.loop.abort(id)
      this.#refuseSubmit(call, submitted)
      return
    }
    // The prompt of n answers is counted once, as in vLLM.
    const promptTokens = planned.reduce((sum, p, i) => sum + (i % call.demand.answers === 0 ? p.promptTokens : 0), 0)
    open = this.#track(
      call,
      planned.map((p) => p.answer),
      { sequenceIds, promptTokens },
    )
  }

  #plan({ demand, request }: Arrived): Planned[] {
    const header = oneHeader(request, 'x-virtual-output-tokens')
    const wantedTokens = header === undefined ? undefined : Number(header)
    if (wantedTokens !== undefined && !(Number.isInteger(wantedTokens) && wantedTokens > 0)) {
      throw new BadBody(`x-virtual-output-tokens must be a positive integer, got ${header}`)
    }
    return demand.prompts.flatMap((prompt) => {
      const promptTokens = countTokens(prompt)
      const blockHashes = blockHashesOf(prompt)
      const roomTokens = Math.max(1, this.#parts.engine.maxContextTokens - promptTokens)
      return Array.from({ length: demand.answers }, (_, index) => {
        if (demand.api === 'embeddings') return { answer: { pieces: [''], finish: 'stop' as const }, promptTokens, blockHashes }
        const limits = { roomTokens, ...(wantedTokens === undefined ? {} : { wantedTokens }) }
        return { answer: planAnswer(demand, prompt, index, limits), promptTokens, blockHashes }
      })
    })
  }

  #refuseSubmit({ demand, response }: Arrived, submitted: 'full' | 'too long'): void {
    if (submitted === 'full') {
      refuse(response, demand.api, { status: 503, message: 'The server is overloaded: the queue is full.' })
      return
    }
    const limit = this.#parts.engine.maxContextTokens
    refuse(response, demand.api, { status: 400, message: `This model's maximum context length is ${limit} tokens; the prompt is longer.` })
  }

  #track(
    call: Arrived,
    answers: readonly Answer[],
    booked: { readonly sequenceIds: readonly number[]; readonly promptTokens: number },
  ): OpenCall {
    const { clock, counters, loop } = this.#parts
    const { demand, response, behaviour, arrivedMs } = call
    const id = `${this.#parts.idPrefix}${(++this.#calls).toString(16).padStart(8, '0')}`
    const reply: Reply = { id, createdUnixS: Math.floor(clock.nowUnixMs() / 1000), demand, answers }
    const onEnd = (reason: FinishedReason): void => {
      this.#open.delete(open)
      for (const sequenceId of booked.sequenceIds) loop.abort(sequenceId)
      counters.finished[reason]++
      if (reason === 'abort' || reason === 'error') return
      counters.e2eCount++
      counters.e2eSeconds += (clock.nowMs() - arrivedMs) / 1000
    }
    const onFirstToken = (): void => {
      counters.ttftCount++
      counters.ttftSeconds += (clock.nowMs() - arrivedMs) / 1000
    }
    const renderer = RENDERERS[demand.api](reply)
    const open = new OpenCall({ response, demand, answers, renderer, behaviour, promptTokens: booked.promptTokens, onEnd, onFirstToken })
    this.#open.add(open)
    return open
  }
}

/** A request that was read and understood. */
interface Arrived {
  readonly demand: Demand
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly behaviour: Behaviour
  /** This call alone is never computed. */
  readonly hangs: boolean
  readonly arrivedMs: number
}

function oneHeader(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name]
  return Array.isArray(value) ? value[0] : value
}
