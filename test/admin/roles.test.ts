import Database from 'better-sqlite3'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { mayUse, type Need, type Route } from '../../admin/answer.ts'
import { formatId } from '../../plugin/log/read/ids.ts'
import { openStage, type Stage, type Visitor } from './visitor.ts'

/**
 * The walk over every route × role × method, made from the router's own table: a new route is walked without being named here. What a route's
 * parameters stand for must be named, or the walk fails.
 */
let stage: Stage
let people: readonly (readonly [role: 'viewer' | 'operator' | 'admin' | undefined, visitor: Visitor])[]
beforeAll(async () => {
  stage = await openStage({ calls: 50, furnished: true })
  people = [
    [undefined, stage.visitor()],
    ['viewer', await stage.signedIn('viewer')],
    ['operator', await stage.signedIn('operator')],
    ['admin', await stage.signedIn('admin')],
  ]
})
afterAll(() => stage.close())

/** What a parameter stands for: for looking at, something that is there; for changing, nothing that is. */
const PARAMETERS: Readonly<Record<string, (isLook: boolean) => string>> = {
  callId: () => formatId(stage.callIds[0] ?? 0),
  token: () => 'none',
  userId: (isLook) => (isLook ? '1' : '999'),
  keyId: (isLook) => (isLook ? '1' : '999'),
  modelId: (isLook) => (isLook ? '3' : '999'),
  trialId: () => '999',
  noticeId: () => '999',
  runId: (isLook) => (isLook ? '1' : '999'),
  labId: (isLook) => (isLook ? '1' : '999'),
}
/** What an address needs beside its path to be looked at. */
const QUERIES: Readonly<Record<string, string>> = {
  '/fleet/drain': '?pool=llama-8b-chat&instance=a100-0',
  '/fleet/add': '?pool=llama-8b-chat',
  '/fleet/edit': '?pool=llama-8b-chat&instance=a100-0',
  '/models/roll-back': '?kind=policy',
}
/** These change who one is. */
const ENDS_THE_WALK = new Set(['/sign-out'])

const addressOf = ({ method, path }: Route): string =>
  path.replace(/:(\w+)/g, (_, name: string) => {
    const stands = PARAMETERS[name]
    if (stands === undefined) throw new Error(`${path}: say in PARAMETERS what :${name} stands for`)
    return stands(method === 'get')
  }) + (method === 'get' ? (QUERIES[path] ?? '') : '')

/** All that control.sqlite holds, but what merely looking writes. */
function held(): string {
  const database = new Database(`${stage.dataDir}/control.sqlite`, { readonly: true })
  try {
    const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'session'").pluck().all() as string[]
    return JSON.stringify(tables.map((name) => [name, database.prepare(`SELECT * FROM "${name}"`).all()]))
  } finally {
    database.close()
  }
}

test('what a role may not do is not accepted, by whichever method, and changes nothing', { timeout: 120_000 }, async () => {
  stage.control.apiKeys.add({ name: 'walked', scopes: ['read'], sha256: 'none', beginning: 'pw_none', createdBy: 'test' })
  const rows: Record<string, string>[] = []
  for (const [role, visitor] of people) {
    await visitor.get(role === undefined ? '/sign-in' : '/access')
    for (const route of stage.routes) {
      if (ENDS_THE_WALK.has(route.path) || mayUse(role, route.need)) continue
      const before = held()
      const { status, to } = route.method === 'get' ? await visitor.get(addressOf(route)) : await visitor.post(addressOf(route))
      const refused = role === undefined ? [303, '/sign-in'] : [403, undefined]
      expect([role, route.method, route.path, status, to?.split('?')[0]]).toEqual([role, route.method, route.path, ...refused])
      expect([role, route.path, held()]).toEqual([role, route.path, before])
      rows.push({ role: role ?? 'nobody', method: route.method, path: route.path, status: String(status) })
    }
  }
  expect(rows.length).toBeGreaterThan(30)
})

test('what a role may do is accepted', { timeout: 120_000 }, async () => {
  for (const [role, visitor] of people) {
    await visitor.get(role === undefined ? '/sign-in' : '/access')
    for (const route of stage.routes) {
      if (ENDS_THE_WALK.has(route.path) || !mayUse(role, route.need)) continue
      const page = route.method === 'get' ? await visitor.get(addressOf(route)) : await visitor.post(addressOf(route))
      const isTurnedAway = page.status === 403 || page.status === 500 || /^\/sign-in\?/.test(page.to ?? '')
      expect([role, route.method, route.path, page.status, isTurnedAway]).toEqual([role, route.method, route.path, page.status, false])
    }
  }
  expect(stage.errors).toEqual([])
})

test('no other method does anything at any address', { timeout: 120_000 }, async () => {
  const [, , , [, admin]] = people as [unknown, unknown, unknown, readonly [string, Visitor]]
  const cookie = [...admin.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  const before = held()
  for (const route of stage.routes) {
    const table = stage.routes.filter((one) => one.path === route.path).map((one) => one.method)
    for (const method of ['PUT', 'PATCH', 'DELETE', 'OPTIONS', ...(table.includes('post') ? [] : ['POST'])]) {
      const response = await fetch(stage.url + addressOf(route), { method, headers: { cookie, origin: stage.url }, redirect: 'manual' })
      expect([method, route.path, response.status]).not.toEqual([method, route.path, 303])
      expect([method, route.path, response.status >= 400 || method === 'OPTIONS']).toEqual([method, route.path, true])
    }
  }
  expect(held()).toBe(before)
})

test('what a role may not do is not shown: no link and no form of any page leads where its visitor may not go', {
  timeout: 120_000,
}, async () => {
  const patterns = stage.routes.map((route) => ({
    route,
    pattern: new RegExp(`^${route.path.replace(/:\w+/g, '[^/]+').replaceAll('.', '\\.')}$`),
  }))
  const leadsTo = (method: 'get' | 'post', address: string): Need | undefined => {
    const path = address.split(/[?#]/)[0] ?? ''
    return patterns.find(({ route, pattern }) => route.method === method && pattern.test(path))?.route.need
  }
  let looked = 0
  for (const [role, visitor] of people) {
    for (const route of stage.routes.filter((one) => one.method === 'get' && mayUse(role, one.need))) {
      const { html, headers } = await visitor.get(addressOf(route))
      if (!headers.get('content-type')?.startsWith('text/html')) continue
      const plain = html.replaceAll('&amp;', '&').replaceAll('&#x3D;', '=')
      const links = [...plain.matchAll(/<a\s[^>]*href="([^"]*)"/g)].map(([, href = '']) => ['get', href] as const)
      const forms = [...plain.matchAll(/<form\s([^>]*)>/g)].map(([, attributes = '']) => {
        const method = /method="post"/.test(attributes) ? 'post' : 'get'
        return [method, /action="([^"]*)"/.exec(attributes)?.[1] ?? addressOf(route)] as const
      })
      for (const [method, address] of [...links, ...forms]) {
        if (address.startsWith('#')) continue
        looked++
        const need = leadsTo(method, address)
        expect([role, route.path, method, address, need === undefined ? 'nowhere' : '']).toEqual([role, route.path, method, address, ''])
        if (role !== undefined && need !== undefined)
          expect([role, route.path, method, address, mayUse(role, need)]).toEqual([role, route.path, method, address, true])
      }
    }
  }
  expect(looked).toBeGreaterThan(100)
})
