import { COOKIES, zoneToCookie } from '../access/cookies.ts'
import { safeNext } from '../access/origin.ts'
import type { Answer, Visit } from '../answer.ts'
import { isZone } from '../zone.ts'

/** A year: look and zone are a matter of taste, not of the session. */
const THEME_LIFE_MS = 365 * 86_400_000

/** Keeps the chosen look in a cookie and goes back; anything but light and dark follows the system again. */
export function setTheme(visit: Visit): Answer {
  const { theme, next } = visit.form
  const cookie = theme === 'light' || theme === 'dark' ? { value: theme, lifeMs: THEME_LIFE_MS } : {}
  return { kind: 'see other', to: safeNext(next), cookies: [{ name: COOKIES.theme, ...cookie }] }
}

/** Keeps the chosen time zone in a cookie; anything that is no zone follows the browser again. */
export function setZone(visit: Visit): Answer {
  const { zone } = visit.form
  const cookie = isZone(zone) ? { value: zoneToCookie(zone), lifeMs: THEME_LIFE_MS } : {}
  return { kind: 'see other', to: '/access', cookies: [{ name: COOKIES.zone, ...cookie }] }
}
