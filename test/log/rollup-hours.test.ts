import { expect, test } from 'vitest'
import { openReader } from '../../plugin/log/read/reader.ts'
import { createRollups, mergeSlices } from '../../plugin/log/read/rollups.ts'
import { openWriter } from '../../plugin/log/writer.ts'
import { NOW_UNIX_MS, openStage } from '../admin/visitor.ts'

const HOUR_MS = 3_600_000

test('hours rolled up say what their minutes say; one that changes after all is read by its minutes until it is rolled anew', async () => {
  const stage = await openStage({ calls: 3_000, hours: 30 })
  const path = `${stage.dataDir}/log.sqlite`
  const writer = openWriter(path)
  const reader = openReader(path)
  const toUnixMs = Math.ceil(NOW_UNIX_MS / (2 * HOUR_MS)) * 2 * HOUR_MS
  const span = { fromUnixMs: toUnixMs - 32 * HOUR_MS, toUnixMs, bucketMs: 2 * HOUR_MS }
  const read = () => {
    const slices = reader.read((query) => createRollups().buckets(query, span, NOW_UNIX_MS)).flatMap((bucket) => bucket.slices)
    const { calls, completed, heldMsSum, e2e, ttft } = mergeSlices(slices)
    return { calls, completed, held: Math.round(heldMsSum), e2e: e2e.percentile(0.99), ttft: ttft.count, buckets: slices.length }
  }
  const rolled = () => writer.database.prepare('SELECT count(DISTINCT hour_unix_ms) FROM rollup_hour').pluck().get()
  try {
    const before = read()
    expect(before.calls).toBe(3_000)
    while (writer.hours.step(NOW_UNIX_MS));
    expect(rolled()).toBeGreaterThanOrEqual(28)
    expect(read()).toEqual(before)
    const count = rolled()
    writer.hours.touched(NOW_UNIX_MS - 10 * HOUR_MS)
    expect(rolled()).toBe(Number(count) - 1)
    expect(read()).toEqual(before)
    while (writer.hours.step(NOW_UNIX_MS));
    expect([rolled(), read()]).toEqual([count, before])
    expect(writer.hours.step(NOW_UNIX_MS)).toBe(false)
  } finally {
    reader.close()
    writer.close()
    await stage.close()
  }
})
