import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { ChildMessage, ParentMessage, Role, StartMessage } from './main-child.ts'

/** Spawns, watches and restarts the other processes. Does nothing else, so that nothing else can break it. */
export interface Supervisor {
  /** Starts a role; resolves with its facts when it reports ready for the first time, rejects when it is unusable or never gets there. */
  start(role: Role, message: () => StartMessage): Promise<Readonly<Record<string, string>>>
  /** Drains all, the latest started first, and ends what does not leave in time. */
  stop(): Promise<void>
  readonly crashes: Readonly<Partial<Record<Role, number>>>
}

export interface SupervisorParts {
  readonly nowMs: () => number
  readonly print: (line: string) => void
  /** A role cannot go on with this configuration: restarting would not help. */
  readonly onUnusable: (role: Role, text: string) => void
}

/** First restart after this long, doubled by each crash up to the longest; a role that ran this long well starts over. Chosen. */
const RESTART_MS = 250
const RESTART_MS_MAX = 15_000
const RAN_WELL_MS = 60_000
/** All must be gone within 10 s of the word: what is left then is ended the hard way. */
const LEAVE_MS = 9_000
/** A role that ended this often without ever having been ready will not come up by itself. Chosen: with the restarts' delays about 8 s. */
const START_TRIES = 5

interface Child {
  readonly role: Role
  process: ChildProcess | undefined
  restart: NodeJS.Timeout | undefined
  crashesInARow: number
  wasReady: boolean
}

/** A supervisor with no children yet. */
export function createSupervisor(parts: SupervisorParts): Supervisor {
  const children: Child[] = []
  const crashes: Partial<Record<Role, number>> = {}
  let stopping = false

  const launch = (
    child: Child,
    message: () => StartMessage,
    onReady: (facts: Readonly<Record<string, string>>) => void,
    onGivingUp: (text: string) => void,
  ): void => {
    const startedMs = parts.nowMs()
    let unusable = false
    const script = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? './main.ts' : './main.js', import.meta.url))
    const own = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', script, 'role', child.role], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    child.process = own
    own.on('message', (said: ChildMessage) => {
      if (said.type === 'ready') {
        child.wasReady = true
        onReady(said.facts)
      } else if (said.type === 'line') parts.print(said.text)
      else if (child.wasReady) parts.print(`phasewise: ${child.role}: ${said.text}`)
      else {
        // At the first start this is a mistake to be told; later the role is started again, and the others go on.
        unusable = true
        onGivingUp(said.text)
        parts.onUnusable(child.role, said.text)
      }
    })
    own.on('exit', (code, signal) => {
      child.process = undefined
      if (stopping || unusable) return
      crashes[child.role] = (crashes[child.role] ?? 0) + 1
      child.crashesInARow = parts.nowMs() - startedMs > RAN_WELL_MS ? 1 : child.crashesInARow + 1
      if (!child.wasReady && child.crashesInARow >= START_TRIES) {
        const text = `${child.role} could not start (${signal ?? `code ${code}`}); the reason stands above`
        onGivingUp(text)
        return parts.onUnusable(child.role, text)
      }
      const delayMs = Math.min(RESTART_MS * 2 ** (child.crashesInARow - 1), RESTART_MS_MAX)
      parts.print(
        `phasewise: ${child.role} ended (${signal ?? `code ${code}`}); starts again in ${delayMs} ms (crash ${crashes[child.role]})`,
      )
      child.restart = setTimeout(() => launch(child, message, onReady, onGivingUp), delayMs)
    })
    own.on('error', (error) => parts.print(`phasewise: ${child.role}: ${error.message}`))
    own.send(message() satisfies ParentMessage, noteUnsent)
  }

  return {
    crashes,
    start(role, message) {
      const child: Child = { role, process: undefined, restart: undefined, crashesInARow: 0, wasReady: false }
      children.push(child)
      return new Promise((resolve, reject) => launch(child, message, resolve, (text) => reject(new Error(text))))
    },
    async stop() {
      stopping = true
      const deadlineMs = parts.nowMs() + LEAVE_MS
      for (const child of children.toReversed()) {
        clearTimeout(child.restart)
        await leave(child.process, deadlineMs - parts.nowMs())
      }
    },
  }
}

function noteUnsent(): void {
  // A child that ended before it could be told is seen by its 'exit'.
}

async function leave(child: ChildProcess | undefined, patienceMs: number): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  // It may be ending by itself in this very moment: then the word does not reach it, and is not needed.
  if (child.connected) child.send({ type: 'drain' } satisfies ParentMessage, (error) => error && child.kill('SIGTERM'))
  else child.kill('SIGTERM')
  const hard = setTimeout(() => child.kill('SIGKILL'), Math.max(200, patienceMs))
  await gone
  clearTimeout(hard)
}
