import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface ConstantUpstreamOptions {
  readonly port?: number
  readonly host?: string
  readonly model: string
  /** From the end of the request to the first byte of the answer, real ms; 0, the default, answers at once. */
  readonly delayMs?: number
  /** Answer as a stream of so many chunks; undefined answers with one body. */
  readonly streamChunks?: number
}

export interface ConstantUpstream {
  readonly url: string
  readonly port: number
  /** Calls answered so far. */
  calls(): number
  close(): Promise<void>
}

/**
 * A model server without a model: the same bytes for every call, after a fixed time. For benchmarks of what stands in front of it,
 * where an engine's own time would hide what is measured. Also answers /v1/models, /health and an empty /metrics.
 */
export async function startConstantUpstream(options: ConstantUpstreamOptions): Promise<ConstantUpstream> {
  const { host = '127.0.0.1', delayMs = 0, streamChunks } = options
  const answer = streamChunks === undefined ? wholeAnswer(options.model) : streamAnswer(options.model, streamChunks)
  const models = Buffer.from(
    JSON.stringify({ object: 'list', data: [{ id: options.model, object: 'model', created: 0, owned_by: 'constant' }] }),
  )
  let calls = 0
  const server = createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
    request.resume()
    if (request.method !== 'POST') {
      const isModels = request.url === '/v1/models'
      response.writeHead(200, { 'content-type': isModels ? 'application/json' : 'text/plain' }).end(isModels ? models : '')
      return
    }
    request.once('end', () => {
      calls++
      if (delayMs > 0) setTimeout(answer, delayMs, response)
      else answer(response)
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, host, resolve)
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://${host}:${port}`,
    port,
    calls: () => calls,
    close: () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      return closed
    },
  }
}

type Answer = (response: ServerResponse) => void

function wholeAnswer(model: string): Answer {
  const body = Buffer.from(
    JSON.stringify({
      id: 'chatcmpl-constant',
      object: 'chat.completion',
      created: 0,
      model,
      choices: [
        { index: 0, message: { role: 'assistant', content: 'The answer is always the same.' }, logprobs: null, finish_reason: 'stop' },
      ],
      usage: { prompt_tokens: 12, completion_tokens: 7, total_tokens: 19 },
    }),
  )
  const headers = { 'content-type': 'application/json', 'content-length': body.length }
  return (response) => {
    response.writeHead(200, headers).end(body)
  }
}

function streamAnswer(model: string, chunks: number): Answer {
  const event = (delta: object, finish: string | null): string =>
    `data: ${JSON.stringify({ id: 'chatcmpl-constant', object: 'chat.completion.chunk', created: 0, model, choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }] })}\n\n`
  const first = event({ role: 'assistant', content: '' }, null)
  const middle = Buffer.from(event({ content: ' same' }, null))
  const last = Buffer.from(`${event({}, 'stop')}data: [DONE]\n\n`)
  return (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
    response.write(first)
    for (let i = 0; i < chunks; i++) response.write(middle)
    response.end(last)
  }
}
