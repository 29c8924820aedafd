import { existsSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AxeBuilder } from '@axe-core/playwright'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { issueSignInLink } from '../../admin/access/link.ts'
import { openStage, PASSWORD, type Stage } from '../admin/visitor.ts'

const CHROMIUM = process.env.PHASEWISE_CHROMIUM ?? '/usr/bin/chromium'
const missing = !existsSync(CHROMIUM)
if (missing && process.env.CI !== 'true')
  console.warn(`skipped: no Chromium at ${CHROMIUM}; install it: apt-get install -y --no-install-recommends chromium`)

/** Screenshots of the last run, for people to look at. */
const SHOTS = join(tmpdir(), 'phasewise-screenshots')
const WIDE = { width: 1440, height: 1000 }
const NARROW = { width: 360, height: 780 }

let stage: Stage
let browser: Browser
beforeAll(async () => {
  if (missing && process.env.CI === 'true')
    throw new Error(`no Chromium at ${CHROMIUM}: apt-get install -y --no-install-recommends chromium`)
  if (missing) return
  mkdirSync(SHOTS, { recursive: true })
  stage = await openStage({ calls: 12_000, hours: 26 })
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'] })
}, 120_000)
afterAll(async () => {
  if (missing) return
  await browser.close()
  await stage.close()
})

/** A context whose pages must not break the content security policy. */
async function openContext(
  options: Parameters<Browser['newContext']>[0],
): Promise<{ context: BrowserContext; page: Page; broken: string[] }> {
  const context = await browser.newContext({ viewport: WIDE, ...options })
  const broken: string[] = []
  const page = await context.newPage()
  page.on('console', (message) => {
    if (/Content Security Policy|Refused to/.test(message.text())) broken.push(message.text())
  })
  page.on('pageerror', (error) => broken.push(error.message))
  return { context, page, broken }
}

/** What the router does with an intent, by the same accessors. */
function obey(draining: readonly string[]): void {
  for (const { intentId, kind } of stage.control.intents.open())
    stage.control.intents.answer(intentId, { state: 'done', text: `${kind} obeyed` })
  stage.renewNow(draining)
}

test.skipIf(missing && process.env.CI !== 'true')(
  'from the sign-in link to an undrained instance, without any script',
  { timeout: 60_000 },
  async () => {
    const { context, page, broken } = await openContext({ javaScriptEnabled: false })
    const link = issueSignInLink(stage.control, stage.clock)
    await page.goto(`${stage.url}${link}`)
    await page.getByLabel('Name').fill('maria')
    await page.getByLabel('Password, at least').fill(PASSWORD)
    await page.getByLabel('Password again').fill(PASSWORD)
    await page.getByRole('button', { name: 'Create account' }).click()
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('Overview')

    await page.getByRole('link', { name: '24 h' }).click()
    expect(await page.locator('svg.chart.wide').count()).toBe(4)
    expect(await page.getByText('Show data').count()).toBe(4)

    await page.getByRole('link', { name: 'Decisions' }).click()
    await page.getByLabel('Application').selectOption('support-bot')
    await page.getByLabel('Gateway').selectOption('envoy')
    await page.getByRole('button', { name: 'Filter' }).click()
    const firstPage = await page.locator('tbody tr').allInnerTexts()
    expect(firstPage).toHaveLength(50)
    for (const row of firstPage) expect(row).toContain('support-bot')
    await page.getByRole('link', { name: 'Older' }).click()
    expect(await page.getByLabel('Application').inputValue()).toBe('support-bot')
    expect(await page.locator('tbody tr').allInnerTexts()).not.toEqual(firstPage)
    await page.getByRole('link', { name: 'Newer' }).click()
    expect(await page.locator('tbody tr').allInnerTexts()).toEqual(firstPage)

    await page.locator('tbody a.mono').first().click()
    expect(await page.locator('.because').textContent()).toContain('Placed on')
    expect(await page.locator('tr.chosen').count()).toBe(1)

    await page.getByRole('link', { name: 'Fleet' }).first().click()
    await page.getByRole('link', { name: 'Drain… a100-0' }).click()
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('Drain a100-0?')
    await page.getByRole('button', { name: 'Drain a100-0' }).click()
    expect(await page.getByRole('status').textContent()).toContain('Drain a100-0: asked, waiting for the router.')
    obey(['a100-0'])
    await page.getByRole('link', { name: 'Look again' }).click()
    expect(await page.getByRole('status').textContent()).toContain('Drain a100-0: done.')
    const row = page.locator('tr', { has: page.getByRole('link', { name: 'a100-0', exact: true }) })
    expect(await row.locator('.tag').first().textContent()).toBe('draining')
    await row.getByRole('button', { name: 'Undrain' }).click()
    obey([])
    await page.getByRole('link', { name: 'Look again' }).click()
    expect(await page.getByRole('status').textContent()).toContain('Undrain a100-0: done.')
    expect(await row.locator('.tag').first().textContent()).toBe('healthy')
    expect(stage.control.audit.list({ limit: 10 }).map(({ action }) => action)).toEqual(['undrain', 'drain', 'add user'])

    await page.getByRole('button', { name: 'Sign out' }).click()
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('Sign in')
    expect(broken).toEqual([])
    await context.close()
  },
)

test.skipIf(missing && process.env.CI !== 'true')(
  'every page in both looks: axe finds nothing, nothing breaks the policy, 360 px need no sideways scrolling',
  { timeout: 90_000 },
  async () => {
    const { context, page, broken } = await openContext({})
    await page.goto(`${stage.url}/sign-in`)
    await judge(page, 'sign-in')
    const visitor = await stage.signedIn('operator')
    await context.addCookies([...visitor.cookies].map(([name, value]) => ({ name, value, url: stage.url })))
    const list = (await visitor.get('/decisions?outcome=instance+error')).html
    const failed = /\/decisions\/[0-9A-Z]{11}/.exec(list)?.[0] ?? ''
    const pages = {
      overview: '/?window=24h',
      decisions: '/decisions',
      empty: '/decisions?e2e=99999&instance=1',
      decision: failed,
      fleet: '/fleet',
      drain: '/fleet/drain?pool=llama-8b-chat&instance=a100-0',
      missing: '/nowhere',
    }
    for (const [name, path] of Object.entries(pages)) {
      await page.goto(stage.url + path)
      expect(await page.getByRole('navigation', { name: 'Main' }).count()).toBe(1)
      await judge(page, name)
    }
    expect(broken).toEqual([])
    await context.close()
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

test.skipIf(missing && process.env.CI !== 'true')(
  'with the keyboard alone: skip link, content, and a visible focus',
  { timeout: 30_000 },
  async () => {
    const { context, page } = await openContext({})
    const visitor = await stage.signedIn('operator')
    await context.addCookies([...visitor.cookies].map(([name, value]) => ({ name, value, url: stage.url })))
    await page.goto(`${stage.url}/fleet`)
    await page.keyboard.press('Tab')
    expect(await page.locator(':focus').textContent()).toBe('Skip to content')
    await page.keyboard.press('Enter')
    await page.keyboard.press('Tab')
    expect(await page.locator(':focus').getAttribute('aria-label')).toBe('Instances of llama-8b-chat')
    expect(await page.evaluate('getComputedStyle(document.activeElement).outlineStyle')).toBe('solid')
    await context.close()
  },
)
