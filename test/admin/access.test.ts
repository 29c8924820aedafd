import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { issueSignInLink } from '../../admin/access/link.ts'
import { isSameOrigin, safeNext } from '../../admin/access/origin.ts'
import { checkPassword, hashPassword, passwordProblem } from '../../admin/access/password.ts'
import { createThrottle } from '../../admin/access/throttle.ts'
import { createManualClock } from '../../plugin/clock.ts'
import { formatId } from '../../plugin/log/read/ids.ts'
import { openStage, PASSWORD, type Stage } from './visitor.ts'

const HOUR_MS = 3_600_000

describe('a stage of its own', () => {
  let stage: Stage
  beforeEach(async () => {
    stage = await openStage({ calls: 5 })
  })
  afterEach(() => stage.close())

  test('the one-time link makes the first admin, once', async () => {
    const path = issueSignInLink(stage.control, stage.clock) ?? ''
    const maria = stage.visitor()
    expect((await maria.get(path)).html).toContain('Create account')
    const weak = await maria.post(path, { name: 'maria', password: 'maria-maria-maria', again: 'maria-maria-maria' })
    expect(weak.status).toBe(422)
    expect((await maria.post(path, { name: 'maria', password: PASSWORD, again: `${PASSWORD}!` })).html).toContain(
      'The two passwords differ',
    )
    const made = await maria.post(path, { name: 'maria', password: PASSWORD, again: PASSWORD })
    expect([made.status, made.to]).toEqual([303, '/'])
    expect((await maria.get('/')).html).toContain('<b>maria</b>')
    expect(stage.control.users.list().map(({ name, role }) => [name, role])).toEqual([['maria', 'admin']])
    const second = stage.visitor()
    await second.get('/sign-in')
    expect((await second.post(path, { name: 'mallory', password: PASSWORD, again: PASSWORD })).to).toBe('/sign-in')
    expect(stage.control.users.count()).toBe(1)
    expect(issueSignInLink(stage.control, stage.clock)).toBeUndefined()
  })

  test('of two visitors who use one link at once, one gets in', async () => {
    const path = issueSignInLink(stage.control, stage.clock) ?? ''
    const both = await Promise.all(
      ['maria', 'mallory'].map(async (name) => {
        const visitor = stage.visitor()
        await visitor.get(path)
        return visitor.post(path, { name, password: PASSWORD, again: PASSWORD })
      }),
    )
    expect(both.map(({ to }) => to).sort()).toEqual(['/', '/sign-in'])
    expect(stage.control.users.count()).toBe(1)
  })

  test('a link that expired or was never issued opens nothing', async () => {
    const path = issueSignInLink(stage.control, stage.clock) ?? ''
    stage.clock.advance(25 * HOUR_MS)
    for (const each of [path, '/welcome/guessed']) expect((await stage.visitor().get(each)).status).toBe(410)
  })

  test('five wrong passwords lock the name for that address, right ones too, until the window is over', { timeout: 120_000 }, async () => {
    await stage.signedIn('admin', 'maria')
    const visitor = stage.visitor()
    await visitor.get('/sign-in')
    for (let i = 0; i < 5; i++) expect((await visitor.post('/sign-in', { name: 'maria', password: 'wrong' })).status).toBe(401)
    const locked = await visitor.post('/sign-in', { name: 'maria', password: PASSWORD })
    expect([locked.status, locked.to]).toEqual([429, null])
    stage.clock.advance(16 * 60_000)
    expect((await visitor.post('/sign-in', { name: 'maria', password: PASSWORD })).to).toBe('/')
  })

  test('guesses sent all at once are counted before they are checked', { timeout: 120_000 }, async () => {
    const visitor = stage.visitor()
    await visitor.get('/sign-in')
    const all = await Promise.all(Array.from({ length: 12 }, () => visitor.post('/sign-in', { name: 'maria', password: 'wrong' })))
    expect(all.filter(({ status }) => status === 401)).toHaveLength(5)
  })

  test('a wrong password and an unknown name read the same', async () => {
    await stage.signedIn('admin', 'maria')
    const visitor = stage.visitor()
    await visitor.get('/sign-in')
    const wrong = await visitor.post('/sign-in', { name: 'maria', password: 'wrong' })
    const unknown = await visitor.post('/sign-in', { name: 'anna', password: 'wrong' })
    expect(unknown.html.replace('value="anna"', 'value="maria"')).toBe(wrong.html)
    expect(unknown.status).toBe(wrong.status)
  })

  test('a session ends when it is not used for half a day, and after a week in any case', async () => {
    const visitor = await stage.signedIn('viewer')
    stage.clock.advance(11 * HOUR_MS)
    expect((await visitor.get('/fleet')).status).toBe(200)
    stage.clock.advance(13 * HOUR_MS)
    expect((await visitor.get('/fleet')).to).toBe('/sign-in?next=%2Ffleet')
    const busy = await stage.signedIn('viewer')
    for (let i = 0; i < 24; i++) {
      stage.clock.advance(7 * HOUR_MS)
      await busy.get('/health')
      if (i < 23) expect((await busy.get('/fleet')).status).toBe(200)
    }
    expect((await busy.get('/fleet')).status).toBe(303)
  })

  test('signing out ends the session itself, not only the cookie', async () => {
    const visitor = await stage.signedIn('viewer')
    await visitor.get('/')
    const cookies = new Map(visitor.cookies)
    await visitor.post('/sign-out')
    for (const [name, value] of cookies) visitor.cookies.set(name, value)
    expect((await visitor.get('/')).status).toBe(303)
  })

  test('what is stored of a session cannot be used as one', async () => {
    const visitor = await stage.signedIn('viewer')
    const token = visitor.cookies.get('phasewise_session') ?? ''
    const [stored] = stage.control.sessions.listOf(stage.control.users.byName('viewer-1')?.userId ?? 0)
    expect(stored?.tokenSha256).not.toContain(token)
    visitor.cookies.set('phasewise_session', stored?.tokenSha256 ?? '')
    expect((await visitor.get('/')).status).toBe(303)
  })
})

