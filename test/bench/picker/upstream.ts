import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * An instance that answers everything at once with the same bytes, over node:http since Envoy sends bodies in chunks. Listens on as many ports
 * as the first argument says and prints them; GET is answered with a few lines of metrics, as the scraper wants them.
 */
const ANSWER = JSON.stringify({
  id: 'chatcmpl-bench',
  object: 'chat.completion',
  created: 1_700_000_000,
  model: 'm',
  choices: [{ index: 0, message: { role: 'assistant', content: 'The capital of France is Paris.' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 24, completion_tokens: 8, total_tokens: 32 },
})
const METRICS = 'vllm:num_requests_running 0\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0\nvllm:generation_tokens_total 1\n'

function answer(response: ServerResponse, type: string, body: string): void {
  response.writeHead(200, { 'content-type': type, 'content-length': body.length })
  response.end(body)
}

const open = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
      request.resume()
      request.on('end', () =>
        request.method === 'GET' ? answer(response, 'text/plain', METRICS) : answer(response, 'application/json', ANSWER),
      )
    })
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })

const ports = await Promise.all(Array.from({ length: Number(process.argv[2] ?? 1) }, open))
console.log(`ports ${ports.join(',')}`)
