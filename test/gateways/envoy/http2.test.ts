import { type ClientHttp2Stream, connect, constants } from 'node:http2'
import { type AddressInfo, connect as connectTcp, createServer, type Server } from 'node:net'
import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { Http2Connection } from '../../../plugin/gateways/envoy/http2/connection.ts'
import { decodeHuffman } from '../../../plugin/gateways/envoy/http2/huffman.ts'
import type { Accept, Reply } from '../../../plugin/gateways/envoy/http2/stream.ts'

/** Our end of HTTP/2 against node:http2, whose nghttp2 knows nothing of it. */
const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

async function serve(
  accept: Accept,
  options: { readonly stingy?: boolean } = {},
): Promise<{ url: string; port: number; connections: Http2Connection[] }> {
  const connections: Http2Connection[] = []
  const server = createServer((socket) => {
    const connection = new Http2Connection({
      accept,
      write(pieces) {
        // A write cut into single bytes is the hardest that a peer's reader gets.
        for (const bytes of pieces)
          if (options.stingy) for (const byte of bytes) socket.write(Buffer.from([byte]))
          else socket.write(bytes)
        return socket.writableLength
      },
      close: () => socket.destroySoon(),
      defer: setImmediate,
    })
    connections.push(connection)
    socket.on('data', (chunk) => {
      if (options.stingy) for (const byte of chunk) connection.receive(Buffer.from([byte]))
      else connection.receive(chunk)
    })
    socket.on('error', () => undefined)
    socket.on('close', () => connection.lost())
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, port, connections }
}

async function until(so: () => boolean): Promise<void> {
  while (!so()) await new Promise((resolve) => setImmediate(resolve))
}

/** Writes to a stream and waits for what comes back. */
function answerTo(stream: ClientHttp2Stream, text: string): Promise<Buffer> {
  const back = new Promise<Buffer>((resolve) => {
    const came: Buffer[] = []
    const take = (bytes: Buffer): void => {
      came.push(bytes)
      // A window that runs out splits an answer.
      if (Buffer.concat(came).length < Buffer.byteLength(text)) return
      stream.off('data', take)
      resolve(Buffer.concat(came))
    }
    stream.on('data', take)
  })
  stream.write(text)
  return back
}

/** Ends a stream and waits until it is closed. */
function finish(stream: ClientHttp2Stream): Promise<void> {
  const closed = new Promise<void>((resolve) => stream.on('close', resolve))
  stream.resume()
  stream.end()
  return closed
}

/** Sends back what comes, and ends when the peer does. */
const echo: Accept = (_, reply) => ({
  onData: (bytes) => reply.send(Buffer.from(bytes)),
  onEnd: () => reply.end(0),
  onGone: () => undefined,
})

function ask(url: string, options: { headers?: Record<string, string>; body?: Buffer; path?: string } = {}) {
  const session = connect(url)
  session.on('error', () => undefined)
  const stream = session.request({
    ':method': 'POST',
    ':path': options.path ?? '/x',
    'content-type': 'application/grpc',
    ...options.headers,
  })
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  stream.on('error', () => undefined)
  const done = new Promise<{ body: Buffer; trailers: Record<string, unknown>; code: number }>((resolve) => {
    let trailers: Record<string, unknown> = {}
    stream.on('trailers', (got) => {
      trailers = got
    })
    stream.on('close', () => {
      resolve({ body: Buffer.concat(chunks), trailers, code: stream.rstCode })
      session.close()
    })
  })
  return { session, stream, done }
}

test('bytes come back whole through windows and frames of every size', async () => {
  const { url } = await serve(echo)
  for (const size of [0, 1, 16_384, 16_385, 70_000, 3_000_000]) {
    const body = Buffer.alloc(size, 'phasewise ')
    const { stream, done } = ask(url)
    stream.end(body)
    const { body: back, trailers, code } = await done
    expect(back.equals(body)).toBe(true)
    expect(trailers['grpc-status']).toBe('0')
    expect(code).toBe(constants.NGHTTP2_NO_ERROR)
  }
})

test('frames cut into single bytes, both ways, are the same frames', async () => {
  const { url } = await serve(echo, { stingy: true })
  const { stream, done } = ask(url, { headers: { 'x-long': 'a'.repeat(900) } })
  stream.end('hello')
  expect((await done).body.toString()).toBe('hello')
})

test('headers arrive as they were sent: plain, Huffman-coded, from the table, longer than a frame', async () => {
  const seen: ReadonlyMap<string, string>[] = []
  const { url } = await serve((headers, reply) => {
    seen.push(headers)
    reply.end(0)
    return { onData: () => undefined, onEnd: () => undefined, onGone: () => undefined }
  })
  const session = connect(url)
  const values = ['plain', 'UPPER lower 0123', '~!@#$%^&*()_+{}|:"<>?', 'z'.repeat(20_000), '\\x7f €'.replace('€', 'e'), 'again', 'again']
  for (const value of values) {
    const stream = session.request({
      ':method': 'POST',
      ':path': `/p?${encodeURIComponent(value.slice(0, 50))}`,
      'x-test': value,
      te: 'trailers',
    })
    stream.resume()
    await new Promise((resolve) => stream.on('close', resolve))
  }
  session.close()
  expect(seen.map((headers) => headers.get('x-test'))).toEqual(values)
  expect(seen.every((headers) => headers.get(':method') === 'POST' && headers.get('te') === 'trailers')).toBe(true)
})

test('a stream reset by the peer is told once, and no other stream notices', async () => {
  const gone: number[] = []
  let opened = 0
  const { url, connections } = await serve((_, reply) => {
    const n = opened++
    // node:http2 ends a stream before it resets it.
    return { onData: (bytes) => reply.send(Buffer.from(bytes)), onEnd: () => undefined, onGone: () => gone.push(n) }
  })
  const session = connect(url)
  session.on('error', () => undefined)
  const streams = Array.from({ length: 3 }, () => session.request({ ':method': 'POST', ':path': '/' }))
  for (const stream of streams) stream.on('error', () => undefined)
  await Promise.all(streams.map((stream) => answerTo(stream, 'x')))
  streams[1]!.close(constants.NGHTTP2_CANCEL)
  await new Promise((resolve) => streams[1]!.on('close', resolve))
  expect((await answerTo(streams[2]!, 'still here')).toString()).toBe('still here')
  await until(() => gone.length > 0)
  expect(gone).toEqual([1])
  session.destroy()
  await until(() => gone.length === 3)
  expect([...gone].sort()).toEqual([0, 1, 2])
  expect(connections[0]!.openStreams).toBe(0)
})

test('20,000 resets in a row are no attack: nothing is closed, nothing is left open', async () => {
  // Says nothing at the end: node:http2 takes answers that cross its resets on the wire for an attack in turn.
  const { url, connections } = await serve((_, reply) => ({
    onData: (bytes) => reply.send(Buffer.from(bytes)),
    onEnd: () => undefined,
    onGone: () => undefined,
  }))
  const session = connect(url)
  const failed: string[] = []
  session.on('error', (error) => failed.push(String(error)))
  session.on('goaway', (code) => failed.push(`goaway ${code}`))
  for (let i = 0; i < 200; i++)
    await Promise.all(
      Array.from({ length: 100 }, () => {
        const stream = session.request({ ':method': 'POST', ':path': '/' })
        stream.on('error', () => undefined)
        return new Promise<void>((resolve) => {
          stream.once('data', () => stream.close(constants.NGHTTP2_CANCEL))
          stream.on('close', () => resolve())
          stream.write('x')
        })
      }),
    )
  expect((await answerTo(session.request({ ':method': 'POST', ':path': '/' }), 'after')).toString()).toBe('after')
  expect(failed).toEqual([])
  expect(connections[0]!.openStreams).toBe(1)
  session.destroy()
})

test('5,000 streams are open at once on one connection', async () => {
  const { url, connections } = await serve(echo)
  const session = connect(url)
  session.setMaxListeners(0)
  const streams = await Promise.all(
    Array.from({ length: 5_000 }, async (_, i) => {
      const stream = session.request({ ':method': 'POST', ':path': '/' })
      expect((await answerTo(stream, String(i))).toString()).toBe(String(i))
      return stream
    }),
  )
  expect(connections[0]!.openStreams).toBe(5_000)
  await Promise.all(streams.map(finish))
  expect(connections[0]!.openStreams).toBe(0)
  session.close()
})

test('a peer that does not read is not written to beyond its window, and what waits goes out when it reads', async () => {
  let reply: Reply | undefined
  const { url } = await serve((_, back) => {
    reply = back
    return { onData: () => undefined, onEnd: () => undefined, onGone: () => undefined }
  })
  const session = connect(url, { settings: { initialWindowSize: 1_000 } })
  const stream = session.request({ ':method': 'POST', ':path': '/' })
  stream.write('x')
  const chunks: Buffer[] = []
  await until(() => reply !== undefined)
  reply?.send(Buffer.alloc(300_000, 'a'))
  reply?.end(0)
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  await new Promise((resolve) => stream.on('close', resolve))
  expect(Buffer.concat(chunks).length).toBe(300_000)
  session.close()
})

test('leaving lets open streams end and takes no new ones', async () => {
  const { url, connections } = await serve(echo)
  const session = connect(url)
  const stream = session.request({ ':method': 'POST', ':path': '/' })
  await answerTo(stream, 'x')
  const away = new Promise((resolve) => session.once('goaway', resolve))
  connections[0]!.leave()
  await away
  expect((await answerTo(stream, 'y')).toString()).toBe('y')
  const closed = new Promise((resolve) => session.once('close', resolve))
  stream.end()
  await closed
})

test.each([
  ['HTTP/1', Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n')],
  ['noise', Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x04\x00\x00\x00\x00\x00\x00junk', 'latin1')],
  ['a frame longer than agreed', Buffer.from(`PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\x00\x00\x00\x00\x00`, 'latin1')],
])('%s ends the connection with GOAWAY, not the process', async (_, bytes) => {
  const { port } = await serve(echo)
  const socket = connectTcp(port, '127.0.0.1')
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  socket.write(bytes)
  await new Promise((resolve) => socket.on('close', resolve))
  // The last frame: type 7.
  expect(Buffer.concat(chunks).includes(Buffer.from([7, 0, 0, 0, 0, 0]))).toBe(true)
})

test('whatever bytes come, the connection ends or goes on; nothing throws', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(10), fc.nat(255), fc.nat(6), fc.uint8Array({ maxLength: 60 })), { maxLength: 20 }),
      fc.nat(7),
      (frames, cut) => {
        const deferred: (() => void)[] = []
        const connection = new Http2Connection({
          accept: echo,
          write: () => 0,
          close: () => undefined,
          defer: (flush) => void deferred.push(flush),
        })
        const parts = [Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]
        for (const [type, flags, streamId, payload] of frames)
          parts.push(Buffer.from([0, 0, payload.length, type, flags, 0, 0, 0, streamId]), Buffer.from(payload))
        const bytes = Buffer.concat(parts)
        for (let at = 0; at < bytes.length; at += cut + 1) connection.receive(bytes.subarray(at, at + cut + 1))
        for (const flush of deferred) flush()
        connection.lost()
        expect(connection.openStreams).toBe(0)
      },
    ),
    { numRuns: 800 },
  )
})

test('Huffman: padding longer than seven bits, or not of ones, is refused', () => {
  expect(decodeHuffman(Buffer.from('f1e3c2e5f23a6ba0ab90f4ff', 'hex'))).toBe('www.example.com')
  expect(decodeHuffman(Buffer.from([0xff, 0xff]))).toBeUndefined()
  expect(decodeHuffman(Buffer.from([0x00]))).toBeUndefined()
})
