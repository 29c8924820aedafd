import { connect } from 'node:net'

/**
 * A closed-loop load generator on raw sockets: each connection sends the next request when its answer is complete. Told what to do over IPC, so
 * that one warm process serves the whole benchmark. It must cost little beside what it measures: no HTTP library, one search per answer.
 */
export interface LoadOrder {
  readonly port: number
  readonly connections: number
  readonly forMs: number
  /** The request's bytes, latin1. */
  readonly request: string
}

export interface LoadReport {
  readonly calls: number
  readonly failed: number
  readonly elapsedMs: number
  readonly p50Ms: number
  readonly p99Ms: number
}

/** How long the answer at the front of `text` is; 0 while it is not complete, -1 where it is no success. */
function answerLength(text: string): number {
  const end = text.indexOf('\r\n\r\n')
  if (end < 0) return 0
  if (!text.startsWith('HTTP/1.1 200')) return -1
  const head = text.slice(0, end).toLowerCase()
  const at = head.indexOf('content-length:')
  if (at >= 0) {
    const length = end + 4 + Number.parseInt(head.slice(at + 15), 10)
    return text.length >= length ? length : 0
  }
  const last = text.indexOf('\r\n0\r\n\r\n', end)
  return last < 0 ? 0 : last + 7
}

function run(order: LoadOrder): Promise<LoadReport> {
  const request = Buffer.from(order.request, 'latin1')
  const times: number[] = []
  let failed = 0
  const startedMs = performance.now()
  const endMs = startedMs + order.forMs
  const one = (): Promise<void> =>
    new Promise((done) => {
      const socket = connect({ port: order.port, host: '127.0.0.1', noDelay: true })
      let text = ''
      let sentMs = 0
      const send = (): void => {
        sentMs = performance.now()
        if (sentMs < endMs) socket.write(request)
        else socket.end()
      }
      socket.on('connect', send)
      socket.on('close', () => done())
      socket.on('error', () => {
        failed++
      })
      socket.on('data', (chunk) => {
        text = text === '' ? chunk.toString('latin1') : text + chunk.toString('latin1')
        const length = answerLength(text)
        if (length === 0) return
        if (length < 0) {
          failed++
          socket.destroy()
          return
        }
        text = text.slice(length)
        times.push(performance.now() - sentMs)
        send()
      })
    })
  return Promise.all(Array.from({ length: order.connections }, one)).then(() => {
    const elapsedMs = performance.now() - startedMs
    const sorted = Float64Array.from(times).sort()
    const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
    return { calls: times.length, failed, elapsedMs, p50Ms: at(0.5), p99Ms: at(0.99) }
  })
}

process.on('message', (order: LoadOrder) => {
  void run(order).then((report) => process.send?.(report))
})
process.on('disconnect', () => process.exit(0))
console.log('ready')
