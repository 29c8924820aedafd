import type { User } from '../../plugin/log/control/people.ts'
import { COOKIES } from '../access/cookies.ts'
import { asUserName } from '../access/names.ts'
import { BEGUN_LIFE_MS, CALLBACK_PATH, type OidcVisitor } from '../access/oidc.ts'
import { safeNext } from '../access/origin.ts'
import type { Answer, Visit } from '../answer.ts'
import type { PageParts } from '../routes.ts'

/** Sends the visitor to the provider to sign in there. */
export async function beginOidc({ oidc, onError }: PageParts, visit: Visit): Promise<Answer> {
  if (oidc === undefined) return notConfigured()
  try {
    const { to, token } = await oidc.begin(safeNext(visit.query.next))
    return { kind: 'leave', to, cookies: [{ name: COOKIES.oidc, value: token, lifeMs: BEGUN_LIFE_MS }] }
  } catch (error) {
    onError(error, '/sign-in/oidc')
    return failed(502, `${oidc.issuer} cannot be reached or does not answer as an OpenID provider should.`)
  }
}

/** The visitor is back: whom the provider vouches for is signed in, with the role that it gives them today. */
export async function finishOidc(parts: PageParts, visit: Visit): Promise<Answer> {
  const { oidc, onError, sessions } = parts
  if (oidc === undefined) return notConfigured()
  const cookies = [{ name: COOKIES.oidc }]
  try {
    const query = visit.url.startsWith(CALLBACK_PATH) ? visit.url.slice(CALLBACK_PATH.length) : ''
    const { visitor, next } = await oidc.finish({ token: visit.oidcToken, query })
    const user = admit(parts, visit, visitor)
    if (user === undefined)
      return failed(403, `${oidc.issuer} knows you as ${visitor.name}, but nothing it says of you gives a role here. Ask who runs it.`)
    return { kind: 'see other', to: next, cookies: [...cookies, ...sessions.start(user, visit)] }
  } catch (error) {
    onError(error, CALLBACK_PATH)
    return failed(400, 'What came back from the provider does not fit what was asked. Begin again from the sign-in page.')
  }
}

/** The user of this person, made at their first sign-in; undefined when they have no role. Role changes there reach here at each sign-in. */
function admit({ control }: PageParts, visit: Visit, visitor: OidcVisitor): User | undefined {
  const { issuer, subject, role } = visitor
  const { audit, users } = control
  return control.together(() => {
    const known = users.byOidc(visitor)
    const who = known?.name ?? freeName(asUserName(visitor.name), issuer, (name) => users.byName(name) !== undefined)
    const entry = { who, address: visit.address, subject: who }
    if (role === undefined) {
      audit.append({ ...entry, action: 'sign-in refused', subject: 'session', after: `no role by ${issuer}` })
      // What the provider took back is taken back here too.
      if (known !== undefined) control.sessions.removeAllOf(known.userId)
      return undefined
    }
    const user = known ?? users.add({ name: who, role, password: '', oidc: { issuer, subject } })
    if (known === undefined) audit.append({ ...entry, action: 'add user', after: `${role}, by ${issuer}` })
    else if (known.role !== role) {
      users.setRole(known.userId, role)
      audit.append({ ...entry, action: 'change role', before: known.role, after: `${role}, by ${issuer}` })
    }
    audit.append({ ...entry, action: 'sign in', subject: 'session', after: `by ${issuer}` })
    return users.byId(user.userId)
  })
}

/** A name nobody has: that of a local user is not taken over, whatever the provider says. */
function freeName(name: string, issuer: string, isTaken: (name: string) => boolean): string {
  if (!isTaken(name)) return name
  const host = asUserName(new URL(issuer).hostname)
  for (let i = 1; ; i++) {
    const other = `${name.slice(0, 30)}@${host.slice(0, 24)}${i === 1 ? '' : `-${i}`}`
    if (!isTaken(other)) return other
  }
}

function failed(status: 400 | 403 | 502, text: string): Answer {
  return { kind: 'problem', status, title: 'Signing in there did not work', text: `${text} A password still works here.` }
}

function notConfigured(): Answer {
  return {
    kind: 'problem',
    status: 404,
    title: 'Not set up',
    text: 'Sign-in by OpenID Connect is not set up here: admin.oidc in phasewise.yaml.',
  }
}
