import type { Clock } from '../../plugin/clock.ts'
import type { Session, User } from '../../plugin/log/control/people.ts'
import type { Control } from '../../plugin/log/control.ts'
import { COOKIES, type CookieChange } from './cookies.ts'
import { createToken, tokenSha256 } from './tokens.ts'

/** A session unused for this long ends: a working day. */
const IDLE_MS = 12 * 3_600_000
/** Every session ends after this, used or not. */
const LIFE_MS = 7 * 86_400_000
/** Use is noted at most this often, so that looking at pages hardly writes. */
const NOTE_EVERY_MS = 60_000

/** Sessions behind cookies; `control.sqlite` holds only the hash of the cookie's token. */
export interface SessionStore {
  /** The session behind a cookie's value; undefined when there is none or it has ended. Notes its use. */
  find(token: string | undefined): { readonly session: Session; readonly user: User } | undefined
  /** A new session for this user: the cookies to set. A new token for each sign-in, so none can be planted before. */
  start(user: User, from: { readonly address: string; readonly agent: string }): CookieChange[]
  /** Ends a session: the cookies to set. */
  end(session: Session | undefined): CookieChange[]
}

/** Sessions as `control` keeps them. */
export function createSessionStore({ control, clock }: { readonly control: Control; readonly clock: Clock }): SessionStore {
  const { sessions, users } = control
  /** A disk that takes no write costs the note, and the session ends sooner; it must not keep anybody from the kill switch. */
  const noteUse = (session: Session, now: number): void => {
    try {
      sessions.seen(session.tokenSha256, Math.min(now + IDLE_MS, session.createdUnixMs + LIFE_MS))
    } catch (error) {
      console.error(`phasewise: the use of a session was not noted: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  return {
    find(token) {
      if (token === undefined || token === '') return undefined
      const found = sessions.find(tokenSha256(token))
      if (found === undefined) return undefined
      const now = clock.nowUnixMs()
      if (now - found.session.seenUnixMs >= NOTE_EVERY_MS) noteUse(found.session, now)
      return found
    },
    start(user, { address, agent }) {
      const token = createToken()
      const session = { tokenSha256: tokenSha256(token), userId: user.userId, formToken: createToken() }
      control.together(() => {
        sessions.removeExpired()
        sessions.add({ ...session, expiresUnixMs: clock.nowUnixMs() + IDLE_MS, address, agent })
        users.signedIn(user.userId)
      })
      return [{ name: COOKIES.session, value: token, lifeMs: LIFE_MS }, { name: COOKIES.form }]
    },
    end(session) {
      if (session !== undefined) sessions.remove(session.tokenSha256)
      return [{ name: COOKIES.session }]
    },
  }
}
