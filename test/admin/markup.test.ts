import Database from 'better-sqlite3'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { formatId } from '../../plugin/log/read/ids.ts'
import { openStage, type Stage, type Visitor } from './visitor.ts'

const POISON = '"><script>alert(1)</script><img src=x onerror=alert(1)>\'{{title}}'

/** Every text that anybody or anything put into either database, every address, every field: it stays text on every page of the table. */
let stage: Stage
let visitor: Visitor
beforeAll(async () => {
  stage = await openStage({ poison: POISON, calls: 300 })
  visitor = await stage.signedIn('admin', `mallory${POISON}`)
  const { control } = stage
  const eve = control.users.add({
    name: `eve${POISON}`,
    role: 'viewer',
    password: '',
    oidc: { issuer: `https://id.example/${POISON}`, subject: POISON },
  })
  control.sessions.add({
    tokenSha256: POISON,
    userId: eve.userId,
    formToken: POISON,
    expiresUnixMs: stage.clock.nowUnixMs() + 1e9,
    address: POISON,
    agent: POISON,
  })
  control.apiKeys.add({ name: POISON, scopes: ['read'], sha256: POISON, beginning: POISON, createdBy: POISON })
  control.audit.append({ who: POISON, address: POISON, action: POISON, subject: POISON, before: POISON, after: POISON })
  control.settings.set(POISON, JSON.stringify(POISON))
})
afterAll(() => stage.close())

const isClean = (html: string): boolean => !/<script>|<img|<script(?! src="\/assets\/[\w.-]+" defer>)/.test(html)

test('what is stored stays text on every page, for admins and for those who see less', async () => {
  const { userId } = stage.control.users.byName(`eve${POISON}`) ?? { userId: 0 }
  const stand: Record<string, string> = {
    callId: formatId(stage.callIds[0] ?? 0),
    userId: String(userId),
    keyId: String(stage.control.apiKeys.list()[0]?.keyId),
    token: encodeURIComponent(POISON),
  }
  const viewer = await stage.signedIn('viewer', `vic${POISON}`)
  const odd = encodeURIComponent(POISON)
  for (const { path } of stage.routes.filter(({ method }) => method === 'get')) {
    const address = path.replace(/:(\w+)/g, (_, name: string) => stand[name] ?? odd)
    for (const who of [visitor, viewer])
      for (const query of [
        '',
        `?pool=${odd}&instance=${odd}&who=${odd}&action=${odd}&text=${odd}&since=${odd}&until=${odd}&done=${odd}&next=${odd}`,
      ]) {
        const page = await who.get(address + query)
        if (!page.headers.get('content-type')?.startsWith('text/html')) continue
        expect([address, query, isClean(page.html)]).toEqual([address, query, true])
      }
  }
  expect(stage.errors).toEqual([])
})

test('what a form holds stays text when it comes back refused', async () => {
  const fields = [
    'name',
    'keyName',
    'days',
    'role',
    'password',
    'again',
    'current',
    'which',
    'session',
    'zone',
    'theme',
    'next',
    'body',
    'value',
  ]
  const form = Object.fromEntries(fields.map((name) => [name, POISON]))
  for (const { path } of stage.routes.filter(({ method, path: at }) => method === 'post' && at !== '/sign-out')) {
    await visitor.get('/access')
    const page = await visitor.post(path.replace(/:\w+/g, encodeURIComponent(POISON)), form)
    expect([path, isClean(page.html), page.to?.startsWith('/') ?? true]).toEqual([path, true, true])
  }
})

test('a page that fails tells nothing of why', async () => {
  const database = new Database(`${stage.dataDir}/control.sqlite`)
  database.exec('ALTER TABLE audit RENAME TO audit_away')
  database.close()
  const page = await visitor.get('/audit')
  expect([page.status, isClean(page.html), /SqliteError|no such table|node_modules/.test(page.html)]).toEqual([500, true, false])
  expect(stage.errors).toHaveLength(1)
})
