import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createRouterLine } from '../../admin/router-line.ts'
import { type ApiBench, endAll, startApi } from '../gateways-api/setup.ts'
import { openStage, type Stage, type Visitor } from './visitor.ts'

const KEY = 'the-key-of-this-start'

let api: ApiBench
let stage: Stage
let viewer: Visitor
beforeAll(async () => {
  api = await startApi({ keys: [{ name: 'admin', key: KEY, scopes: ['place', 'read', 'control'] }], openLoopback: false })
  stage = await openStage({ calls: 5, line: createRouterLine({ url: api.api.url ?? '', key: KEY }) })
  viewer = await stage.signedIn('viewer')
  await viewer.get('/try')
})
afterAll(async () => {
  await stage.close()
  await endAll()
})

const text = (html: string): string => html.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ')
const ask = (form: Record<string, string>) => viewer.post('/try', form)

test('a prompt gets a placement with its candidates, features and prediction; nothing is booked, logged or stored', async () => {
  const prompt = 'Translate to German: the unmistakable marker-7351'
  const { status, html } = await ask({ text: prompt, model: 'm', maxTokens: '64' })
  expect([status, /role="alert">([^<]*)/.exec(html)?.[1]]).toEqual([200, undefined])
  expect(text(html)).toMatch(/It would be placed on i[012] of pool m by least-request/)
  expect(html.split('<tr class="chosen">').length - 1).toBe(1)
  expect(html).toContain('runner-up')
  expect(text(html)).toMatch(/Limit asked for 64/)
  expect([api.router.inFlight(), api.rows.length, api.api.open()]).toEqual([0, 0, 0])
  for (const name of ['control.sqlite', 'control.sqlite-wal', 'log.sqlite', 'log.sqlite-wal'])
    expect([name, readFileSync(`${stage.dataDir}/${name}`).includes('marker-7351')]).toEqual([name, false])
})

test('the body of a request is placed as it is, also a long one', async () => {
  const long = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'word '.repeat(100_000) }] })
  const { status, html } = await ask({ text: long })
  expect(status).toBe(200)
  expect(text(html)).toMatch(/Prompt tokens 1\d\d,\d\d\d/)
})

test.each([
  ['nothing', {}, 'Paste a prompt'],
  ['a prompt without a model', { text: 'hello' }, 'Choose a model'],
  ['broken JSON', { text: '{"model": "m", ' }, 'not valid JSON'],
  ['JSON that is no body', { text: '{"a": 1}' }, 'no request body'],
  ['an unknown model', { text: 'hello', model: 'nobody' }, 'The router refuses:'],
  ['an application of control characters', { text: 'hello', model: 'm', application: 'a\u0007b' }, 'An application is named'],
])('%s is answered in words, and the form keeps what was typed', async (_, form, words) => {
  const { status, html } = await ask(form as Record<string, string>)
  expect([status, text(html).includes(words)]).toEqual([422, true])
  const typed = (form as Record<string, string>).application ?? (form as Record<string, string>).model ?? ''
  if (typed !== '' && !typed.includes('\u0007') && typed !== 'nobody') expect(html).toContain(typed)
})

test('without a router the page says so', async () => {
  const alone = await openStage({ calls: 5 })
  try {
    const visitor = await alone.signedIn('viewer')
    await visitor.get('/try')
    const { status, html } = await visitor.post('/try', { text: 'hello', model: 'm' })
    expect([status, text(html).includes('The router cannot be asked')]).toEqual([503, true])
  } finally {
    await alone.close()
  }
})

test('a form that is longer than its page takes is refused', async () => {
  expect((await viewer.post('/access/zone', { zone: 'x'.repeat(20_000) })).status).toBe(413)
})
