import { createServer, type Server } from 'node:http'
import type { Clock } from '../plugin/clock.ts'
import type { ConfigParts } from '../plugin/config.ts'
import type { AdminConfig } from '../plugin/config-admin.ts'
import type { Listen } from '../plugin/config-schema.ts'
import type { LabRuns } from '../plugin/log/control/lab.ts'
import { openControl } from '../plugin/log/control.ts'
import { openReader } from '../plugin/log/read/reader.ts'
import { createOidcDoor } from './access/oidc.ts'
import { createAdmin } from './app.ts'
import type { FrameFacts } from './frame.ts'
import type { LabDoor } from './pages/lab/plan.ts'
import type { NightFacts } from './pages/training/training.ts'
import type { RouterLine } from './router-line.ts'

/** What the admin process is made of. Both databases must exist: the migrations make them. */
export interface AdminProcessParts {
  readonly listen: Listen
  readonly config: Omit<AdminConfig, 'listen'>
  /** What the configuration is read from, for Settings. */
  readonly configuration: ConfigParts
  readonly logPath: string
  readonly controlPath: string
  readonly clock: Clock
  readonly facts: Omit<FrameFacts, 'logPath'>
  readonly line?: RouterLine
  /** Made over the runs as this process keeps them. */
  readonly openLab?: (labRuns: LabRuns) => LabDoor & { stop(): void }
  readonly night?: () => NightFacts
  /** Where lines for the operator go. */
  readonly write: (line: string) => void
}

/** The admin while it runs. */
export interface RunningAdmin {
  /** http://host:port as it listens. */
  readonly url: string
  /** Stops listening, ends open connections, closes the databases. */
  close(): Promise<void>
}

/** Slow clients may not hold connections: a page is a few hundred kB. */
const REQUEST_TIMEOUT_MS = 30_000

/** Opens the databases and listens. Rejects in words that name the key to change when the address cannot be had. */
export async function runAdmin(parts: AdminProcessParts): Promise<RunningAdmin> {
  const { listen, clock, write, line, night } = parts
  const facts = { ...parts.facts, logPath: parts.logPath }
  const reader = openReader(parts.logPath)
  const control = openControl({ path: parts.controlPath, clock })
  const onError = (error: unknown, url: string): void =>
    write(`admin: ${url} failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  const lab = parts.openLab?.(control.labRuns)
  const { oidc, trustedProxies } = parts.config
  const publicUrl = (): string => parts.config.publicUrl ?? urlOf(server)
  const server: Server = createServer(
    createAdmin({
      reader,
      control,
      clock,
      facts,
      onError,
      ...(line && { line }),
      ...(night && { night }),
      ...(lab && { lab }),
      publicUrl,
      configuration: parts.configuration,
      trustedProxies,
      oidc: oidc && createOidcDoor({ config: oidc, publicUrl, clock }),
    }).app,
  )
  server.requestTimeout = REQUEST_TIMEOUT_MS
  const closeDatabases = (): void => {
    lab?.stop()
    reader.close()
    control.close()
  }
  try {
    await listening(server, listen)
  } catch (error) {
    closeDatabases()
    throw error
  }
  return {
    url: urlOf(server),
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
      closeDatabases()
    },
  }
}

function listening(server: Server, { host, port }: Listen): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const taken = cause.code === 'EADDRINUSE' ? 'is in use by another program' : `cannot be listened on (${cause.message})`
      reject(new Error(`${host}:${port} ${taken}: change admin.listen`, { cause }))
    })
    server.listen(port, host, resolve)
  })
}

function urlOf(server: Server): string {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error(`the admin listens on no port: ${address}`)
  return `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`
}
