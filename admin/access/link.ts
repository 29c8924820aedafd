import type { Clock } from '../../plugin/clock.ts'
import type { Control } from '../../plugin/log/control.ts'
import { createToken, tokenSha256 } from './tokens.ts'

/** A link for somebody else may wait for them over a weekend. */
export const PASSWORD_LINK_LIFE_MS = 72 * 3_600_000

/** Path of a fresh one-time link (`/password/<token>`) by which this user sets a password. Only the token's hash is kept. */
export function issuePasswordLink(parts: { readonly control: Control; readonly clock: Clock; readonly userId: number }): string {
  const token = createToken()
  const expiresUnixMs = parts.clock.nowUnixMs() + PASSWORD_LINK_LIFE_MS
  parts.control.signInLinks.add({ tokenSha256: tokenSha256(token), expiresUnixMs, userId: parts.userId })
  return `/password/${token}`
}

/** A machine set up in the evening is opened the next morning. */
const LINK_LIFE_MS = 24 * 3_600_000

/**
 * Path of a fresh one-time link (`/welcome/<token>`) that lets its first visitor set name and password and become admin; undefined
 * when there are users already, who sign in. Only the token's hash is kept.
 */
export function issueSignInLink(control: Control, clock: Clock): string | undefined {
  if (control.users.count() > 0) return undefined
  const token = createToken()
  control.signInLinks.add({ tokenSha256: tokenSha256(token), expiresUnixMs: clock.nowUnixMs() + LINK_LIFE_MS })
  return `/welcome/${token}`
}
