import { join } from 'node:path'
import Database from 'better-sqlite3'
import { afterEach, expect, test } from 'vitest'
import { createVisitor, PASSWORD, type Visitor } from '../admin/visitor.ts'
import { ask } from './database.ts'
import { endAll, eventually, type Site, startInstance, startSite } from './processes.ts'

/** The kill switch, through the real processes: admin, router, proxy and databases. */
afterEach(endAll)

async function signIn(site: Site & { readonly phasewise: { text(): string } }): Promise<Visitor> {
  const path = /(\/welcome\/[\w-]+)/.exec(site.phasewise.text())?.[1] ?? ''
  const visitor = createVisitor(site.admin)
  await visitor.get(path)
  expect((await visitor.post(path, { name: 'maria', password: PASSWORD, again: PASSWORD })).status).toBe(303)
  await visitor.get('/')
  return visitor
}

/** One call through the proxy; gives the policy that placed it. */
async function call(site: Site): Promise<string> {
  const before = ask<{ n: number }>(site, 'SELECT count(*) AS n FROM call')[0]?.n ?? 0
  const reply = await fetch(`${site.proxy}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-virtual-output-tokens': '2' },
    body: JSON.stringify({ model: 'llama-2-7b', max_tokens: 2, messages: [{ role: 'user', content: 'hi' }] }),
  })
  expect(reply.status).toBe(200)
  await reply.text()
  return eventually('the call is logged', () => {
    const rows = ask<{ policy: string }>(site, 'SELECT policy FROM call ORDER BY call_id')
    return rows.length > before ? rows.at(-1)?.policy : undefined
  })
}

test('off and on by the page: the very next call obeys, the intent is the record, and it outlasts a restart of the router', async () => {
  const site = await startSite([await startInstance(), await startInstance()])
  const visitor = await signIn(site)
  expect(await call(site)).toBe('least-request-speed')
  const turned = await visitor.post('/switch', { to: 'off' })
  expect(turned.to).toBe('/?switched=off')
  expect(await call(site)).toBe('least-request')
  const control = new Database(join(site.folder, '.phasewise', 'control.sqlite'), { readonly: true })
  const read = <T>(sql: string): T[] => control.prepare(sql).all() as T[]
  await eventually('the intent is done', () => read("SELECT 1 FROM intent WHERE state = 'done'").at(0))
  expect(read('SELECT kind, asked_by, state FROM intent')).toEqual([{ kind: 'switch off', asked_by: 'maria', state: 'done' }])
  expect(read("SELECT who, action, before, after FROM audit WHERE action = 'switch off'")).toEqual([
    { who: 'maria', action: 'switch off', before: 'on', after: 'off' },
  ])
  const page = await eventually('the page tells', async () => {
    const { html } = await visitor.get('/')
    return html.includes('Phasewise is switched off.') ? html : undefined
  })
  expect(page).toContain('/switch?to=on')

  const { pid } = ask<{ pid: number }>(site, 'SELECT pid FROM router_now')[0] ?? { pid: 0 }
  process.kill(pid, 'SIGKILL')
  await eventually('another router', () => ask<{ pid: number }>(site, 'SELECT pid FROM router_now').find((row) => row.pid !== pid))
  expect(await call(site)).toBe('least-request')
  expect((await visitor.post('/switch', { to: 'on' })).to).toBe('/?switched=on')
  expect(await call(site)).toBe('least-request-speed')
  control.close()
})

test('with a database that takes no write the switch still works, and the page says that it is not on record', async () => {
  const site = await startSite([await startInstance()])
  const visitor = await signIn(site)
  const control = new Database(join(site.folder, '.phasewise', 'control.sqlite'))
  control.exec('BEGIN IMMEDIATE')
  try {
    const turned = await visitor.post('/switch', { to: 'off' })
    expect(turned.to).toBe('/?switched=off&unrecorded=1')
    expect(await call(site)).toBe('least-request')
    expect((await visitor.get(turned.to ?? '')).html).toContain('could not be written down')
  } finally {
    control.exec('ROLLBACK')
    control.close()
  }
})

test('instances added, tried, changed and removed by the page serve or leave at once, and over a restart of the router', async () => {
  const [first, second] = [await startInstance(), await startInstance()]
  const site = await startSite([first])
  const visitor = await signIn(site)
  const change = async (form: Record<string, string>): Promise<string> => {
    const { to } = await visitor.post('/fleet/change', { pool: 'llama-2-7b', ...form })
    return eventually('it is answered', async () => {
      const { html } = await visitor.get(to ?? '')
      return html.includes('waiting for the router') ? undefined : html
    })
  }
  const names = (): string[] =>
    ask<{ name: string }>(
      site,
      "SELECT name FROM fleet_now WHERE state <> 'removed' AND seen_unix_ms >= (SELECT max(seen_unix_ms) FROM fleet_now) ORDER BY name",
    ).map(({ name }) => name)
  const becomes = (wanted: string[]) => eventually(`the fleet is ${wanted}`, () => (names().join() === wanted.join() ? true : undefined))

  const extra = { kind: 'add instance', instance: 'extra', weight: '1', speed: '2' }
  expect(await change({ ...extra, url: 'tcp://nowhere' })).toContain('Nothing was changed: url: allowed is an http')
  expect(await change({ ...extra, url: first.url })).toContain('i0 has that address already')
  expect(await change({ ...extra, url: second.url })).toContain('Added: extra.')
  await becomes(['extra', 'i0'])
  const tried = await visitor.post('/fleet/try', { pool: 'llama-2-7b', instance: 'extra' })
  expect((await visitor.get(tried.to ?? '')).html).toContain('extra answered a real call: HTTP 200')
  expect(await change({ kind: 'remove instance', instance: 'i0' })).toContain('Removed: i0.')
  await becomes(['extra'])
  await call(site)
  expect(ask(site, 'SELECT name FROM call JOIN instance USING (instance_id) ORDER BY call_id DESC LIMIT 1')).toEqual([{ name: 'extra' }])

  const { pid } = ask<{ pid: number }>(site, 'SELECT pid FROM router_now')[0] ?? { pid: 0 }
  process.kill(pid, 'SIGKILL')
  await eventually('another router', () => ask<{ pid: number }>(site, 'SELECT pid FROM router_now').find((row) => row.pid !== pid))
  await becomes(['extra'])
  expect(await change({ kind: 'restore instance', instance: 'i0' })).toContain('i0 is as the configuration says')
  await becomes(['extra', 'i0'])
  expect(await change({ kind: 'remove instance', instance: 'extra' })).toContain('Removed: extra.')
  await becomes(['i0'])
  expect((await visitor.get('/fleet')).html).not.toContain('Changed here, over what')
})
