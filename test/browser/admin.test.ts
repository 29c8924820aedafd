import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { issueSignInLink } from '../../admin/access/link.ts'
import { openStage, PASSWORD, type Stage } from '../admin/visitor.ts'
import { judge, openBrowser, openContext, skipsBrowser, takeSession } from './browser.ts'

let stage: Stage
let browser: Browser
beforeAll(async () => {
  if (skipsBrowser) return
  stage = await openStage({ calls: 12_000, hours: 26 })
  browser = await openBrowser()
}, 120_000)
afterAll(async () => {
  if (skipsBrowser) return
  await browser.close()
  await stage.close()
})

/** What the router does with an intent, by the same accessors. */
function obey(draining: readonly string[]): void {
  for (const { intentId, kind } of stage.control.intents.open())
    stage.control.intents.answer(intentId, { state: 'done', text: `${kind} obeyed` })
  stage.renewNow(draining)
}

test.skipIf(skipsBrowser)('from the sign-in link to an undrained instance, without any script', { timeout: 60_000 }, async () => {
  const { context, page, broken } = await openContext(browser, { javaScriptEnabled: false })
  const link = issueSignInLink(stage.control, stage.clock)
  await page.goto(`${stage.url}${link}`)
  await page.getByLabel('Name').fill('maria')
  await page.getByLabel('Password, at least').fill(PASSWORD)
  await page.getByLabel('Password again').fill(PASSWORD)
  await page.getByRole('button', { name: 'Create account' }).click()
  expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('Overview')

  await page.getByRole('link', { name: '24 h' }).click()
  await expect.poll(() => page.locator('svg.chart.wide').count()).toBe(4)
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
})

test.skipIf(skipsBrowser)(
  'every page in both looks: axe finds nothing, nothing breaks the policy, 360 px need no sideways scrolling',
  { timeout: 90_000 },
  async () => {
    const { context, page, broken } = await openContext(browser)
    await page.goto(`${stage.url}/sign-in`)
    await judge(page, 'sign-in')
    const visitor = await stage.signedIn('operator')
    await takeSession(context, visitor, stage.url)
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

test.skipIf(skipsBrowser)('with the keyboard alone: skip link, content, and a visible focus', { timeout: 30_000 }, async () => {
  const { context, page } = await openContext(browser)
  const visitor = await stage.signedIn('operator')
  await takeSession(context, visitor, stage.url)
  await page.goto(`${stage.url}/fleet`)
  await page.keyboard.press('Tab')
  expect(await page.locator(':focus').textContent()).toBe('Skip to content')
  await page.keyboard.press('Enter')
  await page.keyboard.press('Tab')
  expect(await page.locator(':focus').textContent()).toBe('Add instance… to llama-8b-chat')
  await page.keyboard.press('Tab')
  expect(await page.locator(':focus').getAttribute('aria-label')).toBe('Instances of llama-8b-chat')
  expect(await page.evaluate('getComputedStyle(document.activeElement).outlineStyle')).toBe('solid')
  await context.close()
})
