import type { Socket } from 'node:net'
import type { Dispatcher } from 'undici'
import { createIdSource } from '../../call/id.ts'
import type { Clock } from '../../clock.ts'
import type { MeterParts, StreamMeter } from '../../outcome/meter.ts'
import type { InstanceView, Router } from '../../router.ts'
import type { CallSpan, SpanStart } from '../../telemetry/spans.ts'
import { type CallerKey, createIdentify, type Identify } from './caller-keys.ts'
import { createWatch, type Timeouts, type Watched } from './deadlines.ts'

/** Connections to the instances, as this door uses them. */
export interface InstanceConnections {
  /** Throws for a url that no instance has. */
  dispatcherFor(url: string): Dispatcher
  /** Value of the Authorization header for the instance itself; undefined where it wants none. */
  authorization(url: string): string | undefined
}

/** All that the OpenAI door is made of. */
export interface OpenAiProxyParts {
  readonly listen: { readonly host: string; readonly port: number }
  readonly router: Router
  readonly connections: InstanceConnections
  /** Empty: everybody who reaches the address may call. */
  readonly callerKeys: readonly CallerKey[]
  readonly debugHeaders: boolean
  readonly bodyLimitBytes: number
  readonly timeouts: Timeouts
  /** Hash words of the prompt as features. */
  readonly textFeatures: boolean
  /** Makes numbers of the prompt for the length predictor; it never throws. */
  readonly readText?: (text: string) => Float32Array | undefined
  readonly clock: Clock
  readonly telemetry: { readonly startCall?: (start: SpanStart) => CallSpan }
  /** Books something lost or worked around, by a short word for what. */
  readonly count: (what: string) => void
  /** Ids shared with the other doors; a source of its own when absent. */
  readonly nextCallId?: () => number
  /** The engine behind a pool, for spans. */
  readonly providerOf?: (pool: string) => string
  /** Any reachable instance for a model: where a call goes when the router itself is broken. */
  readonly anyInstance?: (model: string) => InstanceView | undefined
  /** Another meter, in tests of what happens when it breaks. */
  readonly createMeter?: (parts: MeterParts) => StreamMeter
}

/** A call that can be ended from outside. */
export interface Guest extends Watched {
  left(): void
  cut(): void
}

export interface InstanceRequest {
  readonly path: string
  readonly headers: readonly string[]
  readonly body: Buffer
}

/** The parts as an exchange uses them, and the book of who is inside. */
export interface Door extends Omit<OpenAiProxyParts, 'nextCallId' | 'telemetry'> {
  readonly identify: Identify
  readonly nextCallId: () => number
  readonly startCall?: (start: Omit<SpanStart, 'provider'>) => CallSpan
  readonly guests: { readonly size: number }
  accepting(): boolean
  enter(guest: Guest, socket: Socket): void
  leave(guest: Guest, socket: Socket): void
  /** Sends to an instance. Throws where it is not known any more. */
  dispatch(url: string, request: InstanceRequest, handler: Dispatcher.DispatchHandler): void
  /** No new calls are invited; open ones go on. */
  stopAccepting(): void
  cutAll(): void
  /** Resolves when nobody is inside. */
  emptied(): Promise<void>
  close(): void
}

/** Makes the door over its parts. */
export function createDoor(parts: OpenAiProxyParts): Door {
  const { clock, telemetry, providerOf } = parts
  const watch = createWatch<Guest>({ timeouts: parts.timeouts, nowMs: () => clock.nowMs() })
  const { open } = watch
  const bySocket = new WeakMap<Socket, Guest[]>()
  const waiting: (() => void)[] = []
  let accepting = true
  const startCall = telemetry.startCall
  return {
    ...parts,
    identify: createIdentify(parts.callerKeys),
    nextCallId: parts.nextCallId ?? createIdSource(() => clock.nowUnixMs()),
    ...(startCall ? { startCall: (start) => startCall({ ...start, provider: providerOf?.(start.pool) ?? 'other' }) } : {}),
    guests: open,
    accepting: () => accepting,
    enter(guest, socket) {
      open.add(guest)
      const known = bySocket.get(socket)
      if (known) known.push(guest)
      else bySocket.set(socket, welcome(socket, guest))
    },
    leave(guest, socket) {
      const known = bySocket.get(socket)
      const at = known?.indexOf(guest) ?? -1
      if (at >= 0) known?.splice(at, 1)
      if (open.delete(guest) && open.size === 0) for (const done of waiting.splice(0)) done()
    },
    dispatch: createDispatch(parts),
    stopAccepting() {
      accepting = false
    },
    cutAll() {
      for (const guest of open.all()) guest.cut()
    },
    emptied: () => (open.size === 0 ? Promise.resolve() : new Promise((done) => waiting.push(done))),
    close: watch.stop,
  }
}

/** One listener per connection, not per call: a call in a pipeline has no connection of its own to listen to. */
function welcome(socket: Socket, guest: Guest): Guest[] {
  const guests = [guest]
  socket.once('close', () => {
    for (const one of [...guests]) one.left()
  })
  return guests
}

function createDispatch({ connections }: OpenAiProxyParts): Door['dispatch'] {
  const prefixes = new Map<string, string>()
  const prefixOf = (url: string): string => {
    const known = prefixes.get(url)
    if (known !== undefined) return known
    const prefix = new URL(url).pathname.replace(/\/+$/, '')
    // Instances come and go: forgetting all now and then costs nothing.
    if (prefixes.size >= PREFIXES_MAX) prefixes.clear()
    prefixes.set(url, prefix)
    return prefix
  }
  return (url, { path, headers, body }, handler) => {
    const authorization = connections.authorization(url)
    connections.dispatcherFor(url).dispatch(
      {
        path: prefixOf(url) + path,
        method: 'POST',
        headers: authorization === undefined ? (headers as string[]) : [...headers, 'authorization', authorization],
        body,
        // The exchange watches the time. Undici would make a timer per answer, which lives on for half a second after it.
        headersTimeout: 0,
        bodyTimeout: 0,
      },
      handler,
    )
  }
}

const PREFIXES_MAX = 10_000
