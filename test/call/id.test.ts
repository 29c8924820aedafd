import { expect, test } from 'vitest'
import { createIdSource, firstIdAt, formatId, parseId, unixMsOfId } from '../../plugin/call/id.ts'

test('ids only grow, even when the wall clock steps back', () => {
  let now = 1_800_000_000_000
  const nextId = createIdSource(() => now)
  const first = nextId()
  now -= 60_000
  expect(nextId()).toBeGreaterThan(first)
})

test('an id carries its arrival time and survives being read by people', () => {
  const id = firstIdAt(1_800_000_000_123) + 7
  expect(unixMsOfId(id)).toBe(1_800_000_000_123)
  expect(parseId(formatId(id).toLowerCase())).toBe(id)
  expect(parseId('not an id')).toBeUndefined()
})
