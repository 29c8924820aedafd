import { connect, type Socket } from 'node:net'

/**
 * Closed-loop callers of the placement API on raw sockets: place, report, place … A process of its own, told what to do over IPC; it must cost
 * little beside what it measures.
 */
export interface PlaceOrder {
  readonly port: number
  readonly connections: number
  readonly forMs: number
  /** Outcomes per report: 1 by the placement's own address, more by /v1/outcomes. */
  readonly batch: number
}

export interface PlaceReport {
  /** Placements asked for and reported. */
  readonly pairs: number
  readonly failed: number
  readonly elapsedMs: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly reportP99Ms: number
}

const BODY = JSON.stringify({
  body: {
    model: 'm',
    stream: true,
    max_tokens: 64,
    messages: [
      { role: 'system', content: 'You are a helpful assistant that answers questions briefly and to the point.' },
      { role: 'user', content: 'What is the capital of France, and how many people live there today, roughly?' },
    ],
  },
})
const OUTCOME = { kind: 'completed', status: 200, ttftMs: 50, e2eMs: 900, promptTokens: 40, outputTokens: 60, finishReason: 'stop' }

interface Tally {
  readonly placedMs: number[]
  readonly reportedMs: number[]
  pairs: number
  failed: number
}

const request = (path: string, body: string): string =>
  `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`

/** One caller until the time is over. */
async function call(order: PlaceOrder, endMs: number, tally: Tally): Promise<void> {
  const wire = openWire(order.port)
  const place = request('/v1/placements', BODY)
  const waiting: string[] = []
  while (performance.now() < endMs) {
    const id = /"placementId":"(\w+)"/.exec(await timed(wire, place, tally.placedMs))?.[1]
    if (id === undefined) tally.failed++
    else waiting.push(id)
    if (waiting.length >= order.batch) await report(wire, waiting.splice(0), tally)
  }
  if (waiting.length > 0) await report(wire, waiting, tally)
  wire.socket.end()
}

async function report(wire: Wire, ids: readonly string[], tally: Tally): Promise<void> {
  const [first] = ids
  const text =
    ids.length === 1
      ? request(`/v1/placements/${first}/outcome`, JSON.stringify(OUTCOME))
      : request('/v1/outcomes', JSON.stringify({ outcomes: ids.map((placementId) => ({ placementId, ...OUTCOME })) }))
  const answer = await timed(wire, text, tally.reportedMs)
  const settled = answer.split('"state":"settled"').length - 1
  tally.pairs += settled
  tally.failed += ids.length - settled
}

interface Wire {
  readonly socket: Socket
  ask(text: string): Promise<string>
}

function openWire(port: number): Wire {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  let text = ''
  let answer = (_body: string): void => undefined
  socket.on('error', () => answer(''))
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
    const end = text.indexOf('\r\n\r\n')
    if (end < 0) return
    const length = Number(/content-length: (\d+)/i.exec(text.slice(0, end))?.[1] ?? 0)
    if (text.length < end + 4 + length) return
    const body = text.slice(end + 4)
    text = ''
    answer(body)
  })
  return {
    socket,
    ask: (request) =>
      new Promise((resolve) => {
        answer = resolve
        socket.write(request)
      }),
  }
}

async function timed(wire: Wire, text: string, times: number[]): Promise<string> {
  const sentMs = performance.now()
  const answer = await wire.ask(text)
  times.push(performance.now() - sentMs)
  return answer
}

async function run(order: PlaceOrder): Promise<PlaceReport> {
  const tally: Tally = { placedMs: [], reportedMs: [], pairs: 0, failed: 0 }
  const startedMs = performance.now()
  await Promise.all(Array.from({ length: order.connections }, () => call(order, startedMs + order.forMs, tally)))
  const elapsedMs = performance.now() - startedMs
  const at = (times: readonly number[], share: number): number => {
    const sorted = Float64Array.from(times).sort()
    return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
  }
  const { pairs, failed, placedMs, reportedMs } = tally
  return { pairs, failed, elapsedMs, p50Ms: at(placedMs, 0.5), p99Ms: at(placedMs, 0.99), reportP99Ms: at(reportedMs, 0.99) }
}

process.on('message', (order: PlaceOrder) => {
  void run(order).then((report) => process.send?.(report))
})
process.on('disconnect', () => process.exit(0))
console.log('ready')
