import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { openIntentDesk } from '../../plugin/log/obey.ts'
import { formatId } from '../../plugin/log/read/ids.ts'
import { openStage, type Stage, type Visitor } from './visitor.ts'

const text = (html: string): string => html.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ')

describe('two hours of calls', () => {
  let stage: Stage
  let visitor: Visitor
  beforeAll(async () => {
    stage = await openStage({ calls: 600, hours: 2 })
    visitor = await stage.signedIn('admin')
  })
  afterAll(() => stage.close())

  test('the Overview counts every call of its window once', async () => {
    const html = text((await visitor.get('/?window=24h')).html)
    expect(html).toMatch(/Calls 600 /)
    expect(html).toContain('No comparison to show yet')
  })

  test('each chart has its data beside it', async () => {
    const { html } = await visitor.get('/?window=1h')
    expect(html.match(/<svg class="chart wide"|None in this window/g)).toHaveLength(4)
    expect(html.split('Show data').length - 1).toBe(4)
  })

  test('filters combine, stay in the address over pages, and stay visible in the form', async () => {
    const { html } = await visitor.get('/decisions?application=support-bot&gateway=openai')
    const older = /href="([^"]*before[^"]*)" rel="next"/.exec(html)?.[1]?.replaceAll('&amp;', '&').replaceAll('&#x3D;', '=') ?? ''
    expect(older).toMatch(/^\/decisions\?application=support-bot&gateway=openai&before=[0-9A-Z]{11}$/)
    const next = await visitor.get(older)
    expect(next.html).toContain('<option value="support-bot" selected>')
    expect(text(next.html)).not.toContain('code-review openai')
    expect(next.html).toContain('rel="prev"')
  })

  test('a call id opens its decision, another text is told to be none', async () => {
    const id = formatId(stage.callIds[10] ?? 0)
    expect((await visitor.get(`/decisions?call=%20${id.toLowerCase()}`)).to).toBe(`/decisions/${id}`)
    expect((await visitor.get('/decisions?call=nonsense')).html).toContain('is no call id')
    expect((await visitor.get('/decisions/00000000000')).status).toBe(404)
  })

  test('filters that cannot be read are told, not dropped in silence', async () => {
    const { html } = await visitor.get('/decisions?e2e=quick&since=yesterday')
    expect(html).toContain('E2E “quick” is no number')
    expect(html).toContain('Since “yesterday” is no time')
  })

  test('no match says what to do', async () => {
    expect((await visitor.get('/decisions?e2e=99999')).html).toContain('No call matches these filters')
  })

  test('a decision shows its sentence, its candidates with the chosen one marked, its neighbours and its facts', async () => {
    const { html } = await visitor.get(`/decisions/${formatId(stage.callIds[300] ?? 0)}`)
    expect(text(html)).toMatch(/Placed on \S+ /)
    expect(html.split('<tr class="chosen">').length - 1).toBe(1)
    expect(html).toContain('runner-up')
    expect(html).toContain('Newer call')
    expect(text(html)).toContain('Finish reason stop')
  })

  test('what a scrape never told is unknown, never 0', async () => {
    const { html } = await visitor.get('/fleet')
    const row = html.split('<tr id=').find((part) => part.includes('>l40s-1<')) ?? ''
    expect(row.split('<span class="unknown">unknown</span>').length - 1).toBe(6)
  })

  test('what a night learned of the instances stands on Fleet with its fit, or that nothing is learned yet', async () => {
    expect(text((await visitor.get('/fleet')).html)).toContain('No profile of these instances is learned yet')
    const furnished = await openStage({ calls: 50, furnished: true })
    const own = await furnished.signedIn('viewer')
    const page = text((await own.get('/fleet')).html)
    expect(page).toContain('profile-19dd')
    expect(page).toMatch(/a100-0 learned with its type 48,210 9\.40? ± 0\.05/)
    expect(page).toMatch(/l40s-0 too few calls 212/)
    expect(page).toContain('+1.10 % +0.40 %')
    await furnished.close()
  })

  test('the errors of a page are not shown, but told', async () => {
    const page = await visitor.get('/decisions/%E0%A4%A')
    expect(page.status).toBe(400)
    expect(page.html).not.toMatch(/URIError|node_modules/)
    expect(stage.errors).toEqual([])
  })

  test('a page that is not there says so in the frame', async () => {
    const page = await visitor.get('/nowhere')
    expect(page.status).toBe(404)
    expect(page.html).toContain('aria-label="Main"')
  })

  test('when the router is gone, Overview and Fleet say so, and a drain waits for it', async () => {
    stage.clock.advance(200_000)
    for (const path of ['/', '/fleet'])
      expect((await visitor.get(path)).html).toContain('The router is not running: it was last seen 3 min 20 s ago')
    const asked = await visitor.post('/fleet/drain', { pool: 'llama-8b-chat', instance: 'l40s-0' })
    expect((await visitor.get(asked.to ?? '')).html).toContain('the router does it when it is back')
    for (const intent of stage.control.intents.open()) stage.control.intents.answer(intent.intentId, { state: 'refused', text: 'too late' })
    expect((await visitor.get(asked.to ?? '')).html).toContain('refused. too late')
    stage.renewNow()
  })

  test('a drain is an intent with its audit row, is shown until it is done, and then can be undone', async () => {
    expect((await visitor.get('/fleet/drain?pool=llama-8b-chat&instance=a100-0')).html).toContain('New calls go to a100-1, l40s-0, l40s-1')
    const asked = await visitor.post('/fleet/drain', { pool: 'llama-8b-chat', instance: 'a100-0' })
    expect((await visitor.get(asked.to ?? '')).html).toContain('drain asked by admin-1, waiting for the router')
    const [intent] = stage.control.intents.open()
    expect(intent).toMatchObject({ kind: 'drain', subject: { pool: 'llama-8b-chat', instance: 'a100-0' }, askedBy: 'admin-1' })
    const [audit] = stage.control.audit.list({ limit: 1 })
    expect(audit).toMatchObject({
      who: 'admin-1',
      action: 'drain',
      subject: 'llama-8b-chat / a100-0',
      address: '127.0.0.1',
      before: 'healthy',
    })
    stage.control.intents.answer(intent?.intentId ?? 0, { state: 'done', text: 'a100-0 takes no new calls.' })
    stage.renewNow(['a100-0'])
    const { html } = await visitor.get(asked.to ?? '')
    expect(html).toContain('Drain a100-0: done. a100-0 takes no new calls.')
    expect(html.split('action="/fleet/undrain"').length - 1).toBe(1)
    expect(html).toContain('drained by admin-1 since')
  })

  test('drift by day stands on Models, and why the learned policy does not decide', async () => {
    expect(text((await visitor.get('/models')).html)).toContain('No day was judged yet')
    const dayUnixMs = Date.UTC(2026, 10, 17)
    const numbers = JSON.stringify({ e2eShift: Math.LN2, lengthShift: 0, coverage80: 0.5 })
    const words = 'E2E is 2.00 times what was predicted'
    stage.control.drift.setDay({ subject: 'policy-7', dayUnixMs, calls: 900, level: 'alarm', fallsBack: 1, words, numbers })
    const asked = await visitor.post('/models/drift', { kind: 'set aside', why: 'I saw it' })
    const [intent] = stage.control.intents.open(['set aside'])
    stage.control.intents.answer(intent?.intentId ?? 0, { state: 'done', text: 'least-request places instead' })
    const html = text((await visitor.get(asked.to?.replace(/#.*/, '') ?? '')).html)
    expect(html).toMatch(/Setting the learned policy aside: done. least-request places instead/)
    expect(html).toMatch(/set aside by admin-1 since .*: I saw it/)
    expect(html).toMatch(/2026-11-17 policy-7 900 alarm × 2.00 × 1.00 50.0 % E2E is 2.00 times what was predicted/)
    expect(html).toContain('Let the learned policy decide again')
  })

  test('an instance that is not what it was stands out on Fleet and Overview until somebody takes it as it is', async () => {
    const desk = openIntentDesk({ path: join(stage.dataDir, 'control.sqlite'), clock: stage.clock })
    onTestFinished(() => desk.close())
    const at = { pool: 'llama-8b-chat', instance: 'a100-1' }
    const nowUnixMs = stage.clock.nowUnixMs()
    desk.report({
      kind: 'instance changed',
      ...at,
      factor: 2.1,
      words: 'time per token doubled',
      sinceUnixMs: nowUnixMs - 60_000,
      noticedUnixMs: nowUnixMs,
    })
    const rowOf = (html: string): string => text(html.split('<tr id=').find((part) => part.includes('>a100-1<')) ?? '')
    expect(rowOf((await visitor.get('/fleet')).html)).toMatch(/2.10 × slower than it was .* time per token doubled .*Take as it is/)
    expect(text((await visitor.get('/')).html)).toContain('a100-1 of pool llama-8b-chat: time per token doubled')
    const asked = await visitor.post('/fleet/accept', at)
    expect(rowOf((await visitor.get('/fleet')).html)).toContain('accept change asked by admin-1')
    const intent = stage.control.intents.open().find(({ kind }) => kind === 'accept change')
    stage.control.intents.answer(intent?.intentId ?? 0, { state: 'done', text: 'a100-1 is taken for what it is now' })
    stage.renewNow()
    const after = (await visitor.get(asked.to ?? '')).html
    expect(rowOf(after)).not.toContain('slower than it was')
    expect(text(after)).toContain('Take as it is: a100-1: done.')
  })
})

test('markup in any stored text stays text', async () => {
  const poison = '"><script>alert(1)</script><img src=x onerror=alert(1)>\'{{title}}'
  const stage = await openStage({ poison, calls: 400, furnished: true })
  try {
    const visitor = await stage.signedIn('admin', `mallory${poison}`)
    const pool = encodeURIComponent(`llama-8b-chat${poison}`)
    const instance = encodeURIComponent(`a100-0${poison}`)
    const posted = await visitor.post('/fleet/drain', { pool: `llama-8b-chat${poison}`, instance: `a100-0${poison}` })
    for (const intent of stage.control.intents.open()) stage.control.intents.answer(intent.intentId, { state: 'refused', text: poison })
    const odd = encodeURIComponent(poison)
    const failed = await visitor.get('/decisions?outcome=failed')
    const failedCall = /\/decisions\/[0-9A-Z]{11}/.exec(failed.html)?.[0] ?? ''
    const paths = [
      '/',
      `/?pool=${pool}&window=${odd}`,
      '/decisions',
      `/decisions?pool=${odd}&instance=${odd}&policy=${odd}&outcome=${odd}&application=${odd}&gateway=${odd}&e2e=${odd}&since=${odd}&until=${odd}&call=${odd}`,
      failedCall,
      `/decisions/${formatId(stage.callIds[0] ?? 0)}`,
      `/decisions/${odd}`,
      '/fleet',
      posted.to ?? '',
      `/fleet/drain?pool=${pool}&instance=${instance}`,
      `/fleet/drain?pool=${odd}&instance=${odd}`,
      `/fleet/edit?pool=${pool}&instance=${instance}`,
      `/fleet/add?pool=${odd}`,
      `/fleet?tried=${odd}&says=${odd}`,
      '/models',
      ...[1, 2, 3, 4].flatMap((id) => [`/models/${id}`, `/models/${id}/promote`, `/models/${id}/try`]),
      '/models/roll-back?kind=policy',
      '/training',
      '/training/1',
      '/training/2',
      '/lab',
      '/lab/1',
      '/lab/2',
      `/lab/compare?a=1&b=${odd}`,
      `/lab?more=${odd}&base=${odd}&policy-${odd}=yes`,
      `/sign-in?next=${odd}`,
      `/${odd}`,
    ]
    for (const path of paths) {
      const { html } = await visitor.get(path)
      expect([path, html.includes('<script>'), html.includes('<img')]).toEqual([path, false, false])
    }
    const refused = await stage.visitor().post('/sign-in', { name: poison, password: poison })
    expect(refused.html).not.toContain('<script>')
    expect(stage.errors).toEqual([])
  } finally {
    await stage.close()
  }
})

test('an empty log gives pages that say what to do', async () => {
  const stage = await openStage({ calls: 0 })
  try {
    const visitor = await stage.signedIn('viewer')
    expect((await visitor.get('/')).html).toContain('No calls in this window')
    expect((await visitor.get('/decisions')).html).toContain('No calls yet')
    expect((await visitor.get('/decisions')).html).not.toContain('rel="next"')
  } finally {
    await stage.close()
  }
})

test('a failing log gives a page without the frame, and health fails', async () => {
  const stage = await openStage({ calls: 1 })
  const visitor = await stage.signedIn('viewer')
  stage.reader.close()
  try {
    for (const path of ['/', '/health']) {
      const page = await visitor.get(path)
      expect(page.status).toBe(500)
      expect(page.html).toContain('This page failed')
    }
    expect(stage.errors).toHaveLength(2)
  } finally {
    await stage.close()
  }
})

test('a log of half a minute shows the rate of that half minute, and no peak below the average', async () => {
  const stage = await openStage({ calls: 300, hours: 30 / 3600 })
  try {
    const { html } = await (await stage.signedIn('viewer')).get('/')
    const [, average, peak] = /([\d.]+) \/s on average, ([\d.]+) \/s at peak/.exec(text(html)) ?? []
    expect(Number(average)).toBeGreaterThan(9.5)
    expect(Number(average)).toBeLessThan(11)
    expect(Number(peak)).toBeGreaterThanOrEqual(Number(average))
  } finally {
    await stage.close()
  }
})
