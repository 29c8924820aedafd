import { COOKIES } from '../access/cookies.ts'
import { safeNext } from '../access/origin.ts'
import type { Answer, Visit } from '../answer.ts'

/** A year: the look is a matter of taste, not of the session. */
const THEME_LIFE_MS = 365 * 86_400_000

/** Keeps the chosen look in a cookie and goes back; anything but light and dark follows the system again. */
export function setTheme(visit: Visit): Answer {
  const { theme, next } = visit.form
  const cookie = theme === 'light' || theme === 'dark' ? { value: theme, lifeMs: THEME_LIFE_MS } : {}
  return { kind: 'see other', to: safeNext(next), cookies: [{ name: COOKIES.theme, ...cookie }] }
}
