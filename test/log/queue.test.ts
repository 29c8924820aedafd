import { expect, test } from 'vitest'
import { BATCH_ROWS_MAX, DROPPED_COUNTER, RowQueue } from '../../plugin/log/queue.ts'
import { callRow, nowRow, START_UNIX_MS, scrapeRow } from './row.ts'

test('beyond its bound the queue drops the oldest rows and counts each', () => {
  const queue = new RowQueue(10)
  for (let i = 0; i < 25; i++) queue.append(callRow(i))
  expect(queue.length).toBe(10)
  expect(queue.dropped).toBe(15)
  const { rows, counters } = queue.take()
  expect(rows).toEqual(Array.from({ length: 10 }, (_, i) => callRow(15 + i)))
  expect(counters).toMatchObject([{ name: DROPPED_COUNTER, by: 15 }])
  expect(queue.isEmpty).toBe(true)
})

test('counters add up while they wait, and of the states only the newest does', () => {
  const queue = new RowQueue(1)
  for (let i = 1; i <= 1_000; i++) {
    queue.append({ kind: 'counter', name: 'retries', by: 2, atUnixMs: i })
    queue.append(nowRow(i, [0]))
  }
  const { rows, counters, now } = queue.take()
  expect(rows).toEqual([])
  expect(counters).toEqual([{ kind: 'counter', name: 'retries', by: 2_000, atUnixMs: 1_000 }])
  expect(now?.seenUnixMs).toBe(1_000)
  expect(queue.dropped).toBe(0)
})

test('a batch takes the oldest rows first and says how many appended rows it covers', () => {
  const queue = new RowQueue()
  for (let i = 0; i < BATCH_ROWS_MAX + 5; i++) queue.append(callRow(i))
  expect(queue.take()).toMatchObject({ coversAppended: BATCH_ROWS_MAX })
  const rest = queue.take()
  expect(rest.rows).toEqual(Array.from({ length: 5 }, (_, i) => callRow(BATCH_ROWS_MAX + i)))
  expect(rest.coversAppended).toBe(BATCH_ROWS_MAX + 5)
})

test('of four scrapes a second one per instance is kept, also after the wall clock stepped back', () => {
  const queue = new RowQueue()
  for (let i = 0; i < 8; i++) for (const instance of [0, 1]) queue.append(scrapeRow(instance, START_UNIX_MS + i * 250))
  expect(queue.length).toBe(4)
  queue.append(scrapeRow(0, START_UNIX_MS - 3_600_000))
  expect(queue.length).toBe(5)
})

test('scrapes handed over once a second are all kept, though the timer jitters', () => {
  const queue = new RowQueue()
  for (let i = 0; i < 10; i++) queue.append(scrapeRow(0, START_UNIX_MS + i * 1_000 + (i % 3) * 40))
  expect(queue.length).toBe(10)
})
