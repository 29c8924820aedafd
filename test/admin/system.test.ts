import Database from 'better-sqlite3'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { tokenSha256 } from '../../admin/access/tokens.ts'
import { withoutSecrets } from '../../admin/pages/system/bundle.ts'
import { openStage, PASSWORD, type Stage, type Visitor } from './visitor.ts'

const FILE = {
  path: '/etc/phasewise.yaml',
  text: `pools:
  - name: llama-8b-chat
    instances:
      - { name: a100-0, url: 'http://admin:hunter2-in-url@10.2.0.11:8000', apiKey: { env: SECRET } }
`,
}

let stage: Stage
let admin: Visitor
beforeAll(async () => {
  stage = await openStage({ calls: 400, hours: 26, file: FILE })
  admin = await stage.signedIn('admin', 'ada')
  const database = new Database(`${stage.dataDir}/log.sqlite`)
  const add = database.prepare('INSERT INTO counter (name, value, changed_unix_ms) VALUES (?, ?, ?)')
  add.run('crashed: router', 2, stage.clock.nowUnixMs() - 60_000)
  add.run('retention: calls removed', 12_345, stage.clock.nowUnixMs() - 120_000)
  add.run('scrape failed', 7, stage.clock.nowUnixMs() - 5_000)
  database.close()
})
afterAll(() => stage.close())

const text = (html: string): string => html.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ')

test('processes, queues, losses, growth, retention and versions stand there', async () => {
  const html = text((await admin.get('/system')).html)
  expect(html).toMatch(/router ready 4242 9 d \d+ h ended by itself 2 times/)
  expect(html).toMatch(/Rows that wait to be logged 3/)
  expect(html).toMatch(/scrape failed 7 /)
  expect(html).toMatch(/Growth [\d.]+ [kM]B a day/)
  expect(html).toMatch(/removed 12,345 calls so far, last 2 min ago/)
  expect(html).toMatch(/Log database \d+ migrations, last \d{4}-/)
  expect(html).toContain(`Node ${process.versions.node}`)
})

test('a router that does not answer over loopback is told', async () => {
  expect(text((await admin.get('/system')).html)).toContain('does not answer over loopback')
})

test('the support bundle holds what a helper needs, and no secret and no person', async () => {
  await admin.get('/access')
  await admin.post('/access/keys', { keyName: 'litellm', days: '1', 'scope-place': 'yes' })
  const shown = (await admin.get('/access')).html
  const key = /<code tabindex="0">([^<]+)<\/code>/.exec(shown)?.[1] ?? ''
  stage.control.trainingRuns.append({ askedBy: 'ada' })
  const page = await admin.get('/system/support-bundle')
  expect(page.headers.get('content-disposition')).toMatch(/attachment; filename=phasewise-support-[\d-]+\.json/)
  const bundle = JSON.parse(page.html) as {
    fleet: unknown[]
    configuration: string
    system: { counters: unknown[] }
    trainingRuns: unknown[]
  }
  expect([bundle.fleet.length, bundle.system.counters.length >= 3, bundle.trainingRuns.length]).toEqual([4, true, 1])
  expect(bundle.configuration).toContain('env: SECRET')
  const session = admin.cookies.get('phasewise_session') ?? ''
  const secrets = [key, tokenSha256(key), session, tokenSha256(session), PASSWORD, 'scrypt$', 'hunter2-in-url', 'not to be seen', '"ada"']
  expect(secrets.filter((secret) => secret !== '' && page.html.includes(secret))).toEqual([])
  expect(stage.control.audit.list({ limit: 1 })[0]).toMatchObject({ who: 'ada', action: 'download support bundle' })
})

test('whatever looks like a key is taken out of the bundle', () => {
  expect(withoutSecrets('url', 'https://user:pass@host/path')).toBe('https://(hidden)@host/path')
  expect(withoutSecrets('text', `sent pw_${'a'.repeat(43)} and Bearer abcdefgh.ijkl`)).toBe('sent pw_(hidden) and Bearer (hidden)')
  expect(withoutSecrets('clientSecret', 'x')).toBe('x')
  expect([withoutSecrets('password', 'x'), withoutSecrets('apiKey', 'x'), withoutSecrets('key', 7)]).toEqual(['(hidden)', '(hidden)', 7])
})
