import { beforeAll, expect, test } from 'vitest'
import { playEngine } from '../../plugin/learning/play-engine.ts'
import { instanceLogs } from '../../plugin/learning/profile-rows.ts'
import { CALLS_LEAST, type CalibratedProfile, calibrateProfiles } from '../../plugin/learning/profiles.ts'
import { createRng } from '../../plugin/rng.ts'
import { profileNamed } from '../../plugin/simulation/profiles.ts'
import { drawWide } from '../../plugin/simulation/scenario/mixes.ts'
import { hideProfile, type LoggedDay, logDay, START_UNIX_MS, swingingCalls, twinErrors } from '../bench/trust/hidden.ts'

const hidden = hideProfile(profileNamed('a100-7b'), createRng(1))
const fleet = ['a', 'b'].map((name) => ({ name, profile: hidden }))
const instances = fleet.map(({ name }) => ({ name, speed: 1, kvTokens: hidden.kvBlocks * 16 }))
let day: LoggedDay
let found: CalibratedProfile[]

beforeAll(() => {
  const rng = createRng(3)
  day = logDay(fleet, { calls: swingingCalls(fleet, { calls: 5_000, mix: drawWide, rng }), rng })
  found = calibrateProfiles({ instances, calls: day.rows.slice(0, 4_000), scrapes: day.scrapes })
}, 120_000)

test('the twin with profiles fitted to a log is as slow as the fleet behind it, on later calls', () => {
  expect(found.map((one) => one.state)).toEqual(['fitted', 'fitted'])
  const errors = twinErrors(day.rows, { profiles: found, fromUnixMs: day.rows[4_000]!.arrivedUnixMs })
  expect(errors.calls).toBeGreaterThan(900)
  // A tenth: 4,000 calls; the bench holds 20,000 to 3 %.
  for (const error of [errors.ttft, errors.tpot, errors.e2e]) expect(Math.abs(error)).toBeLessThan(0.1)
})

test('what metrics tell is believed: seats and memory', () => {
  expect(found[0]?.limits).toMatchObject({ seats: hidden.seats, seatsFrom: 'scrapes', kvFrom: 'told', kvBlocks: hidden.kvBlocks })
  expect(found[0]?.overheadMs).toBeGreaterThan(1)
  expect(found[0]?.overheadMs).toBeLessThan(6)
})

test('too few calls keep the prior and say so', () => {
  const prior = profileNamed('h100-llama-2-7b')
  const [first] = calibrateProfiles({ instances, calls: day.rows.slice(0, 400), priorOf: () => prior })
  expect(first?.state).toBe('prior')
  expect(first?.profile).toBe(prior)
  expect(first?.words).toContain(`of at least ${CALLS_LEAST}`)
})

test('rows that cannot be are dropped and counted; a doubled log is the log', () => {
  const rows = day.rows.slice(0, 300)
  const own = instanceLogs(rows).get('a')!
  const bad = { ...rows.find((row) => row.instance === 'a')!, e2eMs: -5, arrivedUnixMs: START_UNIX_MS }
  const doubled = instanceLogs([...rows, ...rows, bad]).get('a')!
  expect(doubled.judged.length).toBe(own.judged.length)
  expect(doubled.dropped['written twice']).toBe(own.judged.length)
  expect(doubled.dropped['impossible latency']).toBe(1)
})

test('an engine played from its dispatches does what the twin did', () => {
  const log = instanceLogs(day.rows.slice(0, 1_000)).get('a')!
  const times = playEngine(hidden, log.calls)
  let [played, logged] = [0, 0]
  for (let i = 0; i < log.judged.length; i++) {
    if (log.judged[i] === 0) continue
    played += times.e2eMs[i]! + 3
    logged += log.e2eMs[i]!
  }
  expect(Math.abs(played / logged - 1)).toBeLessThan(0.02)
})
