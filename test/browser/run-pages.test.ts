import { existsSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AxeBuilder } from '@axe-core/playwright'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createRouterLine } from '../../admin/router-line.ts'
import { openStage, PASSWORD, type Stage } from '../admin/visitor.ts'
import { endAll, startApi } from '../gateways-api/setup.ts'

/** Access, Audit, Settings, System and Try it in a real browser: as each role, in both looks, narrow, by keyboard and without script. */
const CHROMIUM = process.env.PHASEWISE_CHROMIUM ?? '/usr/bin/chromium'
const missing = !existsSync(CHROMIUM)
const skipped = missing && process.env.CI !== 'true'
if (skipped) console.warn(`skipped: no Chromium at ${CHROMIUM}; install it: apt-get install -y --no-install-recommends chromium`)

const SHOTS = join(tmpdir(), 'phasewise-screenshots')
const WIDE = { width: 1440, height: 1000 }
const NARROW = { width: 360, height: 780 }
const KEY = 'the-key-of-this-start'

let stage: Stage
let browser: Browser
beforeAll(async () => {
  if (missing && process.env.CI === 'true')
    throw new Error(`no Chromium at ${CHROMIUM}: apt-get install -y --no-install-recommends chromium`)
  if (missing) return
  mkdirSync(SHOTS, { recursive: true })
  const api = await startApi({ keys: [{ name: 'admin', key: KEY, scopes: ['place', 'read', 'control'] }], openLoopback: false })
  stage = await openStage({ calls: 800, hours: 26, line: createRouterLine({ url: api.api.url ?? '', key: KEY }) })
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'] })
}, 120_000)
afterAll(async () => {
  if (missing) return
  await browser.close()
  await stage.close()
  await endAll()
})

async function openAs(
  role: 'viewer' | 'operator' | 'admin',
  options: Parameters<Browser['newContext']>[0] = {},
): Promise<{ context: BrowserContext; page: Page; broken: string[] }> {
  const visitor = await stage.signedIn(role)
  const context = await browser.newContext({ viewport: WIDE, ...options })
  await context.addCookies([...visitor.cookies].map(([name, value]) => ({ name, value, url: stage.url })))
  const broken: string[] = []
  const page = await context.newPage()
  page.on('console', (message) => {
    if (/Content Security Policy|Refused to/.test(message.text())) broken.push(message.text())
  })
  page.on('pageerror', (error) => broken.push(error.message))
  return { context, page, broken }
}

test.skipIf(skipped)(
  'a person gets in, a key is made and revoked, a setting changes, a call is tried; without script',
  { timeout: 120_000 },
  async () => {
    const { context, page, broken } = await openAs('admin', { javaScriptEnabled: false })
    await page.goto(`${stage.url}/access`)
    const people = page.locator('#people')
    await people.getByLabel('Name').fill('eve')
    await people.getByLabel('Role').selectOption('operator')
    await people.getByRole('button', { name: 'Add person' }).click()
    const link = (await page.locator('.secret code').textContent()) ?? ''
    await page.reload()
    expect(await page.locator('.secret').count()).toBe(0)

    const elsewhere = await browser.newContext({ javaScriptEnabled: false })
    const eve = await elsewhere.newPage()
    await eve.goto(link)
    await eve.getByLabel('Password, at least').fill(`${PASSWORD}, again`)
    await eve.getByLabel('Password again').fill(`${PASSWORD}, again`)
    await eve.getByRole('button', { name: 'Set password' }).click()
    expect(await eve.getByRole('heading', { level: 1 }).textContent()).toBe('Overview')
    expect(await eve.getByRole('link', { name: 'Audit' }).count()).toBe(1)
    await elsewhere.close()

    const keys = page.locator('#keys')
    await keys.getByLabel('Name').fill('litellm')
    await keys.getByRole('button', { name: 'Make key' }).click()
    expect(await page.locator('.secret code').textContent()).toMatch(/^pw_/)
    await page.getByRole('link', { name: 'Revoke… litellm' }).click()
    await page.getByRole('button', { name: 'Revoke litellm' }).click()
    expect(await page.getByRole('status').first().textContent()).toContain('The key is revoked')

    await page.goto(`${stage.url}/settings`)
    await page.getByLabel('Exploration of Pool llama-8b-chat').fill('0.05')
    await page.getByRole('button', { name: 'Review changes of Pool llama-8b-chat' }).click()
    expect(await page.locator('ins').first().textContent()).toBe('0.05')
    await page.getByRole('button', { name: 'Save' }).click()
    expect(await page.getByRole('status').first().textContent()).toContain('Saved')

    await page.goto(`${stage.url}/try`)
    await page.getByLabel('A prompt, or the body').fill('{"model":"m","messages":[{"role":"user","content":"Say it in German"}]}')
    await page.getByRole('button', { name: 'Ask the router' }).click()
    expect(await page.locator('.because').textContent()).toContain('It would be placed on')

    await page.goto(`${stage.url}/audit?who=admin-1`)
    const did = await page.locator('tbody tr td:nth-child(4)').allTextContents()
    expect(did).toEqual(expect.arrayContaining(['change setting', 'revoke api key', 'add api key', 'add user']))
    expect(broken).toEqual([])
    await context.close()
  },
)

