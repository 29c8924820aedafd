import { afterEach, beforeEach, expect, test } from 'vitest'
import { tokenSha256 } from '../../admin/access/tokens.ts'
import { openStage, PASSWORD, type Stage, type Visitor } from './visitor.ts'

const HOUR_MS = 3_600_000
const NEW_PASSWORD = 'a much longer secret than before'
/** Each password costs what it is meant to cost, and a busy machine takes its time. */
const SLOW = { timeout: 120_000 }

let stage: Stage
let admin: Visitor
beforeEach(async () => {
  stage = await openStage({ calls: 5 })
  admin = await stage.signedIn('admin', 'ada')
  await admin.get('/access')
})
afterEach(() => stage.close())

const idOf = (name: string): number => stage.control.users.byName(name)?.userId ?? 0
const secretOf = (html: string): string | undefined => /<code tabindex="0">([^<]+)<\/code>/.exec(html)?.[1]?.replaceAll('&#x3D;', '=')
const lastAudit = () => stage.control.audit.list({ limit: 1 })[0]

test('a person is added without a password, and sets it by a link that is shown once and works once', SLOW, async () => {
  expect((await admin.post('/access/people', { name: 'eve', role: 'operator' })).to).toBe('/access')
  const link = secretOf((await admin.get('/access')).html) ?? ''
  expect(link).toMatch(new RegExp(`^${stage.url}/password/[\\w-]{43}$`))
  expect(secretOf((await admin.get('/access')).html)).toBeUndefined()
  expect(lastAudit()).toMatchObject({ who: 'ada', action: 'add user', subject: 'eve', after: 'operator', address: '127.0.0.1' })

  const path = link.slice(stage.url.length)
  const eve = stage.visitor()
  expect((await eve.get(path)).html).toContain('Set a password')
  expect((await eve.post(path, { password: 'short', again: 'short' })).status).toBe(422)
  expect((await eve.post(path, { password: NEW_PASSWORD, again: `${NEW_PASSWORD}!` })).html).toContain('The two passwords differ')
  expect((await eve.post(path, { password: NEW_PASSWORD, again: NEW_PASSWORD })).to).toBe('/')
  expect((await eve.get('/access')).html).toContain('<b>eve</b>, operator')
  expect((await stage.visitor().get(path)).status).toBe(410)
})

test('a password link expires, and nothing of it is kept that could be used', SLOW, async () => {
  await admin.post('/access/people', { name: 'eve', role: 'viewer' })
  const path = (secretOf((await admin.get('/access')).html) ?? '').slice(stage.url.length)
  expect(stage.control.signInLinks.userOf(tokenSha256(path.slice('/password/'.length)))).toBe(idOf('eve'))
  stage.clock.advance(73 * HOUR_MS)
  expect((await stage.visitor().get(path)).status).toBe(410)
})

test('a link for a new password ends every session that the old one opened', SLOW, async () => {
  const eve = await stage.signedIn('viewer', 'eve')
  await admin.post(`/access/people/${idOf('eve')}/link`)
  const path = (secretOf((await admin.get(`/access/people/${idOf('eve')}`)).html) ?? '').slice(stage.url.length)
  expect((await eve.get('/fleet')).status).toBe(200)
  const elsewhere = stage.visitor()
  await elsewhere.get(path)
  await elsewhere.post(path, { password: NEW_PASSWORD, again: NEW_PASSWORD })
  expect((await eve.get('/fleet')).status).toBe(303)
  expect((await elsewhere.get('/fleet')).status).toBe(200)
  await eve.get('/sign-in')
  expect((await eve.post('/sign-in', { name: 'eve', password: PASSWORD })).status).toBe(401)
})

test('changing one’s password asks for the old one, at a bounded rate, and ends the other sessions', SLOW, async () => {
  const there = await stage.signedIn('admin', 'ada')
  const change = (current: string, password = NEW_PASSWORD, again = password) =>
    admin.post('/access/password', { current, password, again })
  expect((await change('wrong')).html).toContain('The current password is wrong')
  expect((await change(PASSWORD, 'ada and her sister')).html).toContain('Leave your name out')
  expect((await change(PASSWORD, NEW_PASSWORD, 'other')).html).toContain('The two new passwords differ')
  expect((await there.get('/fleet')).status).toBe(200)
  expect((await change(PASSWORD)).to).toBe('/access?done=password')
  expect((await there.get('/fleet')).status).toBe(303)
  expect((await admin.get('/access?done=password')).html).toContain('Your password is changed')
  for (let i = 0; i < 5; i++) await change('wrong')
  expect((await change(NEW_PASSWORD)).html).toContain('Too many failed attempts')
  expect(stage.control.audit.list({ limit: 9, action: 'change password' })).toHaveLength(1)
})

test('one’s own sessions are listed and end where one says so, and nobody else’s do', async () => {
  const phone = await stage.signedIn('admin', 'ada')
  const eve = await stage.signedIn('viewer', 'eve')
  const session = (name: string) => stage.control.sessions.listOf(idOf(name))[0]?.tokenSha256.slice(0, 16) ?? ''
  await admin.get('/access')
  await admin.post('/access/sessions/end', { session: session('eve') })
  expect((await eve.get('/fleet')).status).toBe(200)
  expect((await admin.get('/access')).html.split('this one').length - 1).toBe(1)
  await admin.post('/access/sessions/end', { which: 'others' })
  expect([(await phone.get('/fleet')).status, (await admin.get('/fleet')).status]).toEqual([303, 200])
})

