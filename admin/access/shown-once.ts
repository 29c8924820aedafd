import type { Clock } from '../../plugin/clock.ts'
import type { Session } from '../../plugin/log/control/people.ts'

/** A secret just made, on its way to the one page that shows it. */
export interface Secret {
  readonly what: string
  readonly secret: string
  readonly note: string
}

/**
 * Secrets between the POST that made them and the page after it: in memory, once, for the session that asked. A restart in between loses
 * them; then a new one is made.
 */
export interface ShownOnce {
  put(session: Session | undefined, secret: Secret): void
  /** The secret of this session, if there is one: it is gone afterwards. */
  take(session: Session | undefined): Secret | undefined
}

/** A redirect takes milliseconds; a page that was never loaded must not leave a key lying in memory. */
const LIFE_MS = 60_000

/** An empty store. */
export function createShownOnce(clock: Clock): ShownOnce {
  const kept = new Map<string, Secret & { readonly untilMs: number }>()
  const sweep = (): void => {
    for (const [token, { untilMs }] of kept) if (untilMs <= clock.nowMs()) kept.delete(token)
  }
  return {
    put(session, secret) {
      sweep()
      if (session !== undefined) kept.set(session.tokenSha256, { ...secret, untilMs: clock.nowMs() + LIFE_MS })
    },
    take(session) {
      sweep()
      const found = session && kept.get(session.tokenSha256)
      if (session !== undefined) kept.delete(session.tokenSha256)
      return found && { what: found.what, secret: found.secret, note: found.note }
    },
  }
}
