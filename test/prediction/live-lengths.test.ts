import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { firstIdAt } from '../../plugin/call/id.ts'
import { createManualClock } from '../../plugin/clock.ts'
import { createFleet } from '../../plugin/fleet/fleet.ts'
import { FLEET_DEFAULTS } from '../../plugin/fleet/options.ts'
import { BASE_FOLDER } from '../../plugin/learning/model-folder.ts'
import type { CallRow } from '../../plugin/log/rows.ts'
import { type LiveLengths, openLengths } from '../../plugin/main-lengths.ts'
import { createRng } from '../../plugin/rng.ts'
import { createRouter } from '../../plugin/router-place.ts'
import { freshFolder, freshLog } from '../log/fresh.ts'
import { START_UNIX_MS } from '../log/row.ts'
import { askedCall } from './sketches.ts'

const STORY = 'Write a long and detailed story about a dragon that learns to cook.'
const clock = createManualClock(START_UNIX_MS)

async function open(dataDir: string, model = 'base') {
  const counted: string[] = []
  const warned: string[] = []
  const live = await openLengths({
    dataDir,
    model,
    clock,
    count: (what) => void counted.push(what),
    warn: (text) => void warned.push(text),
  })
  return { live, counted, warned }
}

const told = (live: LiveLengths): number => live.predictor.predict('m', askedCall(STORY)).outputTokens

/** `count` calls placed by a real router, answered with `tokens`, logged. */
async function serve(
  live: LiveLengths,
  log: { append(row: CallRow): void },
  { count, tokens }: { count: number; tokens: number },
): Promise<void> {
  const fleet = createFleet({ options: FLEET_DEFAULTS })
  fleet.reconcile('m', [{ name: 'i0', url: 'http://10.0.0.1:8000', weight: 1, speed: 1 }])
  const router = createRouter({
    pools: [
      {
        name: 'm',
        models: ['m'],
        aliases: {},
        adapters: [],
        policy: 'least-request',
        fallbackPolicy: 'random',
        explorationRatio: 0,
        requestUsage: true,
        virtual: false,
      },
    ],
    fleet,
    tokens: { estimate: (_pool, call) => Math.ceil(call.promptBytes / 4), learn: () => undefined },
    lengths: live.predictor,
    log: { append: (row) => row.kind === 'call' && log.append(row) },
    events: { settled: () => undefined, count: () => undefined },
    clock,
    rng: createRng(1),
    textFeatures: true,
    retriesPerCall: 0,
  })
  for (let i = 0; i < count; i++) {
    const call = { ...askedCall(STORY), callId: firstIdAt(START_UNIX_MS + ids++), arrivedUnixMs: START_UNIX_MS }
    const ticket = await router.place(call, { gateway: 'test' })
    ticket.settle({ kind: 'completed', e2eMs: 10, outputTokens: tokens, censored: false })
  }
}
let ids = 0

test('after a restart the predictor knows what it knew: from its file, and from the log where there is none', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir })
  const first = await open(dataDir)
  const before = told(first.live)
  await serve(first.live, log, { count: 30, tokens: 9 })
  await log.flush()
  const known = told(first.live)
  expect(known).toBeLessThan(before / 4)
  // Killed: nothing was saved.
  const rebuilt = await open(dataDir)
  expect(told(rebuilt.live)).toBeCloseTo(known, 0)
  await rebuilt.live.close()
  const resumed = await open(dataDir)
  expect(told(resumed.live)).toBeCloseTo(known, 0)
  await first.live.close()
  await resumed.live.close()
  expect([...rebuilt.warned, ...resumed.warned]).toEqual([])
})

test('a damaged history file is told, counted, and made up for from the log', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir })
  const first = await open(dataDir)
  await serve(first.live, log, { count: 30, tokens: 9 })
  await log.flush()
  const known = told(first.live)
  await first.live.close()
  writeFileSync(join(dataDir, 'length-history.bin'), 'nonsense')
  const again = await open(dataDir)
  expect(again.counted).toEqual(['length history not restored'])
  expect(again.warned[0]).toContain('the length history starts anew')
  expect(told(again.live)).toBeCloseTo(known, 0)
  await again.live.close()
})

test('a model of a folder is put in without a pause, its history rebuilt from the log; one that cannot be used leaves the serving one', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir })
  const { live } = await open(dataDir)
  await serve(live, log, { count: 30, tokens: 9 })
  await log.flush()
  const known = told(live)
  const folder = join(dataDir, 'next')
  mkdirSync(folder)
  cpSync(BASE_FOLDER, folder, { recursive: true })
  const model = JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8'))
  writeFileSync(join(folder, 'model.json'), JSON.stringify({ ...model, version: 'length-next' }))
  const swapping = live.swap(folder)
  expect(live.predictor.version).toBe(model.version)
  expect(told(live)).toBeCloseTo(known, 6)
  expect(await swapping).toBe('length-next')
  expect(live.predictor.version).toBe('length-next')
  expect(told(live)).toBeCloseTo(known, 0)
  writeFileSync(join(folder, 'model.json'), JSON.stringify({ ...model, featureHash: 'deadbeef' }))
  await expect(live.swap(folder)).rejects.toThrow('features deadbeef')
  expect(live.predictor.version).toBe('length-next')
  await live.close()
})

test('without a usable model the router starts, says why, and predicts by history alone; off is off', async () => {
  const dataDir = freshFolder()
  const log = await freshLog({ dataDir })
  const { live, counted, warned } = await open(dataDir, join(dataDir, 'nowhere'))
  expect(counted).toEqual(['length model not loaded'])
  expect(warned[0]).toContain('lengths come from the history of applications alone')
  expect(live.readText('x')).toBeUndefined()
  await serve(live, log, { count: 8, tokens: 40 })
  expect(live.predictor.predict('m', askedCall(STORY)).source).toBe('application history')
  await live.close()
  const off = await open(dataDir, 'off')
  expect([off.counted, off.warned]).toEqual([[], []])
  await off.live.close()
})
