import type { Desk } from './desk.ts'
import { FramingError, MessageReader } from './framing.ts'
import { type HealthParts, healthAnswer, healthOf, PICKER_SERVICE, UNKNOWN_ANSWER } from './health.ts'
import { NOT_GRPC_BLOCK } from './http2/blocks.ts'
import type { Accept, Reply, StreamHandler } from './http2/stream.ts'
import type { ToEnvoy } from './messages.ts'
import { Picking, type PickingReply } from './picking.ts'
import { ProtobufError } from './protobuf-cursor.ts'
import { readFromEnvoy } from './protobuf-read.ts'
import { writeToEnvoy } from './protobuf-write.ts'

/** The gRPC methods of the picker's port. No reflection. */

/** gRPC status codes. */
const STATUS = { ok: 0, invalid: 3, notFound: 5, unimplemented: 12, internal: 13, unavailable: 14 } as const
/** One message: Envoy's are at most its buffer limit of 1 MiB, unless somebody raised that. */
const MESSAGE_BYTES_MAX = 67_108_864

export interface MethodsParts {
  readonly desk: Desk
  readonly health: HealthParts
  /** Everybody who is inside. */
  readonly open: Set<Picking>
  /** Watches of health, to be told of changes. */
  readonly watches: Set<() => void>
}

/** Opens streams by their method. */
export function createMethods(parts: MethodsParts): Accept {
  return (headers, reply) => {
    if (!headers.get('content-type')?.startsWith('application/grpc') || headers.get(':method') !== 'POST') {
      reply.refuse(NOT_GRPC_BLOCK)
      return DEAF
    }
    switch (headers.get(':path')) {
      case `/${PICKER_SERVICE}/Process`:
        return new Process(parts, reply)
      case '/grpc.health.v1.Health/Check':
        return checkHealth(parts, reply)
      case '/grpc.health.v1.Health/Watch':
        return watchHealth(parts, reply)
      default:
        reply.end(STATUS.unimplemented, 'there is no such method here')
        return DEAF
    }
  }
}

const DEAF: StreamHandler = { onData: () => undefined, onEnd: () => undefined, onGone: () => undefined }

/** One Process stream: bytes to messages and back. Invariant: what throws ends this stream, never the process. */
class Process implements StreamHandler, PickingReply {
  readonly #parts: MethodsParts
  readonly #reply: Reply
  readonly #reader = new MessageReader(MESSAGE_BYTES_MAX)
  readonly #picking: Picking
  /** Gathered while bytes are read, so that their answers are one write. */
  #said: ToEnvoy[] = []
  #reading = false
  #over = false

  constructor(parts: MethodsParts, reply: Reply) {
    this.#parts = parts
    this.#reply = reply
    this.#picking = new Picking(parts.desk, this)
    parts.open.add(this.#picking)
  }

  onData(bytes: Buffer): void {
    if (this.#over) return
    this.#reading = true
    try {
      this.#reader.push(bytes, this.#onMessage)
    } catch (error) {
      this.#broken(error)
    }
    this.#reading = false
    this.#flush()
  }

  readonly #onMessage = (message: Buffer): void => {
    if (!this.#over) this.#picking.receive(readFromEnvoy(message))
  }

  onEnd(): void {
    this.#close(STATUS.ok)
  }

  onGone(): void {
    this.#over = true
    this.#leave()
  }

  say({ send, over }: { readonly send: readonly ToEnvoy[]; readonly over?: true }): void {
    if (this.#over) return
    for (const message of send) this.#said.push(message)
    if (!this.#reading) this.#flush()
    // Ending the stream first spares both sides a reset.
    if (over) this.#close(STATUS.ok)
  }

  fail(message: string): void {
    this.#parts.desk.count('stream failed')
    this.#said = []
    this.#close(STATUS.unavailable, message)
  }

  #flush(): void {
    if (this.#said.length === 0) return
    const said = this.#said
    this.#said = []
    for (const piece of writeToEnvoy(said)) this.#reply.send(piece)
  }

  #close(status: number, message = ''): void {
    if (this.#over) return
    this.#flush()
    this.#over = true
    this.#reply.end(status, message)
    this.#leave()
  }

  #leave(): void {
    this.#parts.open.delete(this.#picking)
    this.#picking.left()
  }

  #broken(error: unknown): void {
    this.#said = []
    if (error instanceof FramingError) this.#close(error.code, error.message)
    else if (error instanceof ProtobufError) this.#close(STATUS.invalid, error.message)
    else {
      this.#parts.desk.count(`picker failed: ${error instanceof Error ? error.name : 'unknown'}`)
      this.#close(STATUS.internal, 'the picker failed on this call')
    }
  }
}

function checkHealth({ health }: MethodsParts, reply: Reply): StreamHandler {
  return readOne(reply, (message) => {
    const status = healthOf(message, health)
    if (status !== undefined) reply.send(healthAnswer(status))
    reply.end(status === undefined ? STATUS.notFound : STATUS.ok, status === undefined ? 'unknown service' : '')
  })
}

function watchHealth({ health, watches }: MethodsParts, reply: Reply): StreamHandler {
  let told: number | undefined
  let tell: (() => void) | undefined
  const stop = (): void => {
    if (tell) watches.delete(tell)
  }
  const reader = readOne(reply, (message) => {
    const request = Buffer.from(message)
    tell = () => {
      const status = healthOf(request, health) ?? 0
      if (status === told) return
      told = status
      reply.send(status === 0 ? UNKNOWN_ANSWER : healthAnswer(status))
    }
    tell()
    watches.add(tell)
  })
  return { ...reader, onGone: stop }
}

/** Calls `onMessage` with the one message of a unary request. */
function readOne(reply: Reply, onMessage: (message: Buffer) => void): StreamHandler {
  const reader = new MessageReader(MESSAGE_BYTES_MAX)
  return {
    onData(bytes) {
      try {
        reader.push(bytes, onMessage)
      } catch (error) {
        reply.end(error instanceof FramingError ? error.code : STATUS.invalid, error instanceof Error ? error.message : '')
      }
    },
    onEnd: () => undefined,
    onGone: () => undefined,
  }
}