test('an admin ends the sessions of others, one or all', async () => {
  const eve = [await stage.signedIn('viewer', 'eve'), await stage.signedIn('viewer', 'eve')] as const
  const url = `/access/people/${idOf('eve')}/sessions/end`
  const [newest] = stage.control.sessions.listOf(idOf('eve'))
  await admin.post(url, { session: newest?.tokenSha256.slice(0, 16) ?? '' })
  expect(stage.control.sessions.listOf(idOf('eve'))).toHaveLength(1)
  expect((await admin.post(url, { which: 'all' })).to).toBe(`/access/people/${idOf('eve')}?done=ended-all`)
  for (const one of eve) expect((await one.get('/fleet')).status).toBe(303)
})

test('a changed role counts from the next click on', async () => {
  const eve = await stage.signedIn('operator', 'eve')
  expect((await eve.get('/fleet')).html).toContain('Drain…')
  await admin.post(`/access/people/${idOf('eve')}/role`, { role: 'viewer' })
  expect((await eve.get('/fleet')).html).not.toContain('Drain…')
  expect(lastAudit()).toMatchObject({ action: 'change role', subject: 'eve', before: 'operator', after: 'viewer' })
})

test('the last admin stays, and nobody removes themselves', SLOW, async () => {
  const own = `/access/people/${idOf('ada')}`
  expect((await admin.post(`${own}/role`, { role: 'viewer' })).html).toContain('This is the last admin')
  const other = await stage.signedIn('admin', 'eve')
  expect((await admin.post(`${own}/remove`)).html).toContain('Nobody removes themselves')
  await other.get('/access')
  expect((await other.post(`${own}/remove`)).to).toBe('/access?done=removed')
  expect((await admin.get('/fleet')).status).toBe(303)
  expect(stage.control.users.list().map(({ name }) => name)).toEqual(['eve'])
})

test('two people cannot have one name, and a name is no markup', async () => {
  await stage.signedIn('viewer', 'eve')
  expect((await admin.post('/access/people', { name: 'eve', role: 'admin' })).html).toContain('There is a user called eve already')
  for (const name of ['', ' ', '<script>', 'a/b', 'x'.repeat(65)])
    expect((await admin.post('/access/people', { name, role: 'viewer' })).status).toBe(422)
  expect((await admin.post('/access/people', { name: 'mo', role: 'root' })).status).toBe(422)
})

test('a key is shown once; only its hash is kept, with scopes, expiry and who made it', async () => {
  const made = await admin.post('/access/keys', { keyName: 'litellm', days: '30', 'scope-place': 'yes', 'scope-read': 'yes' })
  expect(made.to).toBe('/access#keys')
  const key = secretOf((await admin.get('/access')).html) ?? ''
  expect(key).toMatch(/^pw_[\w-]{43}$/)
  const { html } = await admin.get('/access')
  expect(html).not.toContain(key)
  expect(html).toContain(`${key.slice(0, 7)}…`)
  const [stored] = stage.control.apiKeys.usable()
  expect(stored).toMatchObject({ name: 'litellm', scopes: ['place', 'read'], sha256: tokenSha256(key), createdBy: 'ada' })
  stage.clock.advance(31 * 24 * HOUR_MS)
  expect(stage.control.apiKeys.usable()).toEqual([])
})

test('a revoked key opens nothing, and stays listed as revoked', async () => {
  await admin.post('/access/keys', { keyName: 'ci', days: '0', 'scope-place': 'yes' })
  const [key] = stage.control.apiKeys.usable()
  expect((await admin.get(`/access/keys/${key?.keyId}/revoke`)).html).toContain('It was never used')
  await admin.post(`/access/keys/${key?.keyId}/revoke`)
  expect(stage.control.apiKeys.usable()).toEqual([])
  expect((await admin.get('/access')).html).toContain('revoked')
  expect((await admin.post(`/access/keys/${key?.keyId}/revoke`)).to).toBe('/access?done=same#keys')
  expect(lastAudit()).toMatchObject({ action: 'revoke api key', subject: 'ci', before: 'place' })
})

test('a key without scope, with a doubled name or an endless life in days is refused, and the form keeps what was typed', async () => {
  const add = (form: Record<string, string>) => admin.post('/access/keys', { keyName: 'ci', days: '1', 'scope-control': 'yes', ...form })
  expect((await admin.post('/access/keys', { keyName: 'ci', days: '1' })).html).toContain('at least one thing')
  expect((await add({ days: '1e9' })).html).toContain('Days are a whole number')
  expect((await add({ keyName: 'a b' })).html).toContain('value="a b"')
  await add({})
  expect((await add({})).html).toContain('A key called ci is in use already')
  expect(stage.control.apiKeys.list()).toHaveLength(1)
})

test('a secret that nobody came to see is gone after a minute, and is never shown to another session', async () => {
  const other = await stage.signedIn('admin', 'eve')
  await admin.post('/access/keys', { keyName: 'one', days: '1', 'scope-read': 'yes' })
  expect(secretOf((await other.get('/access')).html)).toBeUndefined()
  stage.clock.advance(61_000)
  expect(secretOf((await admin.get('/access')).html)).toBeUndefined()
})
