import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

/** 256 bits from the system's generator, base64url: 43 characters. */
export const createToken = (): string => randomBytes(32).toString('base64url')

/** What is stored in a token's place: a thief of the database cannot use it. Plain SHA-256 suffices for 256 random bits. */
export const tokenSha256 = (token: string): string => createHash('sha256').update(token).digest('hex')

/** The two texts are equal, found out in a time that tells nothing of where they differ. */
export function sameSecret(a: string, b: string): boolean {
  return timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest())
}
