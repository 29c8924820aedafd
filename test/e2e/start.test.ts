import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { systemClock } from '../../plugin/clock.ts'
import { openControl } from '../../plugin/log/control.ts'
import { ask } from './database.ts'
import { endAll, eventually, makeFolder, makeSite, runPhasewise, startInstance, startSite } from './processes.ts'

/** The commands as a user types them. */
afterEach(endAll)

const pool = (url: string) => ({ pools: [{ name: 'llama-2-7b', engine: 'virtual', instances: [{ name: 'i0', url }] }] })

test('Ctrl-C drains: an open stream ends well, then every process is gone', async () => {
  const site = await startSite([await startInstance()])
  const reply = await fetch(`${site.proxy}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-virtual-output-tokens': '150' },
    body: JSON.stringify({
      model: 'llama-2-7b',
      stream: true,
      messages: [{ role: 'user', content: 'hi' }],
      ignore_eos: true,
      max_tokens: 150,
    }),
  })
  site.phasewise.kill('SIGINT')
  expect((await reply.text()).trimEnd().endsWith('[DONE]')).toBe(true)
  expect(await site.phasewise.exited).toBe(0)
  await expect(fetch(`${site.proxy}/health`)).rejects.toThrow()
  await expect(fetch(`${site.admin}/health`)).rejects.toThrow()
  expect(ask<{ outcome: string }>(site, 'SELECT outcome FROM call')).toEqual([{ outcome: 'completed' }])
})

test('a second start on the same data says who holds it', async () => {
  const site = await startSite([await startInstance()])
  const second = runPhasewise(['start'], { cwd: site.folder })
  expect(await second.exited).toBe(1)
  expect(second.text()).toMatch(new RegExp(`in use by process ${site.phasewise.pid}`))
})

test('a port in use: the start fails and names the key to change', async () => {
  const site = await makeSite(pool('http://127.0.0.1:1'))
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(Number(new URL(site.proxy).port), '127.0.0.1', resolve))
  const start = runPhasewise(['start'], { cwd: site.folder })
  expect(await start.exited).toBe(1)
  expect(start.text()).toMatch(/gateways\.openai\.listen: 127\.0\.0\.1:\d+ is in use/)
  await new Promise((resolve) => taken.close(resolve))
})

test('a wrong configuration: all its problems at once, and no process is left', async () => {
  const folder = makeFolder()
  writeFileSync(join(folder, 'phasewise.yaml'), 'pools: [{name: a, policy: fastest, instances: [{url: "tcp://x"}]}]\ndataDri: x\n')
  const start = runPhasewise(['start'], { cwd: folder })
  expect(await start.exited).toBe(1)
  for (const key of ['pools.0.policy', 'pools.0.instances.0.url', 'dataDri']) expect(start.text()).toContain(key)
})

test('doctor: 0 where all works, 1 with a remedy where an instance does not answer', async () => {
  const instance = await startInstance()
  const well = await makeSite(pool(instance.url))
  const good = runPhasewise(['doctor'], { cwd: well.folder })
  expect(await good.exited, good.text()).toBe(0)
  const ill = await makeSite(pool('http://127.0.0.1:9'))
  const bad = runPhasewise(['doctor'], { cwd: ill.folder })
  expect(await bad.exited).toBe(1)
  expect(bad.text()).toMatch(/fail +llama-2-7b \/ i0: .*does not answer/)
})

test('drain by intent: obeyed within its rhythm, marked done, and the instance takes nothing more', async () => {
  const site = await startSite([await startInstance(), await startInstance()])
  const control = openControl({ path: join(site.folder, '.phasewise', 'control.sqlite'), clock: systemClock })
  try {
    const intentId = control.intents.append({ kind: 'drain', subject: { pool: 'llama-2-7b', instance: 'i0' }, askedBy: 'test' })
    await eventually('the intent is done', () => control.intents.get(intentId)?.state === 'done' || undefined)
  } finally {
    control.close()
  }
  const served = await Promise.all(
    Array.from({ length: 10 }, async () => {
      const reply = await fetch(`${site.proxy}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'llama-2-7b', messages: [{ role: 'user', content: 'hi' }], max_tokens: 3 }),
      })
      await reply.text()
      return reply.headers.get('x-phasewise-instance')
    }),
  )
  expect(new Set(served)).toEqual(new Set(['i1']))
})

test('the embedded default: virtual fleet, proxy, admin and demo traffic by one command', async () => {
  const folder = makeFolder()
  const start = runPhasewise(['start'], { cwd: folder })
  await start.printed(/admin +http:\/\/127\.0\.0\.1:8401\/welcome\/\S+/)
  await start.printed(/curl http:\/\/127\.0\.0\.1:8400/)
  await start.printed(/prompt tokens → (v100|a100)-\d/)
  start.kill('SIGINT')
  expect(await start.exited).toBe(0)
  expect(start.text()).not.toMatch(/password [^)]*[:=]/i)
}, 60_000)
