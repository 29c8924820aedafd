import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { OidcDoor } from '../../admin/access/oidc.ts'
import { hashPassword } from '../../admin/access/password.ts'
import { createSessionStore } from '../../admin/access/session.ts'
import type { Route } from '../../admin/answer.ts'
import { createAdmin } from '../../admin/app.ts'
import type { RouterLine } from '../../admin/router-line.ts'
import { createManualClock, type ManualClock } from '../../plugin/clock.ts'
import type { ConfigParts } from '../../plugin/config.ts'
import { HOLD_ORDERS } from '../../plugin/hold/hold-rules.ts'
import { type Control, openControl } from '../../plugin/log/control.ts'
import { openReader, type Query, type Reader, type SqlParams } from '../../plugin/log/read/reader.ts'
import { POLICY_NAMES } from '../../plugin/placement/policies.ts'
import { SCENARIO_NAMES } from '../../plugin/simulation/scenario/names.ts'
import { furnish } from './furniture.ts'
import { type HistoryParts, writeHistory, writeNow } from './history.ts'

/** When the stage's clock stands at first. */
export const NOW_UNIX_MS = 1_795_000_000_000
export const PASSWORD = 'correct horse battery'
const HASH = hashPassword(PASSWORD)

/** A real admin over a real log with a made-up history, and people who visit it. */
export interface Stage {
  readonly url: string
  readonly dataDir: string
  readonly control: Control
  readonly reader: Reader
  readonly clock: ManualClock
  readonly routes: readonly Route[]
  readonly callIds: readonly number[]
  /** Every SQL text the pages asked so far. */
  readonly asked: { readonly sql: string; readonly params: SqlParams }[]
  readonly errors: unknown[]
  /** The router said so much of itself just now. */
  renewNow(draining?: readonly string[]): void
  visitor(): Visitor
  /** Somebody of this role, signed in. */
  signedIn(role: 'viewer' | 'operator' | 'admin', name?: string): Promise<Visitor>
  close(): Promise<void>
}

/** The stage's phasewise.yaml. */
const FILE = `# two kinds of machines
pools:
  - name: llama-8b-chat
    exploration: 0.02
    instances:
      - { name: a100-0, url: http://10.2.0.11:8000, apiKey: { env: SECRET } }
`

/** What a stage may have beside its history. */
export interface StageParts {
  /** phasewise.yaml; FILE when absent. */
  readonly file?: ConfigParts['input']
  /** The router's own API; nothing is reached when absent. */
  readonly line?: RouterLine
  readonly oidc?: (publicUrl: () => string) => OidcDoor
  /** Models, nights, trials and results as after some weeks. */
  readonly furnished?: true
}

/** Opens a stage; close it. */
export async function openStage(parts: Partial<HistoryParts> & StageParts = {}): Promise<Stage> {
  const dataDir = mkdtempSync(join(tmpdir(), 'phasewise-admin-'))
  const clock = createManualClock(NOW_UNIX_MS)
  const callIds = writeHistory({ dataDir, nowUnixMs: NOW_UNIX_MS, hours: 2, calls: 600, seed: 7, ...parts })
  const reader = openReader(join(dataDir, 'log.sqlite'))
  const control = openControl({ path: join(dataDir, 'control.sqlite'), clock })
  if (parts.furnished) furnish(control, parts.poison)
  const asked: Stage['asked'] = []
  const errors: unknown[] = []
  let url = ''
  const { app, routes } = createAdmin({
    reader: listening(reader, asked),
    control,
    clock,
    facts: { version: '0.1.0', logPath: join(dataDir, 'log.sqlite'), retentionDays: 30 },
    onError: (error) => errors.push(error),
    publicUrl: () => url,
    ...(parts.line && { line: parts.line }),
    configuration: {
      input: parts.file ?? { path: '/etc/phasewise.yaml', text: FILE },
      env: { SECRET: 'not to be seen' },
      policyNames: ['impact', 'least-request', 'least-request-speed', 'weighted'],
    },
    trustedProxies: 0,
    oidc: parts.oidc?.(() => url),
    lab: {
      scenarios: SCENARIO_NAMES,
      policies: POLICY_NAMES,
      holds: [...HOLD_ORDERS, 'off'],
      shipped: 'policy-base',
      nudge: () => undefined,
    },
    night: () => ({ schedule: '0 3 * * *', timeZone: 'UTC', jitterMinutes: 10, days: 7, afterwards: 'register' }),
  })
  const server = createServer(app)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const hash = await HASH
  const sessions = createSessionStore({ control, clock })
  const poison = parts.poison ?? ''
  return {
    url,
    dataDir,
    control,
    reader,
    clock,
    routes,
    callIds,
    asked,
    errors,
    renewNow: (draining = []) => writeNow({ dataDir, nowUnixMs: clock.nowUnixMs(), draining, poison }),
    visitor: () => createVisitor(url),
    async signedIn(role, name = `${role}-1`) {
      if (control.users.byName(name) === undefined) control.users.add({ name, role, password: hash })
      const visitor = createVisitor(url)
      const user = control.users.byName(name)
      // As the sign-in form would, without the 200 ms that checking a password takes: tests of the form itself post it.
      if (user !== undefined)
        for (const { name: cookie, value } of sessions.start(user, { address: '127.0.0.1', agent: 'a test' }))
          if (value !== undefined) visitor.cookies.set(cookie, value)
      return visitor
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      reader.close()
      control.close()
      rmSync(dataDir, { recursive: true })
    },
  }
}

function listening(reader: Reader, asked: Stage['asked']): Reader {
  const note = (sql: string, params: SqlParams = []): void => void asked.push({ sql, params })
  return {
    ...reader,
    read: (look) =>
      reader.read((query) => {
        const noting: Query = {
          all: (sql, params) => {
            note(sql, params)
            return query.all(sql, params)
          },
          get: (sql, params) => {
            note(sql, params)
            return query.get(sql, params)
          },
        }
        return look(noting)
      }),
  }
}

export interface Page {
  readonly status: number
  readonly html: string
  readonly headers: Headers
  /** Where a redirect leads. */
  readonly to: string | null
}

/** A browser without a screen: keeps cookies, sends the form token it last saw, follows nothing. */
export interface Visitor {
  get(path: string): Promise<Page>
  /** As a form of the admin's own pages would, but for what `headers` and `form` say otherwise. */
  post(path: string, form?: Record<string, string>, headers?: Record<string, string>): Promise<Page>
  readonly cookies: Map<string, string>
}

/** Somebody who has just opened a browser. */
export function createVisitor(base: string): Visitor {
  const cookies = new Map<string, string>()
  let formToken = ''
  const ask = async (path: string, init: RequestInit): Promise<Page> => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(base + path, { ...init, redirect: 'manual', headers: { ...init.headers, cookie } })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (value === '') cookies.delete(name)
      else cookies.set(name, value)
    }
    const html = await response.text()
    formToken = /name="formToken" value="([^"]+)"/.exec(html)?.[1] ?? formToken
    return { status: response.status, html, headers: response.headers, to: response.headers.get('location') }
  }
  return {
    cookies,
    get: (path) => ask(path, {}),
    post: (path, form = {}, headers = {}) =>
      ask(path, {
        method: 'POST',
        headers: { origin: base, 'sec-fetch-site': 'same-origin', ...headers },
        body: new URLSearchParams({ formToken, ...form }),
      }),
  }
}