test.skipIf(skipped)(
  'every page of these, as each role, in both looks: axe finds nothing, and 360 px need no sideways scrolling',
  { timeout: 300_000 },
  async () => {
    const { userId } = stage.control.users.add({ name: 'somebody', role: 'viewer', password: '' })
    const key = stage.control.apiKeys.add({ name: 'shown', scopes: ['place'], sha256: 'none', beginning: 'pw_abcd', createdBy: 'admin-1' })
    const exploration = encodeURIComponent('config/pools/llama-8b-chat/exploration')
    const everybody = { access: '/access', settings: '/settings', system: '/system', try: '/try' }
    const operators = {
      ...everybody,
      audit: '/audit',
      'audit-empty': '/audit?text=nothing+like+it',
      review: `/settings/review?group=0&${exploration}=0.2`,
      'review-refused': `/settings/review?group=0&${exploration}=7`,
    }
    const admins = {
      ...operators,
      person: `/access/people/${userId}`,
      remove: `/access/people/${userId}/remove`,
      revoke: `/access/keys/${key.keyId}/revoke`,
      gone: '/password/none',
    }
    for (const [role, pages] of [
      ['viewer', everybody],
      ['operator', operators],
      ['admin', admins],
    ] as const) {
      const { context, page, broken } = await openAs(role)
      for (const [name, path] of Object.entries(pages)) {
        await page.goto(stage.url + path)
        await judge(page, `${name}-${role}`)
      }
      expect(broken).toEqual([])
      await context.close()
    }
  },
)

async function judge(page: Page, name: string): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize(WIDE)
    await page.screenshot({ path: join(SHOTS, `${name}-${colorScheme}.png`) })
    const { violations } = await new AxeBuilder({ page }).analyze()
    expect(violations.map(({ id, impact, nodes }) => [name, colorScheme, id, impact, nodes[0]?.html])).toEqual([])
  }
  await page.setViewportSize(NARROW)
  await page.screenshot({ path: join(SHOTS, `${name}-narrow.png`), fullPage: true })
  const wider = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')
  expect([name, wider]).toEqual([name, 0])
}

test.skipIf(skipped)(
  'times are those of the browser’s zone, UTC beside them, and a chosen zone goes before it',
  { timeout: 60_000 },
  async () => {
    const { context, page } = await openAs('viewer', { timezoneId: 'Asia/Tokyo' })
    await page.goto(`${stage.url}/access`)
    await page.reload()
    expect(await page.locator('.foot').textContent()).toContain('times in Asia/Tokyo')
    const time = page.locator('time').first()
    const shown = new Intl.DateTimeFormat('en-GB', { timeZone: 'Asia/Tokyo', hour: '2-digit', minute: '2-digit' })
    const utc = (await time.getAttribute('title')) ?? ''
    expect(await time.textContent()).toContain(shown.format(Date.parse(utc)))
    await page.getByLabel('Time zone').selectOption('Europe/Berlin')
    await page.getByRole('button', { name: 'Use this zone' }).click()
    expect(await page.locator('.foot').textContent()).toContain('times in Europe/Berlin')
    await context.close()
  },
)

test.skipIf(skipped)('with the keyboard alone a setting is changed', { timeout: 60_000 }, async () => {
  const { context, page } = await openAs('operator')
  await page.goto(`${stage.url}/settings`)
  const focused = () => page.evaluate('document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent')
  const tabTo = async (name: string): Promise<void> => {
    for (let i = 0; i < 60 && (await focused()) !== name; i++) await page.keyboard.press('Tab')
    expect(await focused()).toBe(name)
  }
  await tabTo('Share of calls of Pool llama-8b-chat')
  expect(await page.evaluate('getComputedStyle(document.activeElement).outlineStyle')).toBe('solid')
  await page.keyboard.type('0.3')
  await page.keyboard.press('Enter')
  await page.waitForURL(/\/settings\/review/)
  expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('Review changes')
  await tabTo('Save')
  await page.keyboard.press('Enter')
  await page.waitForURL(/\/settings\?asked=/)
  expect(await page.getByRole('status').first().textContent()).toContain('Saved')
  await context.close()
})
