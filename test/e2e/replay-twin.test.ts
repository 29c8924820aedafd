import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { createRng } from '../../plugin/rng.ts'
import { drawPaper } from '../../plugin/simulation/scenario/mixes.ts'
import { storedCalls } from './database.ts'
import { endAll, eventually, runPhasewise, startInstance, startSite } from './processes.ts'

afterAll(endAll)

const CALLS = 150

test('stored calls are played in the twin: the same answer byte for byte, and near what was measured', async () => {
  const instances = await Promise.all([startInstance(), startInstance()])
  const site = await startSite(instances)
  const rng = createRng(11)
  let atMs = 0
  const trace = Array.from({ length: CALLS }, () => {
    atMs += rng.exponential() * 40
    return JSON.stringify({ atMs, ...drawPaper(rng) })
  })
  writeFileSync(join(site.folder, 'trace.jsonl'), `${trace.join('\n')}\n`)
  const sent = runPhasewise(['replay', '--trace', 'trace.jsonl', '--url', site.proxy, '--json'], { cwd: site.folder })
  expect(await sent.exited).toBe(0)
  const measured = JSON.parse(sent.text()) as { e2e: { meanMs: number } }
  const db = join(site.folder, '.phasewise', 'log.sqlite')
  await eventually('all calls are stored', () => (storedCalls(site).length === CALLS ? true : undefined))
  const ask = async (): Promise<string> => {
    const asked = runPhasewise(['replay', '--twin', '--db', db, '--policies', 'round-robin,least-request,size-interval', '--json'], {
      cwd: site.folder,
    })
    expect(await asked.exited).toBe(0)
    return asked.text()
  }
  const first = await ask()
  expect(await ask()).toBe(first)
  const [pool] = JSON.parse(first) as { calls: number; policies: { policy: string; score: { meanE2eMs: number } }[] }[]
  expect(pool?.calls).toBe(CALLS)
  expect(pool?.policies.map((one) => one.policy)).toEqual(['as-logged', 'round-robin', 'least-request', 'size-interval'])
  expect(Math.abs((pool?.policies[0]?.score.meanE2eMs ?? 0) / measured.e2e.meanMs - 1)).toBeLessThan(0.1)
})
