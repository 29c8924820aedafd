import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { formatId } from '../../plugin/log/read/ids.ts'
import { openStage, type Stage } from '../admin/visitor.ts'
import { ACTIONS, PAGES } from './addresses.ts'
import { judge, openBrowser, openContext, skipsBrowser, takeSession } from './browser.ts'

/** Overview to Lab in real Chromium, over a log and a registry as after some weeks. */
let stage: Stage
let browser: Browser
beforeAll(async () => {
  if (skipsBrowser) return
  const line = {
    ask: async () => ({
      kind: 'answered' as const,
      status: 200,
      body: {
        policies: [
          { policy: 'least-request', instances: ['l40s-0'], probability: 1 },
          { policy: 'random', instances: ['a100-0', 'a100-1', 'l40s-0', 'l40s-1'], probability: 0.25 },
          { policy: 'weighted', instances: ['a100-1'], probability: 1 },
          { policy: 'impact', instances: ['a100-0'], probability: 1, about: true },
          {
            policy: 'prefix-hash',
            instances: [],
            probability: 0,
            unknown: 'it also reads prefix blocks of the call, which the row does not hold',
          },
        ],
        expected: ['a100-0', 'a100-1', 'l40s-0', 'l40s-1'].map((instance, i) => ({
          instance,
          ttftMs: 90 + 40 * i,
          e2eMs: 2_300 + 900 * i,
          othersMs: i === 3 ? null : 120 * i,
        })),
      },
    }),
  }
  stage = await openStage({ calls: 6_000, hours: 26, furnished: true, line })
  browser = await openBrowser()
}, 120_000)
afterAll(async () => {
  if (skipsBrowser) return
  await browser.close()
  await stage.close()
})

test.skipIf(skipsBrowser).each([
  ['viewer', PAGES],
  ['operator', { ...PAGES, ...ACTIONS }],
  ['admin', { overview: '/', fleet: '/fleet', models: '/models' }],
] as const)(
  '%s: axe finds nothing in both looks, 360 px need no sideways scrolling, nothing breaks the policy',
  { timeout: 600_000 },
  async (role, pages) => {
    const { context, page, broken } = await openContext(browser)
    await takeSession(context, await stage.signedIn(role), stage.url)
    const all: Record<string, string> = { ...pages, decision: `/decisions/${formatId(stage.callIds.at(-300) ?? 0)}` }
    for (const [name, path] of Object.entries(all)) {
      await page.goto(stage.url + path)
      expect([path, await page.getByRole('navigation', { name: 'Main' }).count()]).toEqual([path, 1])
      await judge(page, `${role}-${name}`)
    }
    expect(broken).toEqual([])
    await context.close()
  },
)

test.skipIf(skipsBrowser)(
  'a run of the Lab moves on its page by events, and the result comes without a click',
  { timeout: 60_000 },
  async () => {
    const { context, page, broken } = await openContext(browser)
    await takeSession(context, await stage.signedIn('operator'), stage.url)
    const done = stage.control.labRuns.get(1)
    const runId = stage.control.labRuns.append({
      plan: { source: { kind: 'scenario', name: 'v100x4@20' }, arms: ['round-robin', 'impact'], loads: [1], seeds: 2 },
      askedBy: 'maria',
    })
    stage.control.labRuns.start(runId, 1)
    await page.goto(`${stage.url}/lab/${runId}`)
    stage.control.labRuns.progress(runId, { progressRatio: 0.4, says: 'impact at load 1, seed 1 of 2' })
    await page.getByText('impact at load 1, seed 1 of 2').waitFor()
    if (done?.result) stage.control.labRuns.finish(runId, done.result)
    await page.getByRole('heading', { name: 'What it came to' }).waitFor()
    await page.getByRole('link', { name: 'Again, changed…' }).waitFor()
    expect(broken).toEqual([])
    await context.close()
  },
)
