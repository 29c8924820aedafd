import { afterAll, beforeAll, expect, test } from 'vitest'
import { csvLine } from '../../admin/csv.ts'
import { openStage, type Stage, type Visitor } from './visitor.ts'

let stage: Stage
let operator: Visitor
beforeAll(async () => {
  stage = await openStage({ calls: 5 })
  operator = await stage.signedIn('operator')
  for (let i = 0; i < 1_200; i++) {
    stage.control.audit.append({
      who: i % 2 ? 'ada' : 'eve, the "first"',
      address: '10.0.0.1',
      action: i % 3 ? 'change setting' : 'drain',
      subject: `pools.chat.exploration ${i}`,
      ...(i % 3 ? { before: '0.01', after: `0.${i}` } : {}),
    })
    stage.clock.advance(1_000)
  }
})
afterAll(() => stage.close())

const rows = (html: string): number => html.split('<tbody>')[1]?.split('<tr>').length ?? 1

test('filters combine, stay in the address over pages, and stay visible in the form', async () => {
  const first = await operator.get('/audit?who=ada&action=drain&text=EXPLORATION')
  expect(rows(first.html) - 1).toBe(50)
  expect(first.html).toContain('<option value="ada" selected>')
  const older = /href="([^"]*before[^"]*)" rel="next"/.exec(first.html)?.[1]?.replaceAll('&amp;', '&').replaceAll('&#x3D;', '=') ?? ''
  expect(older).toMatch(/^\/audit\?who=ada&action=drain&text=EXPLORATION&before=\d+$/)
  let [seen, at] = [50, older]
  while (at !== '') {
    const { html } = await operator.get(at)
    seen += rows(html) - 1
    at = /href="([^"]*before[^"]*)" rel="next"/.exec(html)?.[1]?.replaceAll('&amp;', '&').replaceAll('&#x3D;', '=') ?? ''
  }
  expect(seen).toBe(200)
})

test('a change shows what was before and what is after', async () => {
  const { html } = await operator.get('/audit?text=exploration+1198')
  expect(html).toContain('<del>0.01</del>')
  expect(html).toContain('<ins>0.1198</ins>')
})

test('no entry and no such time are said in words', async () => {
  expect((await operator.get('/audit?text=nothing+like+it')).html).toContain('No entry matches these filters')
  expect((await operator.get('/audit?since=yesterday')).html).toContain('Since “yesterday” is no time')
  expect((await operator.get('/audit/export?since=yesterday')).status).toBe(400)
})

test('the export holds every entry that the filters leave, once, newest first', async () => {
  const ndjson = await operator.get('/audit/export?format=ndjson&who=ada')
  expect(ndjson.headers.get('content-disposition')).toMatch(/^attachment; filename=phasewise-audit-[\d-]{10}\.ndjson$/)
  const lines = ndjson.html
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { auditId: number; who: string; time: string })
  expect(lines).toHaveLength(600)
  expect(new Set(lines.map(({ auditId }) => auditId)).size).toBe(600)
  expect(lines.every(({ who }) => who === 'ada')).toBe(true)
  const csv = (await operator.get('/audit/export?format=csv&text=exploration+119')).html
  expect(csv.split('\r\n')[0]).toBe('id,time,who,address,action,subject,before,after')
  expect(csv).toContain(',"eve, the ""first""",10.0.0.1,')
})

test('a spreadsheet runs nothing of a CSV', () => {
  expect(csvLine(['=HYPERLINK("x")', '+1', '-2', '@a', -3, null, 'plain'])).toBe('"\'=HYPERLINK(""x"")",\'+1,\'-2,\'@a,-3,,plain\r\n')
})
