import fc from 'fast-check'
import { expect, test } from 'vitest'
import { zoneFromCookie, zoneToCookie } from '../../admin/access/cookies.ts'
import { formatClock, formatInstant, formatInstantLong } from '../../admin/format.ts'
import { inZone, isZone, parseInstant, ZONES, zoneName } from '../../admin/zone.ts'

const AT = Date.parse('2026-11-22T23:30:15.250Z')

test('times are those of the zone, with UTC beside them', () => {
  expect(inZone('Asia/Tokyo', () => formatInstant(AT))).toEqual({ text: '23 Nov 08:30:15', utc: '2026-11-22T23:30:15.250Z' })
  expect(inZone('America/New_York', () => formatInstantLong(AT).text)).toBe('Sun 22 Nov 2026 18:30:15.250')
  expect(inZone('UTC', () => [formatClock(AT), zoneName()])).toEqual(['23:30', 'UTC'])
})

test('a zone lasts over what is awaited, and is nobody else’s', async () => {
  const later = inZone('Asia/Tokyo', async () => {
    await new Promise((resolve) => setImmediate(resolve))
    return zoneName()
  })
  expect(inZone('UTC', zoneName)).toBe('UTC')
  expect(await later).toBe('Asia/Tokyo')
})

test('what is no zone leaves the server’s', () => {
  const server = zoneName()
  for (const odd of [undefined, '', 'Mars/Olympus', '../etc', '<script>', 'x'.repeat(500)]) {
    expect(isZone(odd)).toBe(false)
    expect(inZone(odd, zoneName)).toBe(server)
  }
})

test('what a form says is read in the zone that it was shown in', () => {
  expect(inZone('Europe/Berlin', () => parseInstant('2026-07-01T12:00'))).toBe(Date.parse('2026-07-01T10:00Z'))
  expect(inZone('Europe/Berlin', () => parseInstant('2026-12-01T12:00:30'))).toBe(Date.parse('2026-12-01T11:00:30Z'))
  expect(inZone('Asia/Kathmandu', () => parseInstant('2026-12-01'))).toBe(Date.parse('2026-11-30T18:15Z'))
  expect(inZone('Europe/Berlin', () => parseInstant('2026-12-01T12:00Z'))).toBe(Date.parse('2026-12-01T12:00Z'))
  for (const odd of ['', 'yesterday', '2026-13-40T10:00', '2026-02-30T10:00', '12:00']) expect(parseInstant(odd)).toBeUndefined()
})

test('in every zone, what is shown is read as the same minute, but in the hour that clocks repeat', () => {
  fc.assert(
    fc.property(fc.constantFrom(...ZONES), fc.integer({ min: 1_600_000_000, max: 2_000_000_000 }), (zone, seconds) => {
      const atMs = Math.floor(seconds / 60) * 60_000
      inZone(zone, () => {
        const parts = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' }).format(atMs)
        const read = parseInstant(parts.replace(' ', 'T')) ?? Number.NaN
        const shown = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' }).format(read)
        expect([zone, shown]).toEqual([zone, parts])
        expect(Math.abs(read - atMs)).toBeLessThanOrEqual(2 * 3_600_000)
      })
    }),
    { numRuns: 300 },
  )
})

test('a zone survives its cookie', () => {
  for (const zone of [...ZONES, 'Etc/GMT+3']) {
    expect(zoneToCookie(zone)).toMatch(/^[\w-]+$/)
    expect(zoneFromCookie(zoneToCookie(zone))).toBe(zone)
  }
})
