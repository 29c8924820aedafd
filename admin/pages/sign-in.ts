import { safeNext } from '../access/origin.ts'
import { checkPassword } from '../access/password.ts'
import type { Answer, Visit } from '../answer.ts'
import { formatDuration } from '../format.ts'
import type { PageParts } from '../routes.ts'

/** The sign-in form; whoever is signed in already goes on. */
export function signInPage(parts: PageParts, visit: Visit): Answer {
  if (visit.user !== undefined) return { kind: 'see other', to: safeNext(visit.query.next) }
  return form({ parts, next: safeNext(visit.query.next), noUsers: parts.control.users.count() === 0 })
}

/** Checks name and password, at a bounded rate. */
export async function signIn(parts: PageParts, visit: Visit): Promise<Answer> {
  const { control, sessions, throttle } = parts
  const { name = '', password = '' } = visit.form
  const next = safeNext(visit.form.next)
  const waitMs = throttle.waitMs(name, visit.address)
  if (waitMs > 0)
    return form({
      parts,
      next,
      name,
      status: 429,
      problem: `Too many failed attempts. Try again in ${formatDuration(Math.ceil(waitMs / 1000) * 1000)}.`,
    })
  throttle.failed(name, visit.address)
  const user = control.users.byName(name)
  const right = await checkPassword(password, user?.password)
  if (user === undefined || !right) {
    control.audit.append({ who: name.slice(0, 100), address: visit.address, action: 'sign-in refused', subject: 'session' })
    return form({ parts, next, name, status: 401, problem: 'Name or password is wrong.' })
  }
  throttle.succeeded(name, visit.address)
  control.audit.append({ who: user.name, address: visit.address, action: 'sign in', subject: 'session' })
  return { kind: 'see other', to: next, cookies: sessions.start(user, visit) }
}

/** Ends the session. */
export function signOut({ control, sessions }: PageParts, visit: Visit): Answer {
  if (visit.user !== undefined)
    control.audit.append({ who: visit.user.name, address: visit.address, action: 'sign out', subject: 'session' })
  return { kind: 'see other', to: '/sign-in', cookies: sessions.end(visit.session) }
}

function form(model: {
  readonly parts: PageParts
  readonly next: string
  readonly name?: string
  readonly problem?: string
  readonly noUsers?: boolean
  readonly status?: number
}): Answer {
  const { parts, next, name = '', problem, noUsers = false, status = 200 } = model
  const elsewhere = parts.oidc && { label: parts.oidc.label, href: `/sign-in/oidc?${new URLSearchParams({ next })}` }
  return { kind: 'page', view: 'sign-in', title: 'Sign in', status, model: { next, name, problem, noUsers, elsewhere } }
}
