import { NameTaken, type Role, type User } from '../../../plugin/log/control/people.ts'
import { issuePasswordLink } from '../../access/link.ts'
import { userNameProblem } from '../../access/names.ts'
import type { Answer, Visit } from '../../answer.ts'
import { formatDate, formatInstant } from '../../format.ts'
import type { PageParts } from '../../routes.ts'
import { noticeOf } from '../notice.ts'
import { accessPage, roleOptions, sessionId, sessionModel, signsIn } from './access.ts'

const asRole = (text: string | undefined): Role | undefined =>
  text === 'viewer' || text === 'operator' || text === 'admin' ? text : undefined

/** Makes a person without a password, and a link by which they set it: no admin ever knows it. */
export function addPerson(parts: PageParts, visit: Visit): Answer {
  const { control } = parts
  const name = (visit.form.name ?? '').trim()
  const role = asRole(visit.form.role)
  const problem = userNameProblem(name) ?? (role === undefined ? 'Choose a role.' : undefined)
  if (role === undefined || problem !== undefined)
    return accessPage(parts, visit, { problem: problem ?? 'Choose a role.', values: visit.form })
  try {
    const path = control.together(() => {
      const added = control.users.add({ name, role, password: '' })
      control.audit.append({ who: whoOf(visit), address: visit.address, action: 'add user', subject: name, after: role })
      return issuePasswordLink({ control, clock: parts.clock, userId: added.userId })
    })
    showLink(parts, visit, { name, path })
  } catch (error) {
    if (!(error instanceof NameTaken)) throw error
    return accessPage(parts, visit, { problem: `There is a user called ${name} already.`, values: visit.form })
  }
  return { kind: 'see other', to: '/access' }
}

/** One person: role, ways to sign in, sessions. */
export function personPage(parts: PageParts, visit: Visit, problem?: string): Answer {
  const user = find(parts, visit)
  if (user === undefined) return noSuchPerson()
  return {
    kind: 'page',
    view: 'person',
    title: user.name,
    status: problem === undefined ? 200 : 422,
    model: {
      notice: noticeOf(visit),
      secret: parts.shownOnce.take(visit.session),
      problem,
      name: user.name,
      role: user.role,
      href: `/access/people/${user.userId}`,
      signsIn: signsIn(user),
      byOidc: user.oidcSubject !== null,
      hasPassword: user.password !== '',
      since: formatDate(user.createdUnixMs),
      last: user.lastSignInUnixMs === null ? undefined : formatInstant(user.lastSignInUnixMs),
      roles: roleOptions(user.role),
      sessions: parts.control.sessions.listOf(user.userId).map((one) => sessionModel(one, visit.session)),
    },
  }
}

/** Changes a role; it counts from the person's next click on. The last admin stays one. */
export function changeRole(parts: PageParts, visit: Visit): Answer {
  const { control } = parts
  const user = find(parts, visit)
  const role = asRole(visit.form.role)
  if (user === undefined || role === undefined) return noSuchPerson()
  if (user.role === role) return { kind: 'see other', to: `/access/people/${user.userId}?done=same` }
  const done = control.together(() => {
    if (isLastAdmin(parts, user)) return false
    control.users.setRole(user.userId, role)
    const entry = { who: whoOf(visit), address: visit.address, action: 'change role', subject: user.name }
    control.audit.append({ ...entry, before: user.role, after: role })
    return true
  })
  return done ? { kind: 'see other', to: `/access/people/${user.userId}?done=role` } : personPage(parts, visit, LAST_ADMIN)
}

const LAST_ADMIN = 'This is the last admin. Make somebody else admin first; otherwise nobody could give access any more.'

/** A link by which the person sets a new password; the old one works until then. */
export function makeLink(parts: PageParts, visit: Visit): Answer {
  const { control } = parts
  const user = find(parts, visit)
  if (user === undefined) return noSuchPerson()
  const path = control.together(() => {
    control.audit.append({ who: whoOf(visit), address: visit.address, action: 'make password link', subject: user.name })
    return issuePasswordLink({ control, clock: parts.clock, userId: user.userId })
  })
  showLink(parts, visit, { name: user.name, path })
  return { kind: 'see other', to: `/access/people/${user.userId}` }
}

/** Ends one session of the person, or all. */
export function endSessions(parts: PageParts, visit: Visit): Answer {
  const { control } = parts
  const user = find(parts, visit)
  if (user === undefined) return noSuchPerson()
  const all = visit.form.which === 'all'
  const ended = control.together(() => {
    const found = control.sessions.listOf(user.userId).filter((one) => all || sessionId(one) === visit.form.session)
    for (const one of found) control.sessions.remove(one.tokenSha256)
    const entry = { who: whoOf(visit), address: visit.address, action: 'end session', subject: user.name }
    if (found.length > 0) control.audit.append({ ...entry, before: `${found.length} open` })
    return found.length
  })
  return { kind: 'see other', to: `/access/people/${user.userId}?done=${ended === 0 ? 'same' : all ? 'ended-all' : 'ended'}` }
}

/** Asks whether the person is really to go. */
export function confirmRemove(parts: PageParts, visit: Visit): Answer {
  const user = find(parts, visit)
  if (user === undefined) return noSuchPerson()
  const sessions = parts.control.sessions.listOf(user.userId).length
  return {
    kind: 'page',
    view: 'confirm',
    title: `Remove ${user.name}?`,
    model: {
      question: `Remove ${user.name}?`,
      sub: user.role,
      texts: [
        `${sessions === 1 ? 'One session ends' : `${sessions} sessions end`} at once. What ${user.name} did stays in the audit.`,
        ...(user.oidcSubject === null ? [] : [`Whoever ${user.oidcIssuer} still vouches for comes back with their next sign-in there.`]),
      ],
      action: `/access/people/${user.userId}/remove`,
      fields: [],
      button: `Remove ${user.name}`,
      back: `/access/people/${user.userId}`,
    },
  }
}

/** Removes the person and their sessions. The last admin, and oneself, stay. */
export function removePerson(parts: PageParts, visit: Visit): Answer {
  const { control } = parts
  const user = find(parts, visit)
  if (user === undefined) return noSuchPerson()
  if (user.userId === visit.user?.userId) return personPage(parts, visit, 'Nobody removes themselves: ask another admin.')
  const done = control.together(() => {
    if (isLastAdmin(parts, user)) return false
    control.users.remove(user.userId)
    control.audit.append({ who: whoOf(visit), address: visit.address, action: 'remove user', subject: user.name, before: user.role })
    return true
  })
  return done ? { kind: 'see other', to: '/access?done=removed' } : personPage(parts, visit, LAST_ADMIN)
}

function isLastAdmin({ control }: PageParts, user: User): boolean {
  return user.role === 'admin' && control.users.list().every((one) => one.role !== 'admin' || one.userId === user.userId)
}

function showLink(parts: PageParts, visit: Visit, link: { readonly name: string; readonly path: string }): void {
  parts.shownOnce.put(visit.session, {
    what: `Link for ${link.name} to set a password`,
    secret: parts.publicUrl() + link.path,
    note: 'It works once, for three days. Hand it over by a way you trust: whoever opens it first has the account.',
  })
}

const whoOf = (visit: Visit): string => visit.user?.name ?? 'nobody'

const find = ({ control }: PageParts, visit: Visit): User | undefined => control.users.byId(Number(visit.params.userId) || 0)

function noSuchPerson(): Answer {
  return {
    kind: 'problem',
    status: 404,
    title: 'No such person',
    text: 'Nobody has this number here, or they were removed. Nothing was changed.',
  }
}
