import { afterAll, expect, test } from 'vitest'
import { systemClock } from '../../../plugin/clock.ts'
import { openControl } from '../../../plugin/log/control.ts'
import { databasePath } from '../../../plugin/log/migrate.ts'
import { startVirtualFleet } from '../../../plugin/simulation/virtual-fleet.ts'
import { endAll, eventually, startSite } from '../processes.ts'
import { sendSteadily } from './steady.ts'

afterAll(endAll)

/** Durations of the engines are divided by it. */
const TIME_FACTOR = 20

test('a virtual instance that gets twice as slow while it serves is noticed within 500 of its calls, told, and taken as it is on request', async () => {
  const specs = ['i0', 'i1'].map((name) => ({ name, profile: 'v100-llama-2-7b', timeFactor: TIME_FACTOR }))
  const fleet = await startVirtualFleet({ specs, clock: systemClock })
  const site = await startSite(fleet.instances, { admin: { listen: 0 } })
  const control = openControl({ path: databasePath(`${site.folder}/.phasewise`, 'control'), clock: systemClock })
  const traffic = sendSteadily({ url: site.proxy, atOnce: 12 })
  try {
    await eventually('both have answered enough to be known', () => (traffic.answeredBy('i1') >= 1_500 ? true : undefined))
    expect(control.instanceChanges()).toEqual([])
    await fleet.instances[1]?.setBehaviour({ mode: 'slow', factor: 2 })
    const before = traffic.answeredBy('i1')
    const [change] = await eventually('it is noticed', () => {
      const changes = control.instanceChanges()
      return changes.length > 0 ? changes : undefined
    })
    expect(traffic.answeredBy('i1') - before).toBeLessThanOrEqual(500)
    expect(change).toMatchObject({ pool: 'llama-2-7b', instance: 'i1' })
    expect(change?.factor).toBeGreaterThan(1.4)
    expect(control.notices.open()).toMatchObject([{ tone: 'warn', href: '/fleet' }])
    expect(control.audit.list({ limit: 5 }).map(({ action }) => action)).toContain('instance changed')
    const asked = control.intents.append({ kind: 'accept change', subject: { pool: 'llama-2-7b', instance: 'i1' }, askedBy: 'ada' })
    await expect.poll(() => control.intents.get(asked)?.state, { timeout: 5_000 }).toBe('done')
    expect(control.instanceChanges()).toEqual([])
  } finally {
    await traffic.stop()
    control.close()
    site.phasewise.kill()
    await site.phasewise.exited
    await fleet.close()
  }
}, 180_000)
