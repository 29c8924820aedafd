import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'

/**
 * Passwords at rest: scrypt (Percival, 2009; RFC 7914) with its parameters beside salt and hash, so that they can be raised later and
 * old ones still be checked. N = 2^15, r = 8, p = 3 is one of the settings of equal strength in OWASP's Password Storage Cheat Sheet; it takes
 * 32 MiB and some 200 ms off the event loop.
 */
const COST = { N: 32_768, r: 8, p: 3 } as const
const HASH_BYTES = 32
const SALT_BYTES = 16
/** scrypt needs 128·N·r bytes; twice that is room for its own. */
const MEMORY_BYTES_MAX = 2 * 128 * COST.N * COST.r

/** Shortest password: NIST SP 800-63B asks for 8 and advises more; length is the one rule that helps. */
export const PASSWORD_LENGTH_MIN = 12
/** Longest: whatever a password manager makes, and a bound on what is hashed. */
export const PASSWORD_LENGTH_MAX = 256
const DISTINCT_MIN = 5

/** What is wrong with a password, in words for the page; undefined when it may be used. */
export function passwordProblem(password: string, name: string): string | undefined {
  const length = [...password].length
  if (length < PASSWORD_LENGTH_MIN) return `Use at least ${PASSWORD_LENGTH_MIN} characters; this has ${length}.`
  if (length > PASSWORD_LENGTH_MAX) return `Use at most ${PASSWORD_LENGTH_MAX} characters.`
  if (new Set(password).size < DISTINCT_MIN) return `Use at least ${DISTINCT_MIN} different characters.`
  if (name.length >= 3 && password.toLowerCase().includes(name.toLowerCase())) return 'Leave your name out of the password.'
  return undefined
}

/** The text kept for a password: `scrypt$N$r$p$salt$hash`, salt and hash in base64url. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES)
  const hash = await derive(password, salt, COST)
  return ['scrypt', COST.N, COST.r, COST.p, salt.toString('base64url'), hash.toString('base64url')].join('$')
}

/** The password is the one behind `stored`. Without a stored one it takes as long and is false, so that time tells no names. */
export async function checkPassword(password: string, stored: string | undefined): Promise<boolean> {
  const [kind, N, r, p, salt, hash] = (stored ?? '').split('$')
  if (kind !== 'scrypt' || salt === undefined || hash === undefined) {
    await derive(password, Buffer.alloc(SALT_BYTES), COST)
    return false
  }
  const expected = Buffer.from(hash, 'base64url')
  const got = await derive(password, Buffer.from(salt, 'base64url'), { N: Number(N), r: Number(r), p: Number(p) })
  return got.length === expected.length && timingSafeEqual(got, expected)
}

function derive(password: string, salt: Buffer, cost: { readonly N: number; readonly r: number; readonly p: number }): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password.normalize('NFKC'), salt, HASH_BYTES, { ...cost, maxmem: MEMORY_BYTES_MAX }, (error, hash) =>
      error === null ? resolve(hash) : reject(error),
    )
  })
}
