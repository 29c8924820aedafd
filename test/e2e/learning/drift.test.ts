import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Agent } from 'undici'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../../plugin/clock.ts'
import { openControl } from '../../../plugin/log/control.ts'
import { databasePath } from '../../../plugin/log/migrate.ts'
import { openReader } from '../../../plugin/log/read/reader.ts'
import { sendCall } from '../../../plugin/simulation/call-client.ts'
import { VIRTUAL_MODEL } from '../../../plugin/simulation/virtual-fleet.ts'
import { driftDays } from '../../learning/drift-days.ts'
import { writeLog } from '../../learning/made-log.ts'
import { endAll, eventually, makeSite, runPhasewise, startInstance } from '../processes.ts'

afterAll(endAll)

const DAY_MS = 86_400_000

test('after two days on which nothing came as promised, the learned policy is set aside, over a restart too, until somebody takes it up', async () => {
  const { url } = await startInstance({ timeFactor: 50 })
  const instances = [{ name: 'i0', url }]
  const pools = [{ name: VIRTUAL_MODEL, engine: 'virtual', policy: 'learned', fallbackPolicy: 'least-request', exploration: 0, instances }]
  const site = await makeSite({ pools })
  const dataDir = join(site.folder, '.phasewise')
  mkdirSync(dataDir)
  await writeLog(dataDir, driftDays(Math.floor(systemClock.nowUnixMs() / DAY_MS) * DAY_MS - 4 * DAY_MS, [1, 1, 3, 3]))
  const control = openControl({ path: databasePath(dataDir, 'control'), clock: systemClock })
  const reader = openReader(databasePath(dataDir, 'log'))
  const dispatcher = new Agent()
  onTestFinished(async () => {
    control.close()
    reader.close()
    await dispatcher.close()
  })
  const newest = () =>
    reader.read((query) =>
      query.get<{ calls: number; policy: string }>(
        'SELECT (SELECT count(*) FROM call) AS calls, policy FROM call ORDER BY call_id DESC LIMIT 1',
      ),
    )
  const policyOfCall = async (): Promise<string | undefined> => {
    const before = newest()?.calls ?? 0
    const body = JSON.stringify({ model: VIRTUAL_MODEL, messages: [{ role: 'user', content: 'Hi' }], max_tokens: 4 })
    const headers = { 'content-type': 'application/json' }
    const { ok } = await sendCall({ origin: site.proxy, path: '/v1/chat/completions', headers, body }, { dispatcher, clock: systemClock })
    expect(ok).toBe(true)
    return eventually('the call is in the log', () => {
      const now = newest()
      return now && now.calls > before ? now.policy : undefined
    })
  }
  const start = async () => {
    const phasewise = runPhasewise(['start'], { cwd: site.folder })
    await phasewise.printed(/first calls:/)
    return phasewise
  }
  const first = await start()
  await eventually('drift is judged', () => control.setAside())
  expect(control.drift.days({ limit: 9 }).filter((day) => day.fallsBack === 1)).toHaveLength(2)
  expect(await policyOfCall()).toBe('least-request')
  first.kill()
  await first.exited
  const second = await start()
  expect(await policyOfCall()).toBe('least-request')
  const asked = control.intents.append({ kind: 'take up', subject: { why: 'we know why' }, askedBy: 'ada' })
  await expect.poll(() => control.intents.get(asked)?.state, { timeout: 5_000 }).toBe('done')
  expect(await policyOfCall()).toBe('learned')
  second.kill()
  await second.exited
}, 120_000)
