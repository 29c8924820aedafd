import { readFile } from 'node:fs/promises'
import type { SecureContextOptions, Server, TlsOptions } from 'node:tls'

/** Certificates on disk. With `caFile` a client must show one that this authority signed (mutual TLS). */
export interface TlsFiles {
  readonly certFile: string
  readonly keyFile: string
  readonly caFile?: string | undefined
}

/** Rotated certificates serve new connections within this time; polling also sees the symbolic links that Kubernetes swaps. */
const REREAD_MS = 2_000

/** Reads the files. Rejects where one cannot be read. */
export async function readTls(files: TlsFiles): Promise<TlsOptions> {
  const [cert, key, ca] = await Promise.all([
    readFile(files.certFile, 'utf8'),
    readFile(files.keyFile, 'utf8'),
    files.caFile === undefined ? undefined : readFile(files.caFile, 'utf8'),
  ])
  return { cert, key, ...(ca === undefined ? {} : { ca, requestCert: true, rejectUnauthorized: true }) }
}

export interface FollowParts {
  readonly files: TlsFiles
  readonly first: TlsOptions | undefined
  readonly server: Pick<Server, 'setSecureContext'>
  readonly warn: (text: string) => void
}

/** Takes changed files into use for new connections; files that do not fit together change nothing and are told once. Returns the end of it. */
export function followTls({ files, first, server, warn }: FollowParts): () => void {
  let now = JSON.stringify(first)
  let told = ''
  const look = async (): Promise<void> => {
    try {
      const options = await readTls(files)
      const next = JSON.stringify(options)
      if (next === now) return
      server.setSecureContext(options as SecureContextOptions)
      now = next
      told = ''
    } catch (error) {
      const text = `TLS files of the Envoy door: ${error instanceof Error ? error.message : String(error)}; the previous ones stay in use`
      if (text !== told) warn(text)
      told = text
    }
  }
  const timer = setInterval(() => void look(), REREAD_MS).unref()
  return () => clearInterval(timer)
}
