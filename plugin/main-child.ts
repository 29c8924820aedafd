import type { ConfigParts } from './config.ts'

/** What supervisor and children say to each other over Node's IPC channel. */

/** The processes a supervisor may run. */
export type Role = 'fleet' | 'router' | 'admin' | 'demo' | 'trainer'

/** Exit code of a trainer that found another at work: whoever started it tries again later. */
export const HELD_EXIT = 75
/** The trainer could write no more, not even what became of its run. */
export const FULL_EXIT = 76

export interface StartMessage {
  readonly type: 'start'
  /** The configuration as read by the supervisor; each child parses it for itself, secrets come from its own environment. */
  readonly input: ConfigParts['input']
  /** How often each role has crashed since the supervisor started. */
  readonly crashes: Readonly<Partial<Record<Role, number>>>
  readonly virtual?: VirtualStart
  readonly line: LineStart
}

/** How the admin speaks to the router directly: over loopback, with a key made for this start and known to these processes alone. */
export interface LineStart {
  readonly key: string
  /** The router's port to take again after a restart; 0 is any. */
  readonly port: number
}

/** What the embedded fleet and its demo traffic need. */
export interface VirtualStart {
  readonly timeFactor: number
  /** Ports to take again after a restart, by position; 0 is any. */
  readonly ports: readonly number[]
  readonly proxyUrl: string
}

export type ParentMessage = StartMessage | { readonly type: 'drain' }

export type ChildMessage =
  /** The child does its work now. `facts` are shown or used by the supervisor: addresses, a sign-in path, virtual instances. */
  | { readonly type: 'ready'; readonly facts: Readonly<Record<string, string>> }
  /** The child cannot work with this configuration: restarting would not help. */
  | { readonly type: 'unusable'; readonly text: string }
  /** A line for the console. */
  | { readonly type: 'line'; readonly text: string }

/** A running role: how to end it. */
export interface Running {
  readonly facts: Readonly<Record<string, string>>
  /** Finishes what is open, within the time given, and frees everything. */
  drain(): Promise<void>
}

/** The configuration is right in form but cannot be used here, e.g. a port is taken: restarting would not help. */
export class Unusable extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'Unusable'
  }
}

/** Ctrl-C reaches the whole process group: only the supervisor acts on it, the children wait for its word. */
const IGNORED_SIGNALS = ['SIGINT'] as const

/**
 * Runs one role in this process: waits for the start message, reports ready, and drains on the supervisor's word, on SIGTERM, or when the
 * supervisor is gone.
 */
export function runChild(start: (message: StartMessage, tell: (line: string) => void) => Promise<Running>): void {
  const send = (message: ChildMessage): void => {
    if (process.connected) process.send?.(message)
  }
  for (const signal of IGNORED_SIGNALS) process.on(signal, () => undefined)
  let running: Promise<Running> | undefined
  let leaving = false
  const leave = (): void => {
    if (leaving) return
    leaving = true
    void Promise.resolve(running)
      .then((role) => role?.drain())
      .then(
        () => process.exit(0),
        (error) => {
          console.error('phasewise: draining failed:', error)
          process.exit(1)
        },
      )
  }
  process.on('SIGTERM', leave)
  process.on('disconnect', leave)
  process.on('message', (message: ParentMessage) => {
    if (message.type === 'drain') return leave()
    running = start(message, (text) => send({ type: 'line', text }))
    running.then(
      ({ facts }) => send({ type: 'ready', facts }),
      (error) => {
        if (error instanceof Unusable) send({ type: 'unusable', text: error.message })
        else console.error('phasewise: start failed:', error)
        setImmediate(() => process.exit(1))
      },
    )
  })
}

/** Turns the system's "address in use" and "not permitted" into words that name the key to change. */
export function listenProblem(error: unknown, key: string, address: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'EADDRINUSE')
    return new Unusable(`${key}: ${address} is in use; stop what listens there or set another address for ${key} in phasewise.yaml`, error)
  if (code === 'EACCES' || code === 'EADDRNOTAVAIL')
    return new Unusable(`${key}: ${address} cannot be listened on (${code}); set another address for ${key} in phasewise.yaml`, error)
  return error
}