describe('one stage for all who look', () => {
  let stage: Stage
  beforeAll(async () => {
    stage = await openStage({ calls: 50 })
  })
  afterAll(() => stage.close())

  const addressOf = (path: string): string =>
    path
      .replace(':callId', formatId(stage.callIds[0] ?? 0))
      .replace(':token', 'none')
      .replace(/:(userId|keyId|modelId|trialId|noticeId|runId|labId)/, '1')
      .replace('/fleet/drain', '/fleet/drain?pool=llama-8b-chat&instance=a100-0')

  test('a viewer sees no live button', async () => {
    const buttons = (html: string): number => html.split('Drain…').length - 1
    expect(buttons((await (await stage.signedIn('viewer')).get('/fleet')).html)).toBe(0)
    expect(buttons((await (await stage.signedIn('operator')).get('/fleet')).html)).toBe(4)
  })

  test.each([
    ['another site', { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }, {}],
    ['a sister host', { 'sec-fetch-site': 'same-site' }, {}],
    ['an opaque origin', { origin: 'null', 'sec-fetch-site': '' }, {}],
    ['an old form', {}, { formToken: 'old' }],
    ['a form without token', {}, { formToken: '' }],
  ])('no POST from %s changes anything', async (_, headers, form) => {
    const visitor = await stage.signedIn('admin')
    await visitor.get('/fleet')
    for (const { path } of stage.routes.filter((route) => route.method === 'post')) {
      const page = await visitor.post(addressOf(path), { pool: 'llama-8b-chat', instance: 'a100-0', ...form }, headers)
      expect([path, page.status]).toEqual([path, 403])
    }
    expect(stage.control.intents.list({ limit: 10 })).toEqual([])
    expect((await visitor.get('/fleet')).status).toBe(200)
  })

  test('the form token of one session is of no use in another', async () => {
    const one = await stage.signedIn('operator')
    const token = /name="formToken" value="([^"]+)"/.exec((await one.get('/fleet')).html)?.[1] ?? ''
    const other = await stage.signedIn('admin')
    expect((await other.post('/fleet/undrain', { pool: 'llama-8b-chat', instance: 'a100-0', formToken: token })).status).toBe(403)
  })

  test('cookies are out of reach for scripts and other sites', async () => {
    const visitor = stage.visitor()
    await visitor.get('/sign-in')
    const page = await visitor.post('/sign-in', { name: 'admin-1', password: PASSWORD })
    const session = page.headers.getSetCookie().find((line) => line.startsWith('phasewise_session='))
    expect(session).toMatch(/; HttpOnly; SameSite=Lax$/)
  })

  test('every page says: nothing inline, no framing, no caching; and holds nothing inline', async () => {
    const visitor = await stage.signedIn('admin')
    const paths = stage.routes.filter(({ method }) => method === 'get').map(({ path }) => addressOf(path))
    for (const path of [...paths, '/nowhere']) {
      const { headers, html } = await visitor.get(path)
      expect(headers.get('content-security-policy')).toBe(
        "default-src 'none';script-src 'self';connect-src 'self';style-src 'self';img-src 'self';form-action 'self';frame-ancestors 'none';base-uri 'none'",
      )
      expect(headers.get('cache-control')).toBe('no-store')
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      expect(headers.get('x-powered-by')).toBeNull()
      expect(html.replaceAll(/<script src="\/assets\/[\w.-]+" defer><\/script>/g, '')).not.toMatch(
        /<script|<style|\sstyle=|\son\w+=|javascript:/i,
      )
    }
  })

  test('the style sheet is kept for ever under its hashed name, and nothing else is served', async () => {
    const visitor = stage.visitor()
    const href = /href="(\/assets\/phasewise\.[0-9a-f]{10}\.css)"/.exec((await visitor.get('/sign-in')).html)?.[1] ?? ''
    const css = await visitor.get(href)
    expect([css.status, css.headers.get('cache-control')]).toEqual([200, 'public, max-age=31536000, immutable'])
    for (const path of ['/assets/phasewise.css', '/assets/..%2fapp.ts', '/assets/constructor'])
      expect((await visitor.get(path)).status).toBe(303)
  })

  test('health needs no sign-in', async () => {
    expect((await stage.visitor().get('/health')).html).toBe('{"status":"ok"}')
  })

  test('the look is kept in a cookie, also before sign-in, and system removes it', async () => {
    const visitor = stage.visitor()
    await visitor.get('/sign-in?next=%2Ffleet')
    expect((await visitor.post('/theme', { theme: 'dark', next: '/sign-in?next=%2Ffleet' })).to).toBe('/sign-in?next=%2Ffleet')
    expect((await visitor.get('/sign-in')).html).toContain('data-theme="dark"')
    await visitor.post('/theme', { theme: 'system', next: '/sign-in' })
    expect((await visitor.get('/sign-in')).html).not.toContain('data-theme')
  })

  test('after sign-in one is where one wanted to go, if that is here', async () => {
    const visitor = stage.visitor()
    expect((await visitor.get('/decisions?outcome=failed')).to).toBe('/sign-in?next=%2Fdecisions%3Foutcome%3Dfailed')
    await visitor.get('/sign-in')
    const signIn = { name: 'admin-1', password: PASSWORD }
    expect((await visitor.post('/sign-in', { ...signIn, next: '/decisions?outcome=failed' })).to).toBe('/decisions?outcome=failed')
    await visitor.get('/')
    await visitor.post('/sign-out')
    await visitor.get('/sign-in')
    expect((await visitor.post('/sign-in', { ...signIn, next: '//evil.example/' })).to).toBe('/')
  })
})

