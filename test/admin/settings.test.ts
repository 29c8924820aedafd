import { afterEach, beforeEach, expect, test } from 'vitest'
import { parse } from 'yaml'
import { settingKey } from '../../plugin/config-settings.ts'
import { openStage, type Stage, type Visitor } from './visitor.ts'

const POOL = 'llama-8b-chat'
const key = (...path: string[]): string => settingKey(path)
const EXPLORATION = key('pools', POOL, 'exploration')
const POLICY = key('pools', POOL, 'policy')
const HOLD = key('pools', POOL, 'hold', 'order')

let stage: Stage
let operator: Visitor
beforeEach(async () => {
  stage = await openStage({ calls: 5 })
  operator = await stage.signedIn('operator')
})
afterEach(() => stage.close())

const text = (html: string): string => html.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ')
const review = (form: Record<string, string>) => operator.get(`/settings/review?${new URLSearchParams({ group: '0', ...form })}`)
const fieldsOf = (html: string): Record<string, string> =>
  Object.fromEntries(
    [...html.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)].map(([, name = '', value = '']) => [name, value]),
  )
const save = async (form: Record<string, string>) => operator.post('/settings/save', fieldsOf((await review(form)).html))

test('each setting tells its value, where that comes from, and when a change counts', async () => {
  const { html } = await operator.get('/settings')
  const row = (label: string): string => text(html.split('<tr>').find((one) => one.includes(`${label}<br>`)) ?? '')
  expect(row('Exploration')).toMatch(/ 0\.02 file .*at once/)
  expect(row('Policy')).toMatch(/ least-request-speed default .*at once/)
  expect(row('Hold order')).toMatch(/ auto default .*at once/)
  expect(row('Objective')).toMatch(/ latency default .*with the next training/)
  expect(row('Failures to eject')).toMatch(/ 3 default .*after a restart/)
  expect(text(html)).toContain('What is set here wins over /etc/phasewise.yaml')
})

test('the difference is shown before anything is saved, and nothing changes by looking', async () => {
  const { html, status } = await review({ [EXPLORATION]: '0,05', [HOLD]: 'fcfs' })
  expect(status).toBe(200)
  expect(text(html)).toMatch(/Exploration 0\.02 \(file\) 0,05 at once/)
  expect(text(html)).toMatch(/Hold order auto \(default\) fcfs at once/)
  expect(stage.control.settings.all()).toEqual({})
})

test('saving keeps the change, its audit with before and after, and asks the router', async () => {
  const saved = await save({ [EXPLORATION]: '0,05', [POLICY]: 'impact' })
  expect(saved.to).toMatch(/^\/settings\?asked=\d+$/)
  expect(stage.control.settings.all()).toEqual({ [EXPLORATION]: '0.05', [POLICY]: '"impact"' })
  expect(stage.control.audit.list({ limit: 2 }).map(({ who, subject, before, after }) => [who, subject, before, after])).toEqual([
    ['operator-1', `pools / ${POOL} / exploration`, '0.02 (file)', '0,05'],
    ['operator-1', `pools / ${POOL} / policy`, 'least-request-speed (file)', 'impact'],
  ])
  const [intent] = stage.control.intents.open()
  expect(intent).toMatchObject({ kind: 'settings', askedBy: 'operator-1' })
  stage.control.intents.answer(intent?.intentId ?? 0, { state: 'done', text: '2 settings count now.' })
  const { html } = await operator.get(saved.to ?? '')
  expect(text(html)).toContain('Saved. 2 settings count now.')
  expect(text(html)).toMatch(/Exploration .* 0\.05 database file: 0\.02/)
})

test('a value taken away lets the file count again', async () => {
  await save({ [EXPLORATION]: '0.05', [POLICY]: 'impact' })
  await save({ [POLICY]: 'impact' })
  expect(stage.control.settings.all()).toEqual({ [POLICY]: '"impact"' })
})

