import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'

/** Real processes for end-to-end tests: started by the command a user types, watched by what they print, ended by their id. */
export interface RunningProcess {
  readonly pid: number
  /** Everything printed so far. */
  text(): string
  /** Resolves with the match as soon as the output has it; rejects when the process ends first. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
  /** Resolves with exit code or signal. */
  readonly exited: Promise<number | NodeJS.Signals>
  kill(signal?: NodeJS.Signals): void
}

const MAIN = new URL('../../plugin/main.ts', import.meta.url).pathname
const running = new Set<ChildProcess>()

/** Runs `phasewise …args` in `cwd`. */
export function runPhasewise(
  args: readonly string[],
  options: { readonly cwd: string; readonly env?: Record<string, string> },
): RunningProcess {
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  let text = ''
  const waiting = new Set<() => void>()
  const hear = (chunk: Buffer): void => {
    text += chunk.toString()
    for (const look of waiting) look()
  }
  child.stdout.on('data', hear)
  child.stderr.on('data', hear)
  const exited = new Promise<number | NodeJS.Signals>((resolve) => {
    child.on('close', (code, signal) => {
      running.delete(child)
      resolve(code ?? signal ?? 1)
      for (const look of waiting) look()
    })
  })
  return {
    pid: child.pid ?? 0,
    text: () => text,
    exited,
    kill: (signal = 'SIGTERM') => void child.kill(signal),
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const match = pattern.exec(text)
          if (!match && running.has(child)) return
          waiting.delete(look)
          if (match) resolve(match)
          else reject(new Error(`it ended before it printed ${pattern}:\n${text}`))
        }
        waiting.add(look)
        look()
      }),
  }
}

/** Ends whatever a test left running; for afterAll. */
export async function endAll(): Promise<void> {
  await Promise.all(
    [...running].map((child) => {
      const gone = new Promise<void>((resolve) => child.once('close', () => resolve()))
      child.kill('SIGTERM')
      const hard = setTimeout(() => child.kill('SIGKILL'), 12_000)
      return gone.finally(() => clearTimeout(hard))
    }),
  )
}

/** A folder of its own outside the project. */
export const makeFolder = (): string => mkdtempSync(join(tmpdir(), 'phasewise-e2e-'))

/** `count` ports that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer()
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      return server
    }),
  )
  const ports = servers.map((server) => (server.address() as { port: number }).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

/** Addresses of a Phasewise under test. */
export interface Site {
  readonly folder: string
  readonly proxy: string
  readonly admin: string
  readonly metrics: string
}

/** Writes a phasewise.yaml with free ports into a new folder; `change` is merged over it. */
export async function makeSite(config: Record<string, unknown>): Promise<Site> {
  const folder = makeFolder()
  const [proxy, admin, metrics, placements, envoy] = await freePorts(5)
  const file = {
    // Whole, so that a command finds it from any folder.
    dataDir: join(folder, '.phasewise'),
    gateways: { openai: { listen: proxy, debugHeaders: true }, placements: { listen: placements }, envoy: { listen: envoy } },
    admin: { listen: admin },
    telemetry: { metrics },
    ...config,
  }
  writeFileSync(join(folder, 'phasewise.yaml'), stringify(file))
  const at = (port: number | undefined): string => `http://127.0.0.1:${port}`
  return { folder, proxy: at(proxy), admin: at(admin), metrics: at(metrics) }
}

/** A virtual instance in a process of its own, so that it can be killed. */
export interface InstanceProcess extends RunningProcess {
  readonly url: string
}

/** Starts a virtual instance; resolves when it listens. */
export async function startInstance(
  options: { readonly profile?: string; readonly timeFactor?: number; readonly port?: number } = {},
): Promise<InstanceProcess> {
  const { profile = 'a100-llama-2-7b', timeFactor = 4, port = 0 } = options
  const args = ['virtual-instance', '--profile', profile, '--time-factor', String(timeFactor), '--port', String(port)]
  const child = runPhasewise(args, { cwd: makeFolder() })
  const [, url = ''] = await child.printed(/ at (http:\S+),/)
  return { ...child, url }
}

/** Starts Phasewise over these instances and waits until it serves. */
export async function startSite(
  instances: readonly { readonly url: string }[],
  config: Record<string, unknown> = {},
): Promise<Site & { readonly phasewise: RunningProcess; readonly signIn: string }> {
  const pool = { name: 'llama-2-7b', engine: 'virtual', exploration: 0, instances: instances.map(({ url }, i) => ({ name: `i${i}`, url })) }
  const site = await makeSite({ pools: [pool], ...config })
  const phasewise = runPhasewise(['start'], { cwd: site.folder })
  const [, signIn = ''] = await phasewise.printed(/admin +(http:\S+)/)
  await phasewise.printed(/first calls:/)
  return { ...site, phasewise, signIn }
}

/** Asks until `read` gives something; for facts that another process writes within its own rhythm. Gives up with `what` after a minute. */
export async function eventually<T>(what: string, read: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < 600; tries++) {
    const value = await read()
    if (value !== undefined) return value
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error(`it never came true: ${what}`)
}
