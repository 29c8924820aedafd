import { existsSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AxeBuilder } from '@axe-core/playwright'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'
import { expect } from 'vitest'
import type { Visitor } from '../admin/visitor.ts'

/** Real Chromium, where there is one. */
const CHROMIUM = process.env.PHASEWISE_CHROMIUM ?? '/usr/bin/chromium'
/** Tests are skipped in words where it is missing; in CI it must be there. */
export const skipsBrowser = !existsSync(CHROMIUM) && process.env.CI !== 'true'
if (skipsBrowser) console.warn(`skipped: no Chromium at ${CHROMIUM}; install it: apt-get install -y --no-install-recommends chromium`)

/** Screenshots of the last run, for people to look at. */
export const SHOTS = join(tmpdir(), 'phasewise-screenshots')
export const WIDE = { width: 1440, height: 1000 }
export const NARROW = { width: 360, height: 780 }

/** Starts it; close it. */
export function openBrowser(): Promise<Browser> {
  if (!existsSync(CHROMIUM)) throw new Error(`no Chromium at ${CHROMIUM}: apt-get install -y --no-install-recommends chromium`)
  mkdirSync(SHOTS, { recursive: true })
  return chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'] })
}

/** A context whose pages must not break the content security policy; `broken` is what did. */
export async function openContext(
  browser: Browser,
  options: Parameters<Browser['newContext']>[0] = {},
): Promise<{ readonly context: BrowserContext; readonly page: Page; readonly broken: string[] }> {
  const context = await browser.newContext({ viewport: WIDE, ...options })
  const broken: string[] = []
  const page = await context.newPage()
  page.on('console', (message) => {
    if (/Content Security Policy|Refused to/.test(message.text())) broken.push(message.text())
  })
  page.on('pageerror', (error) => broken.push(error.message))
  return { context, page, broken }
}

/** The visitor's session in the browser. */
export async function takeSession(context: BrowserContext, visitor: Visitor, url: string): Promise<void> {
  await context.addCookies([...visitor.cookies].map(([name, value]) => ({ name, value, url })))
}

/** Both looks wide, and 360 px: axe finds nothing, nothing scrolls sideways; each is photographed under this name. */
export async function judge(page: Page, name: string): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize(WIDE)
    await page.screenshot({ path: join(SHOTS, `${name}-${colorScheme}.png`), fullPage: true })
    const { violations } = await new AxeBuilder({ page }).analyze()
    expect.soft(violations.map(({ id, impact, nodes }) => [name, colorScheme, id, impact, nodes[0]?.html])).toEqual([])
  }
  await page.setViewportSize(NARROW)
  await page.screenshot({ path: join(SHOTS, `${name}-narrow.png`), fullPage: true })
  const wider = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')
  expect.soft([name, wider]).toEqual([name, 0])
}
