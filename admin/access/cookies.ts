/**
 * Names of the admin's cookies. `form` binds the forms of people who are not signed in to their browser, `oidc` a sign-in elsewhere to the browser
 * that began it.
 */
export const COOKIES = {
  session: 'phasewise_session',
  form: 'phasewise_form',
  theme: 'phasewise_theme',
  oidc: 'phasewise_oidc',
  zone: 'phasewise_zone',
  /** Set by the small script, so the one that is not HttpOnly. */
  browserZone: 'phasewise_browser_zone',
} as const

/** A cookie to set; without a value it is deleted. Every one is HttpOnly (no script of ours reads any) and SameSite=Lax at least. */
export interface CookieChange {
  readonly name: string
  readonly value?: string
  readonly lifeMs?: number
}

/** The cookies of a request; the first of a name counts, values that are not ours to read are left out. */
export function readCookies(header: string | undefined): ReadonlyMap<string, string> {
  const cookies = new Map<string, string>()
  for (const part of (header ?? '').split(';')) {
    const at = part.indexOf('=')
    const name = part.slice(0, at).trim()
    const value = part.slice(at + 1).trim()
    if (at > 0 && /^[\w-]*$/.test(value) && !cookies.has(name)) cookies.set(name, value)
  }
  return cookies
}

/** A zone's name as a cookie's value, which has letters, digits, - and _ alone. */
export const zoneToCookie = (zone: string): string => zone.replaceAll('/', '__').replace('+', '-P-')

/** The zone's name in a cookie's value. */
export const zoneFromCookie = (value: string): string => value.replaceAll('__', '/').replace('-P-', '+')
