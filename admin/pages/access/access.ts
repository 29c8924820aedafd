import type { Session, User } from '../../../plugin/log/control/people.ts'
import { PASSWORD_LENGTH_MIN } from '../../access/password.ts'
import { type Answer, type Model, mayUse, type Visit } from '../../answer.ts'
import { formatDate, formatInstant } from '../../format.ts'
import type { PageParts } from '../../routes.ts'
import { ZONES, zoneName } from '../../zone.ts'
import { noticeOf } from '../notice.ts'
import { keysModel } from './keys.ts'

/** What each role may do, as the page tells it. */
const ROLES = [
  ['viewer', 'sees every page but the audit; changes only their own password and sessions'],
  ['operator', 'also reads the audit, drains, tries, trains, promotes, rolls back, switches off and changes settings'],
  ['admin', 'also gives access to people and programs, and downloads support bundles'],
] as const

/** Own account for everybody; people and keys for admins. `problem` and `values` are what a refused form comes back with. */
export function accessPage(parts: PageParts, visit: Visit, refused: Refused = {}): Answer {
  const { user, session } = visit
  if (user === undefined) return { kind: 'see other', to: '/sign-in' }
  const isAdmin = mayUse(user.role, 'admin')
  return {
    kind: 'page',
    view: 'access',
    title: 'Access',
    status: refused.problem === undefined ? 200 : 422,
    model: {
      notice: noticeOf(visit),
      secret: parts.shownOnce.take(session),
      problem: refused.problem,
      you: { name: user.name, role: user.role, signsIn: signsIn(user), hasPassword: user.password !== '' },
      lengthMin: PASSWORD_LENGTH_MIN,
      sessions: parts.control.sessions.listOf(user.userId).map((one) => sessionModel(one, session)),
      zone: { now: zoneName(), chosen: visit.chosenZone, names: ZONES.map((name) => ({ name, selected: name === visit.chosenZone })) },
      roles: ROLES.map(([name, words]) => ({ name, words })),
      people: isAdmin ? peopleModel(parts, refused.values ?? {}) : undefined,
      keys: isAdmin ? keysModel(parts, visit, refused.values ?? {}) : undefined,
      oidc: isAdmin ? oidcModel(parts) : undefined,
    },
  }
}

/** A form that was not taken: why, and what stood in it. */
export interface Refused {
  readonly problem?: string
  readonly values?: Visit['form']
}

/** How a user signs in, in words. */
export function signsIn(user: User): string {
  const ways = [user.password === '' ? undefined : 'password', user.oidcSubject === null ? undefined : `at ${user.oidcIssuer}`]
  const known = ways.filter((way) => way !== undefined)
  return known.length === 0 ? 'not yet: the link waits' : known.join(' or ')
}

/** Digits by which a form names a session; of a hash, so they open nothing. */
const SESSION_DIGITS = 16

/** A session as a row. */
export function sessionModel(one: Session, own: Session | undefined): Model {
  return {
    id: sessionId(one),
    isThis: one.tokenSha256 === own?.tokenSha256,
    agent: browserName(one.agent),
    fullAgent: one.agent,
    address: one.address,
    since: formatInstant(one.createdUnixMs),
    seen: formatInstant(one.seenUnixMs),
    ends: formatInstant(one.expiresUnixMs),
  }
}

/** The name that forms use for a session. */
export const sessionId = (one: Session): string => one.tokenSha256.slice(0, SESSION_DIGITS)

const BROWSERS = ['Edg', 'OPR', 'Firefox', 'Chrome', 'Safari', 'curl'] as const
const SYSTEMS = [/Windows/, /Android/, /iPhone|iPad/, /Mac OS X/, /Linux/] as const
const SYSTEM_NAMES = ['Windows', 'Android', 'iOS', 'macOS', 'Linux'] as const

/** "Firefox on Linux": enough to tell one's own machines apart. */
function browserName(agent: string): string {
  const browser = BROWSERS.find((name) => agent.includes(`${name}/`))
  const system = SYSTEM_NAMES[SYSTEMS.findIndex((pattern) => pattern.test(agent))]
  const name = browser === 'Edg' ? 'Edge' : browser === 'OPR' ? 'Opera' : browser
  if (name === undefined) return agent === '' ? 'unknown browser' : agent.slice(0, 40)
  return system === undefined ? name : `${name} on ${system}`
}

function peopleModel({ control }: PageParts, values: Visit['form']): Model {
  return {
    rows: control.users.list().map((user) => ({
      href: `/access/people/${user.userId}`,
      name: user.name,
      role: user.role,
      signsIn: signsIn(user),
      since: formatDate(user.createdUnixMs),
      last: user.lastSignInUnixMs === null ? undefined : formatInstant(user.lastSignInUnixMs),
      sessions: control.sessions.listOf(user.userId).length,
    })),
    name: values.name ?? '',
    roles: roleOptions(values.role ?? 'viewer'),
  }
}

/** The roles as options. */
export function roleOptions(selected: string): readonly Model[] {
  return ROLES.map(([name]) => ({ name, selected: name === selected }))
}

function oidcModel({ oidc }: PageParts): Model {
  return { label: oidc?.label, issuer: oidc?.issuer }
}
