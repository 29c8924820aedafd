// Enhancements only: every page and action works without this file.

/** Tells the admin the browser's time zone, so that times are shown in it. A zone chosen on the Access page goes before it. */
function tellZone() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone
  if (!zone) return
  // Cookies of ours hold letters, digits, - and _ alone.
  const value = zone.replaceAll('/', '__').replace('+', '-P-')
  if (/^[\w-]+$/.test(value) && !document.cookie.split('; ').includes(`phasewise_browser_zone=${value}`))
    // biome-ignore lint/suspicious/noDocumentCookie: the Cookie Store API is not in every browser
    document.cookie = `phasewise_browser_zone=${value}; path=/; max-age=31536000; samesite=lax`
}

tellZone()
