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

/** Renews an element by server-sent events while its page is open. */
function keepLive(part) {
  const source = new EventSource(part.dataset.live)
  source.addEventListener('part', (event) => {
    // What somebody reads, holds or has focused is not taken from under them.
    if (part.contains(document.activeElement) && document.activeElement.matches('input, select, textarea')) return
    const open = [...part.querySelectorAll('details')].map((one) => one.open)
    const focused = part.contains(document.activeElement)
      ? [...part.querySelectorAll('a, button, summary, [tabindex]')].indexOf(document.activeElement)
      : -1
    part.innerHTML = event.data
    part.querySelectorAll('details').forEach((one, i) => {
      one.open = open[i] ?? false
    })
    if (focused >= 0) [...part.querySelectorAll('a, button, summary, [tabindex]')][focused]?.focus({ preventScroll: true })
  })
  // The server says when nothing moves any more; the page is then loaded once, for what stands outside the part.
  source.addEventListener('over', () => {
    source.close()
    if (part.dataset.live !== '' && part.dataset.reload !== 'no') location.reload()
  })
}

for (const part of document.querySelectorAll('[data-live]')) keepLive(part)
