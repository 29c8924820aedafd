import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import Provider, { type Account } from 'oidc-provider'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { createOidcDoor, roleOf } from '../../admin/access/oidc.ts'
import { createManualClock } from '../../plugin/clock.ts'
import { openStage, PASSWORD, type Stage, type Visitor } from './visitor.ts'

const SECRET = 'a secret that both sides know'

/** What the provider knows of people; tests change it. */
const directory = new Map<string, Record<string, unknown>>()

let issuer: string
let provider: Server
let handle: Parameters<typeof createServer>[1]
let stage: Stage
beforeAll(async () => {
  // It warns at length that it is not set up for production.
  for (const channel of ['info', 'warn'] as const) vi.spyOn(console, channel).mockImplementation(() => undefined)
  provider = createServer((request, response) => handle?.(request as never, response as never))
  await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve))
  issuer = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`
})
afterAll(() => {
  provider.closeAllConnections()
  return new Promise((resolve) => provider.close(resolve))
})
beforeEach(async () => {
  directory.clear()
  directory.set('ada', { preferred_username: 'ada', groups: ['staff', 'platform'] })
  stage = await openStage({ calls: 5, oidc: (publicUrl) => createOidcDoor({ config: config(), publicUrl, clock: createManualClock() }) })
  handle = new Provider(issuer, {
    clients: [
      {
        client_id: 'phasewise',
        client_secret: SECRET,
        redirect_uris: [`${stage.url}/sign-in/oidc/callback`],
        response_types: ['code'],
        grant_types: ['authorization_code'],
      },
    ],
    claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
    features: { devInteractions: { enabled: true } },
    findAccount: (_: unknown, id: string): Account => ({ accountId: id, claims: () => ({ sub: id, ...directory.get(id) }) }),
  }).callback() as typeof handle
})
afterEach(() => stage.close())

const config = () => ({
  issuer,
  clientId: 'phasewise',
  clientSecret: SECRET,
  label: 'the company',
  scopes: ['openid', 'profile'],
  roleClaim: 'groups',
  roles: { admin: ['platform'], operator: ['on-call'], viewer: ['staff'] },
  everyone: 'none' as const,
})

/** Walks through the provider's own pages as somebody who signs in there and agrees; gives the address that they are sent back to. */
async function signInThere(start: string, login: string): Promise<string> {
  const cookies = new Map<string, string>()
  const ask = async (url: string, body?: Record<string, string>): Promise<{ to: string | null; html: string }> => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const init = body === undefined ? {} : { method: 'POST', body: new URLSearchParams(body) }
    const response = await fetch(url, { ...init, redirect: 'manual', headers: { cookie } })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      cookies.set(name, value)
    }
    const to = response.headers.get('location')
    return { to: to && new URL(to, url).href, html: await response.text() }
  }
  let at = start
  for (let i = 0; i < 12; i++) {
    if (at.startsWith(stage.url)) return at.slice(stage.url.length)
    const { to, html } = await ask(at)
    if (to !== null) at = to
    else {
      const action = /action="([^"]+)"/.exec(html)?.[1]
      if (action === undefined) throw new Error(`the provider says: ${html.replace(/<[^>]+>/g, ' ').slice(0, 300)}`)
      const prompt = /name="prompt" value="(\w+)"/.exec(html)?.[1] ?? ''
      at = (await ask(new URL(action, at).href, { prompt, login, password: 'any' })).to ?? ''
    }
  }
  throw new Error(`no way back from the provider, last at ${at}`)
}

async function begin(visitor: Visitor, next = '/fleet'): Promise<string> {
  await visitor.get('/sign-in')
  const page = await visitor.get(`/sign-in/oidc?next=${encodeURIComponent(next)}`)
  expect([page.status, page.to?.startsWith(issuer)]).toEqual([302, true])
  return page.to ?? ''
}

test('signing in at the provider opens a session with the role that its groups give, and leads where one wanted to go', async () => {
  const visitor = stage.visitor()
  expect((await visitor.get('/sign-in?next=%2Ffleet')).html).toContain('Sign in by the company')
  const back = await signInThere(await begin(visitor), 'ada')
  const page = await visitor.get(back)
  expect([page.status, page.to]).toEqual([303, '/fleet'])
  expect((await visitor.get('/access')).html).toContain('<b>ada</b>, admin')
  expect(stage.control.users.byName('ada')).toMatchObject({ role: 'admin', password: '', oidcIssuer: issuer, oidcSubject: 'ada' })
  const actions = stage.control.audit.list({ limit: 10 }).map(({ action, who }) => [action, who])
  expect(actions).toEqual([
    ['sign in', 'ada'],
    ['add user', 'ada'],
  ])
})

test('the role follows the provider at each sign-in, and is lost with it', async () => {
  const visitor = stage.visitor()
  await visitor.get(await signInThere(await begin(visitor), 'ada'))
  directory.set('ada', { preferred_username: 'ada', groups: ['staff'] })
  const again = stage.visitor()
  await again.get(await signInThere(await begin(again), 'ada'))
  expect(stage.control.users.byName('ada')?.role).toBe('viewer')
  directory.set('ada', { preferred_username: 'ada', groups: [] })
  const last = stage.visitor()
  const refused = await last.get(await signInThere(await begin(last), 'ada'))
  expect([refused.status, refused.html.includes('nothing it says of you gives a role here')]).toEqual([403, true])
  expect((await visitor.get('/fleet')).status).toBe(303)
})

test('a name that a local user has is not taken over', async () => {
  await stage.signedIn('operator', 'ada')
  const visitor = stage.visitor()
  await visitor.get(await signInThere(await begin(visitor), 'ada'))
  const names = stage.control.users.list().map(({ name, role, oidcSubject }) => [name, role, oidcSubject])
  expect(names).toEqual([
    ['ada', 'operator', null],
    ['ada@127.0.0.1', 'admin', 'ada'],
  ])
})

test('an answer is taken once, from the browser that asked, with the state it asked with', async () => {
  const visitor = stage.visitor()
  const back = await signInThere(await begin(visitor), 'ada')
  const other = stage.visitor()
  await begin(other)
  expect((await other.get(back)).status).toBe(400)
  expect((await stage.visitor().get(back)).status).toBe(400)
  const forged = stage.visitor()
  await begin(forged)
  expect((await forged.get(back.replace(/state=[^&]+/, 'state=forged'))).status).toBe(400)
  expect((await visitor.get(back)).to).toBe('/fleet')
  expect((await visitor.get(back)).status).toBe(400)
  expect(stage.control.users.count()).toBe(1)
})

test('no address elsewhere is reached through next', async () => {
  const visitor = stage.visitor()
  const back = await signInThere(await begin(visitor, '//evil.example/'), 'ada')
  expect((await visitor.get(back)).to).toBe('/')
})

test('while the provider is away, a password still opens the door', async () => {
  await stage.signedIn('viewer', 'eve')
  handle = (_request, response) => response.writeHead(500).end()
  const visitor = stage.visitor()
  const page = await visitor.get('/sign-in/oidc')
  expect([page.status, page.html.includes('A password still works here')]).toEqual([502, true])
  await visitor.get('/sign-in')
  expect((await visitor.post('/sign-in', { name: 'eve', password: PASSWORD })).to).toBe('/')
})

test('someone whom the provider vouches for has no password that could be guessed', async () => {
  const visitor = stage.visitor()
  await visitor.get(await signInThere(await begin(visitor), 'ada'))
  const guesser = stage.visitor()
  await guesser.get('/sign-in')
  for (const password of ['', 'any', PASSWORD]) expect((await guesser.post('/sign-in', { name: 'ada', password })).status).toBe(401)
})

test('the highest role counts, whatever the claim’s form', () => {
  const given = (groups: unknown) => roleOf({ groups }, config())
  expect([given(['staff', 'platform']), given('on-call'), given(['staff']), given(['none']), given(undefined), given(null)]).toEqual([
    'admin',
    'operator',
    'viewer',
    undefined,
    undefined,
    undefined,
  ])
  expect(roleOf({}, { ...config(), everyone: 'viewer' })).toBe('viewer')
})
