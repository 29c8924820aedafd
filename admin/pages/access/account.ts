import { checkPassword, hashPassword, PASSWORD_LENGTH_MIN, passwordProblem } from '../../access/password.ts'
import { tokenSha256 } from '../../access/tokens.ts'
import type { Answer, Visit } from '../../answer.ts'
import { formatDuration } from '../../format.ts'
import type { PageParts } from '../../routes.ts'
import { accessPage, sessionId } from './access.ts'

/** Changes one's own password; the old one is asked again, at a bounded rate, and every other session of the person ends. */
export async function changePassword(parts: PageParts, visit: Visit): Promise<Answer> {
  const { control, throttle } = parts
  const { user, session, address } = visit
  if (user === undefined || session === undefined) return { kind: 'see other', to: '/sign-in' }
  const { current = '', password = '', again = '' } = visit.form
  const refused = (problem: string): Answer => accessPage(parts, visit, { problem })
  if (user.password === '') return refused('You sign in elsewhere and have no password here. An admin can give you a link that sets one.')
  const waitMs = throttle.waitMs(user.name, address)
  if (waitMs > 0) return refused(`Too many failed attempts. Try again in ${formatDuration(Math.ceil(waitMs / 1000) * 1000)}.`)
  throttle.failed(user.name, address)
  if (!(await checkPassword(current, user.password))) return refused('The current password is wrong. Nothing was changed.')
  throttle.succeeded(user.name, address)
  const problem = passwordProblem(password, user.name) ?? (password === again ? undefined : 'The two new passwords differ.')
  if (problem !== undefined) return refused(problem)
  const hash = await hashPassword(password)
  control.together(() => {
    control.users.setPassword(user.userId, hash)
    for (const one of control.sessions.listOf(user.userId))
      if (one.tokenSha256 !== session.tokenSha256) control.sessions.remove(one.tokenSha256)
    control.audit.append({ who: user.name, address, action: 'change password', subject: user.name })
  })
  return { kind: 'see other', to: '/access?done=password' }
}

/** Ends one of one's own sessions, or all but this one. */
export function endOwnSession({ control }: PageParts, visit: Visit): Answer {
  const { user, session, address } = visit
  if (user === undefined || session === undefined) return { kind: 'see other', to: '/sign-in' }
  const all = visit.form.which === 'others'
  const ended = control.together(() => {
    const own = control.sessions.listOf(user.userId).filter((one) => one.tokenSha256 !== session.tokenSha256)
    const found = own.filter((one) => all || sessionId(one) === visit.form.session)
    for (const one of found) control.sessions.remove(one.tokenSha256)
    if (found.length > 0)
      control.audit.append({ who: user.name, address, action: 'end session', subject: user.name, before: `${found.length} open` })
    return found.length
  })
  return { kind: 'see other', to: `/access?done=${ended === 0 ? 'same' : all ? 'ended-others' : 'ended'}` }
}

/** Where a password link leads: a new password for the person it was made for. Looking does not use it up. */
export function passwordPage({ control }: PageParts, visit: Visit): Answer {
  const userId = control.signInLinks.userOf(tokenSha256(visit.params.token ?? ''))
  const user = userId === undefined ? undefined : control.users.byId(userId)
  return user === undefined ? closed() : form({ name: user.name })
}

/** Sets the password and uses the link up; every session of the person ends and a new one begins. */
export async function setPassword(parts: PageParts, visit: Visit): Promise<Answer> {
  const { control, sessions } = parts
  const token = tokenSha256(visit.params.token ?? '')
  const userId = control.signInLinks.userOf(token)
  const user = userId === undefined ? undefined : control.users.byId(userId)
  if (user === undefined) return closed()
  const { password = '', again = '' } = visit.form
  const problem = passwordProblem(password, user.name) ?? (password === again ? undefined : 'The two passwords differ.')
  if (problem !== undefined) return form({ name: user.name, problem })
  const hash = await hashPassword(password)
  const isSet = control.together(() => {
    // Looked at again inside the transaction: two visitors may have come this far.
    if (!control.signInLinks.use(token)) return false
    control.users.setPassword(user.userId, hash)
    control.sessions.removeAllOf(user.userId)
    control.audit.append({ who: user.name, address: visit.address, action: 'set password by link', subject: user.name })
    return true
  })
  return isSet ? { kind: 'see other', to: '/', cookies: sessions.start(user, visit) } : closed()
}

function form({ name, problem }: { readonly name: string; readonly problem?: string }): Answer {
  const status = problem === undefined ? 200 : 422
  return { kind: 'page', view: 'password', title: 'Set a password', status, model: { name, problem, lengthMin: PASSWORD_LENGTH_MIN } }
}

function closed(): Answer {
  return {
    kind: 'problem',
    status: 410,
    title: 'This link no longer works',
    text: 'A password link works once and for three days. Ask an admin for a new one, or, with access to the machine, run “phasewise password-link NAME”.',
  }
}
