import { hash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

/** A key that callers may use, and the application that it stands for. */
export interface CallerKey {
  readonly application: string
  readonly key: string
}

/** Who calls: `undefined` for nobody known, an empty object where no keys are configured and everybody may call. */
export type Identify = (headers: IncomingHttpHeaders) => { readonly application?: string } | undefined

const ANYBODY = {}

/**
 * Checks callers' keys. Keys are compared as SHA-256 digests and against every configured one, so that the time taken tells neither how
 * much of a key was right nor whose it was; only digests are kept.
 */
export function createIdentify(keys: readonly CallerKey[]): Identify {
  if (keys.length === 0) return () => ANYBODY
  const known = keys.map((one) => ({ application: one.application, digest: digestOf(one.key) }))
  return (headers) => {
    const sent = keyIn(headers)
    if (sent === undefined) return undefined
    const digest = digestOf(sent)
    let found: string | undefined
    for (const one of known) if (timingSafeEqual(one.digest, digest)) found = one.application
    return found === undefined ? undefined : { application: found }
  }
}

function digestOf(key: string): Buffer {
  return hash('sha256', key, 'buffer')
}

/** `Authorization: Bearer …` as OpenAI's clients send it, `x-api-key` as Anthropic's do. */
function keyIn(headers: IncomingHttpHeaders): string | undefined {
  const bearer = /^bearer +(\S+) *$/i.exec(headers.authorization ?? '')?.[1]
  if (bearer !== undefined) return bearer
  const key = headers['x-api-key']
  return typeof key === 'string' && key !== '' ? key : undefined
}
