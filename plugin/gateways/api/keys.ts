import { hash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { Problem } from './problems.ts'
import type { Scope } from './schemas.ts'

/** A key as configured. */
export interface ApiKey {
  readonly name: string
  readonly key: string
  readonly scopes: readonly Scope[]
}

/** A key that people made in the admin: only its digest is known. */
export interface StoredKey {
  readonly keyId: number
  readonly name: string
  readonly scopes: readonly Scope[]
  /** SHA-256 of the key, 64 hexadecimal digits. */
  readonly sha256: string
}

/** Keys that come and go while we run. */
export interface StoredKeys {
  /** Those that open something now; the same list until one of them changes. */
  usable(): readonly StoredKey[]
  /** The key was used just now. */
  used(keyId: number): void
}

/** Who asks; throws the Problem to answer with where they may not. */
export type Admit = (request: IncomingMessage, scope: Scope) => string

export interface KeyringParts {
  readonly keys: readonly ApiKey[]
  readonly stored?: StoredKeys | undefined
  /** Callers on this machine may do all without a key. */
  readonly openLoopback: boolean
  readonly nowMs: () => number
  readonly count: (what: string) => void
}

/** Wrong keys that an address may send in a row, and how fast it gets a try back: a mistyped key is forgiven, guessing is hopeless. */
const FAILURES_MAX = 10
const FORGIVE_MS = 6_000
/** Of SHA-256; what is stored with another length is nobody's key. */
const DIGEST_BYTES = 32
/** Right keys remembered per address. */
const RIGHT_MAX = 100
/** Addresses remembered; the oldest go first. */
const ADDRESSES_MAX = 10_000

interface Address {
  failures: number
  sinceMs: number
  /** Digest of a key that was right from here: it stays so while others guess from the same address. */
  readonly right: Set<string>
}

/**
 * Checks bearer keys, those of the configuration and those made in the admin. Only digests are kept, and each is compared with all of them, so that the time taken tells nothing. An address
 * that sent too many wrong ones is not listened to for a while, except with a key that was right from there before.
 */
export function createAdmit(parts: KeyringParts): Admit {
  const ring = createRing(parts)
  const addresses = new Map<string, Address>()
  return (request, scope) => {
    const sent = /^bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1]
    if (sent === undefined) {
      if (parts.openLoopback && isLocal(request)) return 'loopback'
      throw unauthorized('Send a key: authorization: Bearer KEY.')
    }
    const digest = digestOf(sent)
    const address = addressOf(addresses, request.socket.remoteAddress ?? 'local', parts.nowMs())
    if (address.failures >= FAILURES_MAX && !address.right.has(digest.toString('latin1'))) {
      parts.count('api key: throttled')
      throw throttled()
    }
    const known = ring()
    let found: Known | undefined
    for (const one of known) if (timingSafeEqual(one.digest, digest)) found = one
    if (!found) {
      address.failures++
      parts.count('api key: wrong')
      throw unauthorized('The key is not known.')
    }
    if (address.right.size < RIGHT_MAX) address.right.add(digest.toString('latin1'))
    if (found.keyId !== undefined) parts.stored?.used(found.keyId)
    if (!found.scopes.has(scope))
      throw new Problem({ kind: 'forbidden', status: 403, detail: `The key ${found.name} lacks the scope "${scope}".` })
    return found.name
  }
}

interface Known {
  readonly name: string
  readonly scopes: ReadonlySet<Scope>
  readonly digest: Buffer
  readonly keyId?: number
}

/** All keys that open something now: those of the configuration, then those made in the admin. */
function createRing({ keys, stored }: KeyringParts): () => readonly Known[] {
  const configured: readonly Known[] = keys.map(({ name, key, scopes }) => ({ name, scopes: new Set(scopes), digest: digestOf(key) }))
  let seen: readonly StoredKey[] = []
  let all = configured
  return () => {
    const now = stored?.usable() ?? seen
    if (now === seen) return all
    seen = now
    all = [
      ...configured,
      ...now.flatMap(({ keyId, name, scopes, sha256 }) => {
        const digest = Buffer.from(sha256, 'hex')
        return digest.length === DIGEST_BYTES ? [{ keyId, name, scopes: new Set(scopes), digest }] : []
      }),
    ]
    return all
  }
}

function addressOf(addresses: Map<string, Address>, name: string, nowMs: number): Address {
  const address = addresses.get(name) ?? { failures: 0, sinceMs: nowMs, right: new Set<string>() }
  const forgiven = Math.floor((nowMs - address.sinceMs) / FORGIVE_MS)
  if (forgiven > 0) {
    address.failures = Math.max(0, address.failures - forgiven)
    address.sinceMs += forgiven * FORGIVE_MS
  }
  if (!addresses.has(name)) {
    const oldest = addresses.size >= ADDRESSES_MAX ? addresses.keys().next().value : undefined
    if (oldest !== undefined) addresses.delete(oldest)
    addresses.set(name, address)
  }
  return address
}

const LOOPBACK = /^(::1|127\.[\d.]+|::ffff:127\.[\d.]+)$/
const LOOPBACK_HOST = /^(localhost|127\.[\d.]+|\[::1\])(:\d+)?$/i
/** A proxy on this machine passes on callers from elsewhere; it says so in these. */
const FORWARDED = ['forwarded', 'x-forwarded-for', 'x-real-ip', 'via']

/** Asked from this machine, by a program: over the Unix socket or loopback, not for somebody else, and not by a page in a browser. */
function isLocal(request: IncomingMessage): boolean {
  if (request.headers.origin !== undefined || FORWARDED.some((name) => request.headers[name] !== undefined)) return false
  const { remoteAddress } = request.socket
  if (remoteAddress === undefined) return true
  return LOOPBACK.test(remoteAddress) && LOOPBACK_HOST.test(request.headers.host ?? 'localhost')
}

function digestOf(key: string): Buffer {
  return hash('sha256', key, 'buffer')
}

function unauthorized(detail: string): Problem {
  return new Problem({ kind: 'unauthorized', status: 401, detail }, {}, { 'www-authenticate': 'Bearer' })
}

function throttled(): Problem {
  return new Problem(
    { kind: 'too-many-failures', status: 429, detail: 'Wait, then send a key that is right.' },
    { retryAfterMs: FORGIVE_MS },
  )
}