test.each([
  ['a share above 1', { [EXPLORATION]: '2' }, 'allowed is 0 to 1'],
  ['a word for a number', { [EXPLORATION]: 'much' }, 'allowed is a number'],
  ['an unknown policy', { [POLICY]: 'none' }, 'allowed are impact'],
  ['an unknown order', { [HOLD]: 'best' }, 'allowed is auto'],
])('%s is refused by the schema of the file, at review and at saving', async (_, form, words) => {
  const page = await review(form)
  expect(page.status).toBe(422)
  expect(text(page.html)).toContain(words)
  expect(page.html).not.toContain('action="/settings/save"')
  const good = fieldsOf((await review({ [EXPLORATION]: '0.5' })).html)
  const { [EXPLORATION]: _taken, ...rest } = good
  expect((await operator.post('/settings/save', { ...rest, ...form })).status).toBe(409)
  expect(stage.control.settings.all()).toEqual({})
  expect(stage.control.intents.open()).toEqual([])
})

test('what somebody else changed between review and saving is not overwritten', async () => {
  const reviewed = fieldsOf((await review({ [EXPLORATION]: '0.05' })).html)
  stage.control.settings.set(POLICY, '"impact"')
  const page = await operator.post('/settings/save', reviewed)
  expect([page.status, text(page.html).includes('Somebody else changed a setting meanwhile')]).toEqual([409, true])
  expect(stage.control.settings.all()).toEqual({ [POLICY]: '"impact"' })
})

test('a group saves its own settings only', async () => {
  await save({ [EXPLORATION]: '0.05' })
  const log = (await operator.get('/settings')).html.split('<section').findIndex((one) => one.includes('Log and retention')) - 1
  const { html } = await operator.get(
    `/settings/review?${new URLSearchParams({ group: String(log), [key('log', 'retentionDays')]: '7', [POLICY]: 'impact' })}`,
  )
  await operator.post('/settings/save', fieldsOf(html))
  expect(stage.control.settings.all()).toEqual({ [EXPLORATION]: '0.05', [key('log', 'retentionDays')]: '7' })
})

test('the export is the file with what was set, its comments kept and its secrets only named', async () => {
  await save({ [EXPLORATION]: '0.05' })
  const page = await operator.get('/settings/export')
  expect(page.headers.get('content-disposition')).toBe('attachment; filename=phasewise.yaml')
  expect(page.html).toContain('# two kinds of machines')
  expect(parse(page.html)).toMatchObject({ pools: [{ exploration: 0.05, instances: [{ apiKey: { env: 'SECRET' } }] }] })
  expect(page.html + (await operator.get('/settings')).html).not.toContain('not to be seen')
})

test('what no longer fits the file is said, and the file counts', async () => {
  stage.control.settings.set(POLICY, '"gone-policy"')
  stage.control.settings.set(key('pools', 'gone', 'exploration'), '0.5')
  const html = text((await operator.get('/settings')).html)
  expect(html).toContain('no longer fits the file, so the file alone counts')
  expect(html).toContain('of something that the file no longer has')
})

test('a viewer sees the settings and no way to change them', async () => {
  const { html } = await (await stage.signedIn('viewer')).get('/settings')
  expect(html).toContain('Exploration')
  expect(html).not.toMatch(/Review changes|Export as YAML|<select/)
})

test('where the file says so, it alone counts and nothing can be changed', async () => {
  const own = await openStage({
    calls: 5,
    file: { path: 'p.yaml', text: `admin: { settings: file }\npools: [{ name: m, instances: [{ url: 'http://10.0.0.1:1' }] }]\n` },
  })
  try {
    const visitor = await own.signedIn('admin')
    own.control.settings.set(key('pools', 'm', 'exploration'), '0.5')
    const { html } = await visitor.get('/settings')
    expect(text(html)).toContain('The file wins')
    expect(text(html)).toMatch(/Exploration .* 0\.01 default/)
    expect(html).not.toContain('Review changes')
    expect((await visitor.get('/settings/review?group=0')).to).toBe('/settings')
    expect((await visitor.post('/settings/save', { group: '0' })).status).toBe(409)
  } finally {
    await own.close()
  }
})
