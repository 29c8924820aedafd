import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createSchedule } from '../../plugin/main-schedule.ts'
import { createRng } from '../../plugin/rng.ts'

const DAY_MS = 86_400_000

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1, 12) })
})
afterEach(() => {
  vi.useRealTimers()
})

const open = () => {
  const asked: string[] = []
  const schedule = createSchedule({ ask: () => asked.push(new Date().toISOString().slice(11, 16)), rng: createRng(3) })
  return { schedule, asked }
}
const night = (schedule: string, timeZone = 'UTC', jitterMinutes = 0) => ({ schedule, timeZone, jitterMinutes })

test('a changed schedule or zone counts from then on, and the one before no more', async () => {
  const { schedule, asked } = open()
  schedule.follow(night('0 3 * * *'))
  await vi.advanceTimersByTimeAsync(DAY_MS)
  expect(asked).toEqual(['03:00'])
  schedule.follow(night('30 4 * * *'))
  await vi.advanceTimersByTimeAsync(DAY_MS)
  schedule.follow(night('30 4 * * *', 'Asia/Tokyo'))
  await vi.advanceTimersByTimeAsync(DAY_MS)
  expect(asked).toEqual(['03:00', '04:30', '19:30'])
  schedule.follow(night('off'))
  await vi.advanceTimersByTimeAsync(3 * DAY_MS)
  expect(asked).toHaveLength(3)
  schedule.stop()
})

test('a night that waits for its jitter goes with its schedule, and is kept where nothing changed', async () => {
  const { schedule, asked } = open()
  schedule.follow(night('0 13 * * *', 'UTC', 720))
  await vi.advanceTimersByTimeAsync(3_600_000 + 1_000)
  expect(asked).toEqual([])
  schedule.follow(night('0 13 * * *', 'UTC', 720))
  await vi.advanceTimersByTimeAsync(12 * 3_600_000)
  expect(asked).toHaveLength(1)
  await vi.advanceTimersByTimeAsync(DAY_MS / 2)
  schedule.follow(night('off', 'UTC', 720))
  await vi.advanceTimersByTimeAsync(2 * DAY_MS)
  expect(asked).toHaveLength(1)
})
