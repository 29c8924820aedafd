import { expect, onTestFinished, test } from 'vitest'
import { createManualClock, systemClock } from '../../plugin/clock.ts'
import type { NightConfig } from '../../plugin/config-night.ts'
import type { Night } from '../../plugin/learning/night.ts'
import type { NightDesk } from '../../plugin/learning/night-desk.ts'
import type { Gathered } from '../../plugin/learning/night-gather.ts'
import { makeProfiles } from '../../plugin/learning/night-makers.ts'
import type { CalibratedProfile } from '../../plugin/learning/profiles.ts'
import { openControl } from '../../plugin/log/control.ts'
import { databasePath } from '../../plugin/log/migrate.ts'
import { openIntentDesk } from '../../plugin/log/obey.ts'
import { openLog } from '../../plugin/log/open.ts'
import { openReader } from '../../plugin/log/read/reader.ts'
import { readQueuedScrapes } from '../../plugin/log/read/scrapes.ts'
import { createRng } from '../../plugin/rng.ts'
import { freshFolder } from '../log/fresh.ts'
import { KEEP_ALL, START_UNIX_MS } from '../log/row.ts'

const POOL = 'llama'
const SEATS = 24

/** A log with a scrape of each instance every second: queues in every other, and the same name in another pool. */
async function logOfScrapes(seconds: number) {
  const dataDir = freshFolder()
  const log = await openLog({ dataDir, clock: systemClock, retention: KEEP_ALL, warn: () => undefined, rowsMax: 100_000 })
  for (let i = 0; i < seconds; i++)
    for (const [pool, name, running] of [
      [POOL, 'a', SEATS],
      ['other', 'a', 99],
    ] as const) {
      const load = { waiting: i % 2, running, kvUsageRatio: Number.NaN, inFlight: running, foreignInFlight: Number.NaN }
      const instance = { pool, name, url: `http://10.0.0.1/${pool}` }
      log.append({ kind: 'scrape', instance, takenUnixMs: START_UNIX_MS + 1_000 * i, ...load, state: 'healthy' })
    }
  await log.flush()
  await log.close()
  const reader = openReader(databasePath(dataDir, 'log'))
  onTestFinished(() => reader.close())
  return { dataDir, reader }
}

test('scrapes with a queue are read: of one pool, of a range, in order', async () => {
  const { reader } = await logOfScrapes(300)
  const range = { pool: POOL, fromUnixMs: START_UNIX_MS + 100_000, toUnixMs: START_UNIX_MS + 200_000 }
  const found = reader.read((query) => readQueuedScrapes(query, range))
  expect(found.map(({ takenUnixMs }) => takenUnixMs)).toEqual(Array.from({ length: 50 }, (_, i) => START_UNIX_MS + 101_000 + 2_000 * i))
  expect(found[0]).toEqual({ instance: 'a', takenUnixMs: START_UNIX_MS + 101_000, waiting: 1, running: SEATS, kvUsageRatio: Number.NaN })
})

/** Calls that say nothing of seats: one at a time, each answered at once. */
function gatheredOf(calls: number): Gathered {
  const training = Array.from({ length: calls }, (_, i) => ({
    arrivedUnixMs: START_UNIX_MS + 500 * i,
    application: 'chat',
    tenant: 'chat',
    task: null,
    promptTokens: 100,
    maxTokens: null,
    instance: 'a',
    predictedOutputTokens: 10,
    outcome: 'completed',
    ttftMs: 40,
    tpotMs: 12,
    e2eMs: 40 + 12 * 9,
    outputTokens: 10,
    prefixBlocks: [],
  }))
  return {
    counts: { read: calls, used: calls, mended: 0, leftOut: {} },
    pool: POOL,
    splitUnixMs: START_UNIX_MS + 500 * calls,
    training,
    heldOut: [],
    others: [],
    fleet: [{ name: 'a', speed: 1, kvTokens: 40_000 }],
    choices: [],
    lengths: [],
    heldOutLengths: [],
    lengthsUnreadable: 0,
  }
}

/** What a night makes of profiles over a log of scrapes; `before` may change the control file. */
async function profilesOf(calls: number, before: (dataDir: string) => void = () => undefined) {
  const { dataDir, reader } = await logOfScrapes(400)
  before(dataDir)
  const control = openControl({ path: databasePath(dataDir, 'control'), clock: createManualClock() })
  onTestFinished(() => control.close())
  const said: string[] = []
  const kept = new Map<string, unknown>()
  const night: Night = {
    run: undefined as unknown as Night['run'],
    desk: deskOf(said, kept),
    reader,
    control,
    dataDir,
    clock: createManualClock(),
    config: {} as NightConfig,
    pools: [],
    gathered: gatheredOf(calls),
    seed: 1,
    rng: createRng(1),
    command: 'a night',
    champion: () => undefined,
  }
  await makeProfiles(night, { registers: false })
  const [own] = kept.get('profiles.json') as readonly { readonly found: readonly CalibratedProfile[] }[]
  const [profile] = own?.found ?? []
  return { profile, said }
}

test('of an instance that changed only the calls since count, and until there are enough it is taken as much slower as was noticed', async () => {
  const plain = await profilesOf(200)
  const changed = await profilesOf(1_500, (dataDir) => {
    const desk = openIntentDesk({ path: databasePath(dataDir, 'control'), clock: createManualClock() })
    const sinceUnixMs = START_UNIX_MS + 500 * 1_300
    desk.report({ kind: 'instance changed', pool: POOL, instance: 'a', factor: 2, words: '', sinceUnixMs, noticedUnixMs: sinceUnixMs })
    desk.close()
  })
  expect(changed.profile).toMatchObject({ state: 'prior', words: expect.stringMatching(/^\d+ calls of at least 1000/) })
  const baseMs = (one: CalibratedProfile | undefined): number => one?.profile.law.dense[0]?.baseMs ?? 0
  expect(plain.profile?.state).toBe('prior')
  expect(baseMs(changed.profile) / baseMs(plain.profile)).toBeCloseTo(2)
}, 60_000)

test('a night believes what the metrics told of the seats', async () => {
  const { profile, said } = await profilesOf(1_500)
  expect(profile?.limits).toMatchObject({ seats: SEATS, seatsFrom: 'scrapes' })
  expect(said.join('\n')).toContain('200 scrapes of pool llama with calls that wait')
}, 60_000)

function deskOf(said: string[], kept: Map<string, unknown>): NightDesk {
  return {
    runId: 1,
    folder: '',
    signal: new AbortController().signal,
    say: (text) => void said.push(text),
    plot: () => undefined,
    progress: () => undefined,
    tell: () => undefined,
    breathe: async () => undefined,
    kept: () => undefined,
    keep: (name, value) => void kept.set(name, value),
    clear: () => undefined,
    close: () => undefined,
  }
}
