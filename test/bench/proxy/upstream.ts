import { createServer } from 'node:net'

/**
 * An instance that costs almost nothing: bytes in, constant bytes out, no HTTP library. Listens on as many ports as the first argument says
 * and prints them. GET is answered with a few lines of metrics, as the scraper wants them.
 */
const answer = JSON.stringify({
  id: 'chatcmpl-bench',
  object: 'chat.completion',
  created: 1_700_000_000,
  model: 'm',
  choices: [{ index: 0, message: { role: 'assistant', content: 'The capital of France is Paris.' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 24, completion_tokens: 8, total_tokens: 32 },
})
const metrics = 'vllm:num_requests_running 0\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0\nvllm:generation_tokens_total 1\n'
const reply = (type: string, body: string): Buffer =>
  Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
const ANSWER = reply('application/json', answer)
const METRICS = reply('text/plain', metrics)

const open = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer({ noDelay: true }, (socket) => {
      let rest = ''
      socket.on('error', () => socket.destroy())
      socket.on('data', (chunk) => {
        rest += chunk.toString('latin1')
        for (let end = rest.indexOf('\r\n\r\n'); end >= 0; end = rest.indexOf('\r\n\r\n')) {
          const length = Number(/content-length: *(\d+)/i.exec(rest.slice(0, end))?.[1] ?? 0)
          if (rest.length < end + 4 + length) return
          socket.write(rest.startsWith('GET') ? METRICS : ANSWER)
          rest = rest.slice(end + 4 + length)
        }
      })
    })
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
  })

const ports = await Promise.all(Array.from({ length: Number(process.argv[2] ?? 1) }, open))
console.log(`ports ${ports.join(',')}`)
