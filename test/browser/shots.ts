import { existsSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { chromium, type Page } from 'playwright-core'
import { formatId } from '../../plugin/log/read/ids.ts'
import { openStage, type Stage } from '../admin/visitor.ts'
import { ACTIONS, PAGES } from './addresses.ts'

/**
 * Photographs of every page for people to look at: each role, both looks, 1440 and 360 px, over a log and a registry as after some weeks.
 * `node test/browser/shots.ts [FOLDER] [ROLE]`; the folder is a temporary one by default.
 */
const CHROMIUM = process.env.PHASEWISE_CHROMIUM ?? '/usr/bin/chromium'
const SIZES = { wide: { width: 1440, height: 1000 }, narrow: { width: 360, height: 780 } } as const

const LOOKS: Readonly<Record<string, string>> = {
  ...PAGES,
  'overview-empty': '/?window=15m',
  decisions: '/decisions',
  'decisions-none': '/decisions?tenant=nobody',
  'try-it': '/try',
  settings: '/settings',
  access: '/access',
  system: '/system',
  'no-such-page': '/nowhere',
}
const ASKING: Readonly<Record<string, string>> = {
  ...ACTIONS,
  audit: '/audit',
  drain: '/fleet/drain?pool=llama-8b-chat&instance=a100-0',
}

const [folder = join(tmpdir(), 'phasewise-shots'), only] = process.argv.slice(2)
if (!existsSync(CHROMIUM)) throw new Error(`no Chromium at ${CHROMIUM}: apt-get install -y --no-install-recommends chromium`)
mkdirSync(folder, { recursive: true })

const stage = await openStage({ calls: 6_000, hours: 26, furnished: true })
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] })
try {
  for (const role of ['viewer', 'operator', 'admin'] as const) if (only === undefined || only === role) await shootAs(stage, role)
  if (only === undefined) {
    const page = await (await browser.newContext()).newPage()
    await shoot(page, 'nobody-sign-in', `${stage.url}/sign-in`)
  }
} finally {
  await browser.close()
  await stage.close()
}
console.log(`photographs in ${resolve(folder)}`)

async function shootAs({ url, callIds, signedIn }: Stage, role: 'viewer' | 'operator' | 'admin'): Promise<void> {
  const context = await browser.newContext()
  const visitor = await signedIn(role)
  await context.addCookies([...visitor.cookies].map(([name, value]) => ({ name, value, url })))
  const page = await context.newPage()
  const all = { ...LOOKS, ...(role === 'viewer' ? {} : ASKING), decision: `/decisions/${formatId(callIds.at(-300) ?? 0)}` }
  for (const [name, path] of Object.entries(all)) await shoot(page, `${role}-${name}`, url + path)
  await context.close()
}

async function shoot(page: Page, name: string, url: string): Promise<void> {
  await page.goto(url)
  for (const [size, viewport] of Object.entries(SIZES)) {
    await page.setViewportSize(viewport)
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      await page.screenshot({ path: join(folder, `${name}-${size}-${colorScheme}.png`), fullPage: true })
    }
  }
}
