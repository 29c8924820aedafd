import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { systemClock } from '../../plugin/clock.ts'
import { ANSWER, answerStream, answerWhole, chat, EVENTS, endAll, errorIn, post, type Setup, startProxy, startUpstream } from './setup.ts'

afterEach(endAll)

async function open(setup: Setup): Promise<Socket & { heard: () => string }> {
  const socket = connect(setup.proxy.port, '127.0.0.1')
  await once(socket, 'connect')
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk
  })
  socket.on('error', () => undefined)
  return Object.assign(socket, { heard: () => text })
}

/** Resolves when what the socket heard matches. */
async function hears(socket: Socket & { heard: () => string }, pattern: RegExp): Promise<string> {
  while (!pattern.test(socket.heard())) await Promise.race([once(socket, 'data'), once(socket, 'close')])
  return socket.heard()
}

const head = (body: string, more = ''): string =>
  `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${more}\r\n`

test.each(['before the head', 'in mid-stream'])('a caller who leaves %s frees the instance at once', async (when) => {
  const upstream = await startUpstream((response) => {
    if (when === 'before the head') return
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(`${EVENTS[0]}${EVENTS[1]}`)
  })
  const setup = await startProxy([upstream.url])
  const leaving = new AbortController()
  const reply = post(setup, '/v1/chat/completions', chat({ stream: true }), { signal: leaving.signal })
  if (when === 'in mid-stream') await (await reply).body!.getReader().read()
  while (upstream.seen.length === 0) await new Promise(setImmediate)
  leaving.abort()
  await reply.catch(() => undefined)
  await upstream.cut
  const [row] = await setup.settled(1)
  expect(row?.outcome).toMatchObject({ kind: 'client gone', censored: true })
  expect(setup.router.inFlight()).toBe(0)
  expect(setup.proxy.inFlight()).toBe(0)
})

test('a caller who leaves while being placed frees the hold, and is settled as gone when a ticket comes all the same', async () => {
  const upstream = await startUpstream(answerWhole)
  let ticketWanted = (): void => undefined
  const held = new Promise<void>((done) => {
    ticketWanted = done
  })
  let signal: AbortSignal | undefined
  const inner = await startProxy([upstream.url])
  const setup = await startProxy([upstream.url], {
    parts: {
      router: {
        ...inner.router,
        async place(call, options) {
          signal = options.signal
          await held
          return inner.router.place(call, options)
        },
      },
    },
  })
  const leaving = new AbortController()
  const reply = post(setup, '/v1/chat/completions', chat(), { signal: leaving.signal })
  while (!signal) await new Promise(setImmediate)
  leaving.abort()
  await expect(reply).rejects.toThrow()
  if (!signal.aborted) await once(signal, 'abort')
  ticketWanted()
  const [row] = await inner.settled(1)
  expect(row?.outcome.kind).toBe('client gone')
  expect(upstream.seen).toHaveLength(0)
})

test('a caller in a pipeline who leaves takes all their calls along', async () => {
  const upstream = await startUpstream(() => undefined)
  const setup = await startProxy([upstream.url])
  const socket = await open(setup)
  const body = chat()
  socket.write((head(body) + body).repeat(3))
  while (upstream.seen.length < 3) await new Promise(setImmediate)
  socket.destroy()
  const rows = await setup.settled(3)
  expect(rows.map((row) => row.outcome.kind)).toEqual(['client gone', 'client gone', 'client gone'])
})

test('pipelined calls are answered in order on one connection', async () => {
  const upstream = await startUpstream(answerWhole)
  const setup = await startProxy([upstream.url])
  const socket = await open(setup)
  const [a, b] = [chat(), chat({ seed: 1 })]
  socket.write(head(a, 'x-request-id: first\r\n') + a + head(b, 'x-request-id: second\r\n') + b)
  const heard = await hears(socket, /second[\s\S]*Hello/)
  expect(heard.indexOf('first')).toBeLessThan(heard.indexOf('second'))
  socket.destroy()
})

test('a slow reader slows the instance down; what lies in between stays small', async () => {
  const piece = `data: ${JSON.stringify({ id: 'x', object: 'chat.completion.chunk', model: 'm', choices: [{ index: 0, delta: { content: 'y'.repeat(16_000) }, finish_reason: null }] })}\n\n`
  const TOTAL = 4_000
  let written = 0
  const upstream = await startUpstream((response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const go = (): void => {
      while (written < TOTAL && !response.destroyed) {
        written++
        if (!response.write(piece)) {
          response.once('drain', go)
          return
        }
      }
      response.end(EVENTS[4])
    }
    go()
  })
  const setup = await startProxy([upstream.url])
  const request = httpRequest(`${setup.proxy.url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' } })
  request.end(chat({ stream: true }))
  const [response] = await once(request, 'response')
  response.pause()
  // Sockets' own buffers fill, then nothing moves: the writer has stood still for many turns of the loop.
  let before = -1
  for (let still = 0; still < 200; still = written === before ? still + 1 : 0) {
    before = written
    await new Promise(setImmediate)
  }
  expect(written).toBeLessThan(TOTAL / 2)
  let bytes = 0
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  response.resume()
  await once(response, 'end')
  expect(bytes).toBe(TOTAL * piece.length + (EVENTS[4]?.length ?? 0))
  expect((await setup.settled(1))[0]?.outcome.outputTokens).toBe(TOTAL)
})

test("a caller who does not read is no sign of an instance's silence", async () => {
  const piece = `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: 'y'.repeat(60_000) }, finish_reason: null }] })}\n\n`
  const upstream = await startUpstream((response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    for (let i = 0; i < 300; i++) response.write(piece)
    response.end(`${EVENTS[3]}${EVENTS[4]}`)
  })
  // Long enough that a busy machine's own pauses are no silence.
  const idleMs = 300
  const setup = await startProxy([upstream.url], { parts: { timeouts: { firstByteMs: 9_000, idleMs, totalMs: 20_000 } } })
  const request = httpRequest(`${setup.proxy.url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' } })
  request.end(chat({ stream: true }))
  const [response] = await once(request, 'response')
  response.pause()
  await new Promise((done) => setTimeout(done, 6 * idleMs))
  setup.router.abortStalled(systemClock.nowMs() + 86_400_000)
  expect(setup.calls()).toHaveLength(0)
  response.resume()
  await once(response, 'end')
  expect((await setup.settled(1))[0]?.outcome.kind).toBe('completed')
})

