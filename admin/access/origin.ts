import type { IncomingHttpHeaders } from 'node:http'

/**
 * The request comes from a page of this same origin, as the browser itself says (`Sec-Fetch-Site`, else `Origin`). A POST that says neither
 * is not from a browser's form and is refused too: the token alone would have to hold then.
 */
export function isSameOrigin(headers: IncomingHttpHeaders): boolean {
  const site = headers['sec-fetch-site']
  if (site !== undefined && site !== 'same-origin') return false
  const { origin, host } = headers
  if (origin === undefined) return site === 'same-origin'
  if (host === undefined || !URL.canParse(origin)) return false
  return new URL(origin).host === host.toLowerCase()
}

/** `next` where it is a page of ours, else '/': no redirect ever leaves this origin. */
export function safeNext(next: string | undefined): string {
  const base = 'http://admin.invalid'
  if (next === undefined || !/^\/(?![/\\])[\x21-\x7e]*$/.test(next) || next.includes('\\')) return '/'
  if (!URL.canParse(next, base)) return '/'
  const url = new URL(next, base)
  // `/.//elsewhere` is a page of ours until its dots are resolved: then it names another host.
  return url.origin === base && !url.pathname.startsWith('//') ? `${url.pathname}${url.search}` : '/'
}
