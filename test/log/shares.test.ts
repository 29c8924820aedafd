import { expect, test } from 'vitest'
import { shareAlarm } from '../../admin/pages/fleet-shares.ts'
import { createManualClock } from '../../plugin/clock.ts'
import { blobOf } from '../../plugin/log/blob.ts'
import { databasePath } from '../../plugin/log/migrate.ts'
import { openReader } from '../../plugin/log/read/reader.ts'
import { readShares, wishesOf } from '../../plugin/log/read/shares.ts'
import { preferLeast } from '../../plugin/placement/argmin.ts'
import { drawExploring } from '../../plugin/placement/draw.ts'
import type { Policy } from '../../plugin/placement/policy.ts'
import { createRng } from '../../plugin/rng.ts'
import { freshFolder, freshLog } from './fresh.ts'
import { callRow, instanceKey, START_UNIX_MS } from './row.ts'

const COUNT = 5

test('the log tells the probability of every candidate, as the draw had it', () => {
  const rng = createRng(7)
  const policy = { name: 'some', reason: 'lowest cost' } as Policy
  for (let call = 0; call < 500; call++) {
    const costs = Float64Array.from({ length: COUNT }, () => Math.fround(rng.int(4) + 0.1))
    const out = { costs, probabilities: new Float64Array(COUNT) }
    preferLeast(COUNT, out)
    // Where all are alike no ε can be told, and none is needed.
    const { index, propensity } = drawExploring({ policy, out, count: COUNT, explorationRatio: 0.02, rng })
    const order = [index, ...Array.from({ length: COUNT }, (_, i) => i).filter((i) => i !== index)]
    const logged = {
      instances: JSON.stringify(order),
      costs: blobOf(Float32Array.from(order, (i) => costs[i] as number)),
      total: COUNT,
      propensity,
      instanceId: index,
    }
    for (const [i, p] of wishesOf(logged)) expect(p, `seed ${rng.seed}, call ${call}`).toBeCloseTo(out.probabilities[i] as number, 6)
  }
})

test('a rule without costs explains what it drew, and leaves the rest to the others', () => {
  const costs = blobOf(new Float32Array(3).fill(Number.NaN))
  expect(wishesOf({ instances: '[4,2,9]', costs, total: 3, propensity: 0.5, instanceId: 4 })).toEqual([
    [4, 0.5],
    [2, 0.25],
    [9, 0.25],
  ])
  expect(wishesOf({ instances: null, costs: null, total: null, propensity: 0.4, instanceId: 4 })).toEqual([[4, 1]])
})

const CALLS = 600

/** What Fleet says of each instance after calls of which every `movedEvery`th ended on the first one although it was decided for another. */
async function alarmsAfter(movedEvery: number): Promise<(string | undefined)[]> {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir, clock: createManualClock(START_UNIX_MS + CALLS) })
  const costs = new Float32Array([1, 2, 3, 4])
  for (let number = 0; number < CALLS; number++) {
    const row = callRow(number)
    const [chosen] = row.candidates?.instances ?? []
    const moved = number % movedEvery === 1 && chosen?.name !== instanceKey(0).name
    const [attempt] = row.attempts
    log.append({
      ...row,
      ...(row.candidates ? { candidates: { ...row.candidates, costs } } : {}),
      attempts:
        moved && attempt
          ? [
              { ...attempt, outcome: 'instance error' },
              { ...attempt, instance: instanceKey(0) },
            ]
          : row.attempts,
    })
  }
  await log.close()
  const reader = openReader(databasePath(dataDir, 'log'))
  try {
    return reader.read((query) => {
      const pool = readShares(query, START_UNIX_MS).get('llama')
      expect(pool?.calls).toBe(CALLS)
      const ids = [0, 1, 2, 3].map((i) =>
        query.get<{ id: number }>('SELECT instance_id AS id FROM instance WHERE name = ?', [instanceKey(i).name]),
      )
      return ids.map((row) => shareAlarm(pool, row?.id ?? -1))
    })
  } finally {
    reader.close()
  }
}

test('an instance that serves more than the decisions meant for it is told, with how its calls came there', async () => {
  const [first, ...others] = await alarmsAfter(3)
  expect(first).toMatch(
    /^serves \d+(\.\d)? % of the last 600 calls, the policy explains 25\.0 %: \d+ were decided for another instance, \d+ of them failed there first$/,
  )
  expect(others).toEqual([undefined, undefined, undefined])
})

test('uneven shares that the policy wished are no alarm', async () => {
  expect(await alarmsAfter(Number.POSITIVE_INFINITY)).toEqual([undefined, undefined, undefined, undefined])
})
