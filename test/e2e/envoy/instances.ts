import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What an instance was asked. */
export interface Asked {
  readonly instance: number
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly trailers: NodeJS.Dict<string>
  readonly body: Buffer
}

export type Answerer = (asked: Asked, response: ServerResponse) => void

/** Plain HTTP servers at 127.0.1.1, 127.0.1.2 … on one port, as pods stand side by side; each answers what the test says. */
export interface ScriptedInstances {
  readonly urls: readonly string[]
  readonly asked: Asked[]
  answer: Answerer
  close(): Promise<void>
}

/** A chat completion, with the number of the instance as its text. */
export const answerJson: Answerer = ({ instance }, response) => {
  const body = JSON.stringify({
    object: 'chat.completion',
    model: 'm',
    choices: [{ index: 0, message: { role: 'assistant', content: String(instance) }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 11, completion_tokens: 1, total_tokens: 12 },
  })
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), 'x-instance': instance })
  response.end(body)
}

export async function startInstances(count: number): Promise<ScriptedInstances> {
  const asked: Asked[] = []
  const servers: Server[] = []
  const all = { answer: answerJson as Answerer }
  let port = 0
  for (let i = 0; i < count; i++) {
    const server = createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const { method = '', url: path = '', headers, trailers } = request
        const one = { instance: i + 1, method, path, headers, trailers, body: Buffer.concat(chunks) }
        asked.push(one)
        all.answer(one, response)
      })
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, `127.0.1.${i + 1}`, resolve)
    })
    port = (server.address() as AddressInfo).port
    servers.push(server)
  }
  return {
    urls: servers.map((_, i) => `http://127.0.1.${i + 1}:${port}`),
    asked,
    get answer() {
      return all.answer
    },
    set answer(next) {
      all.answer = next
    },
    async close() {
      for (const server of servers) server.closeAllConnections()
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
    },
  }
}
