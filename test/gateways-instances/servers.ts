import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface LocalServer {
  readonly url: string
  readonly port: number
  /** Sockets accepted so far. */
  readonly sockets: () => number
  readonly close: () => Promise<void>
}

/** A real HTTP server on a free loopback port. */
export async function serve(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<LocalServer> {
  const server: Server = createServer(answer)
  let sockets = 0
  server.on('connection', () => sockets++)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    sockets: () => sockets,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** A list of what happened that can be waited for. */
export function record<T>(): {
  readonly all: T[]
  readonly push: (one: T) => void
  readonly until: (enough: (all: T[]) => boolean) => Promise<T[]>
} {
  const all: T[] = []
  let waiting: (() => void)[] = []
  return {
    all,
    push(one) {
      all.push(one)
      for (const check of waiting) check()
    },
    until: (enough) =>
      new Promise((resolve) => {
        const check = (): void => {
          if (!enough(all)) return
          waiting = waiting.filter((one) => one !== check)
          resolve(all)
        }
        waiting.push(check)
        check()
      }),
  }
}
