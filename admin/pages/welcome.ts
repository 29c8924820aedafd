import type { User } from '../../plugin/log/control/people.ts'
import { userNameProblem } from '../access/names.ts'
import { hashPassword, PASSWORD_LENGTH_MIN, passwordProblem } from '../access/password.ts'
import { tokenSha256 } from '../access/tokens.ts'
import type { Answer, Visit } from '../answer.ts'
import type { PageParts } from '../routes.ts'

/** Where the one-time link leads: name and password of the first user. Looking does not use the link up. */
export function welcomePage(parts: PageParts, visit: Visit): Answer {
  return closed(parts, visit) ?? form({})
}

/** Makes the first user, an admin, and signs them in. The link works once. */
export async function welcome(parts: PageParts, visit: Visit): Promise<Answer> {
  const { control, sessions } = parts
  const shut = closed(parts, visit)
  if (shut !== undefined) return shut
  const { password = '', again = '' } = visit.form
  const name = (visit.form.name ?? '').trim()
  const problem = userNameProblem(name) ?? passwordProblem(password, name)
  if (problem !== undefined) return form({ name, problem })
  if (password !== again) return form({ name, problem: 'The two passwords differ.' })
  const hash = await hashPassword(password)
  const user = control.together((): User | undefined => {
    // Looked at again inside the transaction: two visitors may have come this far.
    if (control.users.count() > 0 || !control.signInLinks.use(tokenSha256(visit.params.token ?? ''))) return undefined
    const added = control.users.add({ name, role: 'admin', password: hash })
    control.audit.append({ who: name, address: visit.address, action: 'add user', subject: name, after: 'admin' })
    return added
  })
  if (user === undefined) return closed(parts, visit) ?? { kind: 'see other', to: '/sign-in' }
  return { kind: 'see other', to: '/', cookies: sessions.start(user, visit) }
}

function closed({ control }: PageParts, visit: Visit): Answer | undefined {
  if (control.users.count() > 0) return { kind: 'see other', to: '/sign-in' }
  if (control.signInLinks.isOpen(tokenSha256(visit.params.token ?? ''))) return undefined
  return {
    kind: 'problem',
    status: 410,
    title: 'This link no longer works',
    text: 'A sign-in link works once and for a day. Restart Phasewise: while nobody has an account it prints a new one.',
  }
}

function form({ name = '', problem }: { readonly name?: string; readonly problem?: string }): Answer {
  const status = problem === undefined ? 200 : 422
  return { kind: 'page', view: 'welcome', title: 'Welcome', status, model: { name, problem, lengthMin: PASSWORD_LENGTH_MIN } }
}
