// Live parts: an element with data-live is renewed by server-sent events while its page is open. Pages work the same without this, by their links.
for (const part of document.querySelectorAll('[data-live]')) {
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
