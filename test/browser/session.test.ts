import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Browser } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../plugin/clock.ts'
import { registerModel } from '../../plugin/learning/registry.ts'
import { openControl } from '../../plugin/log/control.ts'
import { PASSWORD } from '../admin/visitor.ts'
import { ask } from '../e2e/database.ts'
import { endAll, eventually, type Site, startInstance, startSite } from '../e2e/processes.ts'
import { openBrowser, openContext, SHOTS, skipsBrowser } from './browser.ts'

/** A session of use over the real processes: router, admin, instances, the Lab's own. */
let browser: Browser
beforeAll(async () => {
  if (!skipsBrowser) browser = await openBrowser()
})
afterAll(() => browser?.close())
afterEach(endAll)

const CALLS = 60

async function sendCalls(site: Site): Promise<void> {
  const call = async (i: number): Promise<void> => {
    const reply = await fetch(`${site.proxy}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-virtual-output-tokens': String(4 + (i % 9)) },
      body: JSON.stringify({
        model: 'llama-2-7b',
        max_tokens: 16,
        stream: true,
        messages: [{ role: 'user', content: `Say ${i}. ${'word '.repeat(i % 40)}` }],
      }),
    })
    await reply.text()
  }
  for (let i = 0; i < CALLS; i += 6) await Promise.all(Array.from({ length: 6 }, (_, k) => call(i + k)))
  await eventually('all calls are logged', () =>
    ask<{ n: number }>(site, 'SELECT count(*) AS n FROM call')[0]?.n === CALLS ? true : undefined,
  )
}

/** The shipped policy as a night would register it, with its judgement. */
function registerChallenger(site: Site): string {
  const dataDir = join(site.folder, '.phasewise')
  const control = openControl({ path: join(dataDir, 'control.sqlite'), clock: systemClock })
  try {
    const folder = new URL('../../models/policy-base/', import.meta.url).pathname
    const card = JSON.parse(readFileSync(join(folder, 'card.json'), 'utf8')) as Record<string, unknown> & { readonly featureHash?: string }
    const files = new Map(
      readdirSync(folder, { withFileTypes: true })
        .filter((entry) => entry.isFile() && entry.name !== 'card.json')
        .map(({ name }) => [name, new Uint8Array(readFileSync(join(folder, name)))]),
    )
    const version = 'policy-session'
    const modelId = registerModel({
      dataDir,
      models: control.models,
      kind: 'policy',
      version,
      files,
      card,
      featureHash: card.featureHash ?? null,
      parent: 'base',
    })
    control.models.addVerdict({
      modelId,
      runId: null,
      passed: true,
      words: 'lower mean E2E in the twin',
      numbers: '{"gain":[0.2,0.15,0.25]}',
    })
    control.models.challenge(modelId)
    return version
  } finally {
    control.close()
  }
}

test.skipIf(skipsBrowser)(
  'from "p99 is bad" to the instance, the decisions, the reason, a replay in the Lab, a promotion and a roll back',
  { timeout: 300_000 },
  async () => {
    const site = await startSite([await startInstance(), await startInstance({ profile: 'v100-llama-2-7b' })])
    await sendCalls(site)
    const version = registerChallenger(site)
    const { context, page, broken } = await openContext(browser)
    page.setDefaultTimeout(60_000)
    await page.goto(site.signIn)
    await page.getByLabel('Name').fill('maria')
    await page.getByLabel('Password, at least').fill(PASSWORD)
    await page.getByLabel('Password again').fill(PASSWORD)
    await page.getByRole('button', { name: 'Create account' }).click()

    await page.getByRole('link', { name: 'the slowest hundredth of the calls' }).click()
    expect(await page.getByLabel('E2E at least, s').inputValue()).not.toBe('')
    expect(await page.locator('tbody tr').count()).toBeGreaterThan(0)
    await page.getByRole('link', { name: 'Fleet' }).first().click()
    await page.getByRole('link', { name: 'i1', exact: true }).click()
    await page.locator('tbody a.mono').first().click()
    expect(await page.locator('.because').textContent()).toContain('Placed on')
    await page.getByRole('heading', { name: 'What other policies would have done' }).waitFor()
    expect(await page.getByRole('region', { name: 'What other policies would have done' }).locator('tbody tr').count()).toBeGreaterThan(0)
    await page.screenshot({ path: join(SHOTS, 'session-decision.png'), fullPage: true })

    await page.getByRole('link', { name: 'Play the hour around it in the Lab' }).click()
    await page.getByRole('button', { name: 'Play' }).click()
    await page.getByRole('heading', { name: 'What it came to' }).waitFor({ timeout: 120_000 })
    expect(await page.getByRole('region', { name: 'Result' }).locator('tbody tr').count()).toBe(4)
    await page.screenshot({ path: join(SHOTS, 'session-lab.png'), fullPage: true })

    await page.getByRole('link', { name: 'Models' }).click()
    await page.getByRole('link', { name: `Promote… ${version}` }).click()
    await page.getByLabel('Why, for the history').fill('the Lab and the twin agree')
    await page.getByRole('button', { name: `Promote ${version}` }).click()
    const done = page.getByRole('status').filter({ hasText: 'done.' })
    const lookAgain = page.getByRole('link', { name: 'Look again' })
    while (!(await done.isVisible())) await lookAgain.click()
    await page.getByRole('link', { name: 'Roll back… Policy' }).click()
    await page.getByLabel('Why, for the history').fill('only a rehearsal')
    await page.getByRole('button', { name: 'Roll back to' }).click()
    while (!(await done.isVisible())) await lookAgain.click()
    const history = await page.getByRole('region', { name: 'History' }).locator('tbody tr').allInnerTexts()
    expect(history.map((row) => /promote|roll back/.exec(row)?.[0])).toEqual(['roll back', 'promote'])
    expect(history[1]).toContain('the Lab and the twin agree')
    await page.screenshot({ path: join(SHOTS, 'session-models.png'), fullPage: true })
    expect(broken).toEqual([])
    await context.close()
  },
)