test('signing in rightly many times locks nobody out, and guessing many names locks the address', () => {
  const clock = createManualClock()
  const throttle = createThrottle(clock)
  for (let i = 0; i < 100; i++) {
    throttle.failed('maria', 'office')
    throttle.succeeded('maria', 'office')
  }
  expect(throttle.waitMs('maria', 'office')).toBe(0)
  for (let i = 0; i < 20; i++) throttle.failed(`name-${i}`, 'office')
  expect(throttle.waitMs('maria', 'office')).toBe(15 * 60_000)
  expect(throttle.waitMs('maria', 'home')).toBe(0)
  clock.advance(15 * 60_000)
  expect(throttle.waitMs('maria', 'office')).toBe(0)
})

test('no redirect leaves this origin, whatever is asked for', () => {
  const tricky = fc.oneof(
    fc.string(),
    fc.webUrl(),
    fc
      .array(fc.constantFrom('/', '\\', '.', '@', ':', '%2f', '\t', '\n', 'evil.example', 'javascript', '?', '#'))
      .map((parts) => parts.join('')),
  )
  fc.assert(
    fc.property(tricky, (next) => {
      const to = safeNext(next)
      expect(new URL(to, 'http://admin.invalid').origin).toBe('http://admin.invalid')
      expect(to).toMatch(/^\/(?![/\\])/)
    }),
    { numRuns: 2_000 },
  )
  expect(safeNext('/.//evil.example')).toBe('/')
  expect(safeNext('/decisions?pool=a%20b&before=0AMFVJKFM00')).toBe('/decisions?pool=a%20b&before=0AMFVJKFM00')
})

test('same origin is what the browser says, host for host', () => {
  const host = 'admin.example:8401'
  expect(isSameOrigin({ host, origin: 'https://admin.example:8401' })).toBe(true)
  expect(isSameOrigin({ host, 'sec-fetch-site': 'same-origin' })).toBe(true)
  for (const bad of [{}, { origin: 'https://admin.example' }, { origin: 'nonsense' }, { 'sec-fetch-site': 'none' }])
    expect(isSameOrigin({ host, ...bad })).toBe(false)
})

test('a password is checked against its own parameters, salted, and never against nothing', { timeout: 120_000 }, async () => {
  const [one, two] = await Promise.all([hashPassword(PASSWORD), hashPassword(PASSWORD)])
  expect(one).not.toBe(two)
  expect(one).toMatch(/^scrypt\$32768\$8\$3\$/)
  expect(await checkPassword(PASSWORD, one)).toBe(true)
  expect(await checkPassword(`${PASSWORD} `, one)).toBe(false)
  for (const nothing of [undefined, '', 'scrypt$1$1$1', 'plain$correct horse battery'])
    expect(await checkPassword(PASSWORD, nothing)).toBe(false)
})

test.each([
  ['short', 'short-one', 'at least 12'],
  ['endless', 'ab cd ef '.repeat(40), 'at most 256'],
  ['monotonous', 'aaaaaaaaaaaaaaab', 'different'],
  ['named', 'MARIA and her dog', 'name'],
])('a %s password is refused in words', (_, password, words) => {
  expect(passwordProblem(password, 'maria')).toContain(words)
  expect(passwordProblem(PASSWORD, 'maria')).toBeUndefined()
})
