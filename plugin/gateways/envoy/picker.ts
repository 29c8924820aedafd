import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls'
import { createIdSource } from '../../call/id.ts'
import type { CallSpan, SpanStart } from '../../telemetry/spans.ts'
import { AddressBook } from './addresses.ts'
import type { Desk } from './desk.ts'
import { Http2Connection } from './http2/connection.ts'
import { createMethods } from './methods.ts'
import { SEEN } from './observing.ts'
import type { Picking } from './picking.ts'
import { followTls, readTls, type TlsFiles } from './tls-files.ts'

export interface EnvoyPickerParts extends Omit<Desk, 'addresses' | 'nextCallId' | 'startCall'> {
  readonly listen: { readonly host: string; readonly port: number }
  /** Plain text when absent. */
  readonly tls?: TlsFiles
  readonly telemetry: { readonly startCall?: (start: SpanStart) => CallSpan }
  /** Ids shared with the other doors; a source of its own when absent. */
  readonly nextCallId?: () => number
  /** The engine behind a pool, for spans. */
  readonly providerOf?: (pool: string) => string
  readonly warn: (text: string) => void
  /** Looks a host name up; the system's resolver when absent. */
  readonly lookup?: (host: string) => Promise<string>
}

export interface EnvoyPicker {
  /** "host:port". */
  readonly address: string
  readonly port: number
  /** Streams open now. */
  inFlight(): number
  /** Takes no new calls, lets open ones end for `drainMs`, then cuts what is left. */
  close(drainMs: number): Promise<void>
}

/** How often deadlines, health watches and addresses are looked at. */
const BEAT_MS = 100
const BEATS_PER_LOOK = 10
const BACKLOG = 1024

/** Opens the picker's port. Rejects where it cannot listen or the TLS files cannot be read. */
export async function createEnvoyPicker(parts: EnvoyPickerParts): Promise<EnvoyPicker> {
  const { clock, count } = parts
  const addresses = new AddressBook({ clock, onProblem: count, ...(parts.lookup ? { lookup: parts.lookup } : {}) })
  await findAddresses(parts, addresses)
  const open = new Set<Picking>()
  const watches = new Set<() => void>()
  const connections = new Set<Http2Connection>()
  const sockets = new Set<Socket>()
  let accepting = true
  const desk = createPickerDesk(parts, addresses)
  const accept = createMethods({ desk, open, watches, health: { ready: () => parts.router.ready(), accepting: () => accepting } })
  const welcome = (socket: Socket): void => {
    const connection = attach(socket, accept, count)
    connections.add(connection)
    sockets.add(socket)
    socket.once('close', () => {
      connections.delete(connection)
      sockets.delete(socket)
    })
  }
  const tls = parts.tls ? await readTls(parts.tls) : undefined
  const server = tls ? createTlsServer({ ...tls, ALPNProtocols: ['h2'] }, welcome) : createServer({ noDelay: true }, welcome)
  const stopTls = parts.tls ? followTls({ files: parts.tls, first: tls, warn: parts.warn, server: server as TlsServer }) : () => undefined
  await listen(server, parts.listen)
  const stopBeat = startBeat({ parts, desk, addresses, open, watches })
  const { port } = server.address() as AddressInfo
  return {
    address: `${parts.listen.host}:${port}`,
    port,
    inFlight: () => open.size,
    async close(drainMs) {
      accepting = false
      const closed = new Promise<void>((done) => server.close(() => done()))
      for (const connection of connections) connection.leave()
      await emptied(open, drainMs)
      for (const picking of [...open]) picking.cut()
      // What was written last still has to reach Envoy.
      await new Promise<void>((done) => setImmediate(done))
      for (const socket of sockets) socket.destroySoon()
      stopBeat()
      stopTls()
      await closed
    },
  }
}

function createPickerDesk(parts: EnvoyPickerParts, addresses: AddressBook): Desk {
  const { telemetry, providerOf, clock } = parts
  const startCall = telemetry.startCall
  return {
    ...parts,
    addresses,
    nextCallId: parts.nextCallId ?? createIdSource(() => clock.nowUnixMs()),
    ...(startCall ? { startCall: (start) => startCall({ ...start, provider: providerOf?.(start.pool) ?? 'other' }) } : {}),
  }
}

/** Names are looked up before the first call needs them. */
async function findAddresses({ instanceUrls, count }: EnvoyPickerParts, addresses: AddressBook): Promise<void> {
  const looked = await Promise.allSettled(instanceUrls().map((url) => addresses.find(url)))
  for (const one of looked) if (one.status === 'rejected') count('address not found')
}

/** One socket's bytes into an HTTP/2 connection and back. */
function attach(socket: Socket, accept: ReturnType<typeof createMethods>, count: (what: string) => void): Http2Connection {
  let first = true
  const connection = new Http2Connection({
    accept,
    write(pieces) {
      // Corked, several pieces are one system call.
      if (pieces.length > 1) socket.cork()
      for (const piece of pieces) socket.write(piece)
      if (pieces.length > 1) socket.uncork()
      return socket.writableLength
    },
    close: () => socket.destroySoon(),
    defer: setImmediate,
  })
  socket.setNoDelay(true)
  socket.on('data', (chunk) => {
    // The first line of HTTP/1 would be refused all the same, but doctor should be able to say why.
    if (first && /^(?!PRI )[A-Z]+ [^ ]+ HTTP\/1/.test(chunk.toString('latin1', 0, 256))) count(SEEN.notHttp2)
    first = false
    connection.receive(chunk)
  })
  socket.on('error', () => count('connection to the gateway broke'))
  socket.once('close', () => connection.lost())
  return connection
}

function listen(server: Server, at: { readonly host: string; readonly port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: at.host, port: at.port, backlog: BACKLOG }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

interface Beating {
  readonly parts: EnvoyPickerParts
  readonly desk: Desk
  readonly addresses: AddressBook
  readonly open: ReadonlySet<Picking>
  readonly watches: ReadonlySet<() => void>
}

/** Ends waits beyond the hold limit, tells watchers of health, looks up the names of instances that joined. */
function startBeat({ parts, desk, addresses, open, watches }: Beating): () => void {
  let beats = 0
  const timer = setInterval(() => {
    const latestMs = desk.clock.nowMs() - desk.holdLimitMs
    for (const picking of open) if (picking.waiting && picking.arrivedMs < latestMs) picking.late()
    if (beats++ % BEATS_PER_LOOK !== 0) return
    for (const tell of watches) tell()
    void findAddresses(parts, addresses)
  }, BEAT_MS)
  return () => clearInterval(timer)
}

async function emptied(open: ReadonlySet<Picking>, withinMs: number): Promise<void> {
  const stepMs = 20
  for (let waitedMs = 0; open.size > 0 && waitedMs < withinMs; waitedMs += stepMs) await new Promise((done) => setTimeout(done, stepMs))
}
