import type { AttemptFailure } from '../../router.ts'

/** What went wrong with an attempt, from what the connection said. */

const CONNECT_CODES: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'EADDRNOTAVAIL',
  'EMFILE',
  'ENFILE',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_CLOSED',
  'UND_ERR_DESTROYED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_HAS_EXPIRED',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'ERR_SSL_WRONG_VERSION_NUMBER',
])

/** The attempt never reached the instance ('connect'), or the connection broke under it ('reset'). */
export function failureOf(error: unknown): AttemptFailure {
  const code = codeOf(error)
  if (CONNECT_CODES.has(code) || code.startsWith('ERR_SSL_') || callOf(error) === 'connect')
    return { kind: 'connect', error: `connect ${code}` }
  return { kind: 'reset', error: `reset ${code}` }
}

/** The instance did not accept the connection in time. */
export function isConnectTimeout(error: unknown): boolean {
  return codeOf(error) === 'UND_ERR_CONNECT_TIMEOUT' || codeOf(error) === 'ETIMEDOUT'
}

/** An instance that is full, or going away, and says so before it begins: worth another try elsewhere. */
export function refusalOf(status: number): AttemptFailure | undefined {
  if (status === 429 || status === 503) return { kind: 'full', status, error: `full (status ${status})` }
  return undefined
}

function codeOf(error: unknown): string {
  const code = (error as { readonly code?: unknown } | null)?.code
  return typeof code === 'string' ? code : error instanceof Error ? error.name : 'unknown'
}

function callOf(error: unknown): unknown {
  return (error as { readonly syscall?: unknown } | null)?.syscall
}