test('a body over the limit is refused with 413, declared or not, and the instance sees nothing of it', async () => {
  const upstream = await startUpstream(answerWhole)
  const setup = await startProxy([upstream.url], { parts: { bodyLimitBytes: 100_000 } })
  const large = chat({ user: 'x'.repeat(2_000_000) })
  const declared = await post(setup, '/v1/chat/completions', large)
  expect([declared.status, (await errorIn(declared)).code]).toEqual([413, 'request_too_large'])
  const chunked = await fetch(`${setup.proxy.url}/v1/chat/completions`, {
    method: 'POST',
    body: new Blob([large]).stream(),
    duplex: 'half',
  } as RequestInit)
  expect(chunked.status).toBe(413)
  expect(upstream.seen).toHaveLength(0)
  expect(setup.calls()).toHaveLength(0)
})

test('a chunked body is taken and sent on with its length', async () => {
  const upstream = await startUpstream(answerWhole)
  const setup = await startProxy([upstream.url])
  const reply = await fetch(`${setup.proxy.url}/v1/chat/completions`, {
    method: 'POST',
    body: new Blob([chat()]).stream(),
    duplex: 'half',
  } as RequestInit)
  expect(reply.status).toBe(200)
  expect(upstream.seen[0]?.headers['content-length']).toBe(String(chat().length))
})

test('who expects 100-continue gets it, or a refusal before sending the body', async () => {
  const upstream = await startUpstream(answerWhole)
  const setup = await startProxy([upstream.url], { parts: { bodyLimitBytes: 1_000 } })
  const socket = await open(setup)
  socket.write(head(chat(), 'expect: 100-continue\r\n'))
  await hears(socket, /^HTTP\/1.1 100 Continue\r\n\r\n/)
  socket.write(chat())
  await hears(socket, /HTTP\/1.1 200 OK[\s\S]*Hello/)
  expect(upstream.seen[0]?.headers.expect).toBeUndefined()
  const other = await open(setup)
  other.write(head('x'.repeat(2_000), 'expect: 100-continue\r\n'))
  await hears(other, /^HTTP\/1.1 413/)
  socket.destroy()
  other.destroy()
})

test('bytes that are no HTTP and a head without end are answered in kind', async () => {
  const setup = await startProxy([])
  const noise = await open(setup)
  noise.write('\u0016\u0003\u0001 hello?\r\n\r\n')
  await hears(noise, /^HTTP\/1.1 400[\s\S]*invalid_request_error/)
  const wide = await open(setup)
  wide.write(`GET /health HTTP/1.1\r\nhost: x\r\nx-big: ${'y'.repeat(40_000)}\r\n\r\n`)
  await hears(wide, /^HTTP\/1.1 431/)
})

test('closing lets open calls end, refuses readiness, and then cuts with an error event', async () => {
  const upstream = await startUpstream((response, request, body) => {
    if (JSON.parse(body).stream) {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(`${EVENTS[0]}${EVENTS[1]}`)
    } else setImmediate(() => answerWhole(response, request, body))
  })
  const setup = await startProxy([upstream.url])
  const streaming = await post(setup, '/v1/chat/completions', chat({ stream: true }))
  const whole = post(setup, '/v1/chat/completions', chat())
  while (setup.proxy.inFlight() < 2) await new Promise(setImmediate)
  const closed = setup.proxy.close(150)
  expect(await (await whole).json()).toEqual(ANSWER)
  expect(await streaming.text()).toContain('shutting down')
  await closed
  await expect(post(setup, '/v1/chat/completions', chat())).rejects.toThrow()
  const rows = await setup.settled(2)
  expect(rows.map((row) => row.outcome.kind).sort()).toEqual(['completed', 'timed out'])
})

test('many callers at once: every stream is whole, every call settled', async () => {
  const upstreams = await Promise.all([startUpstream(answerStream), startUpstream(answerStream)])
  const setup = await startProxy(upstreams.map((one) => one.url))
  const texts = await Promise.all(
    Array.from({ length: 200 }, async () => (await post(setup, '/v1/chat/completions', chat({ stream: true }))).text()),
  )
  expect(new Set(texts)).toEqual(new Set([EVENTS.join('')]))
  const rows = await setup.settled(200)
  expect(new Set(rows.map((row) => row.call.callId)).size).toBe(200)
  expect(rows.every((row) => row.outcome.kind === 'completed')).toBe(true)
  expect(setup.router.inFlight()).toBe(0)
})
