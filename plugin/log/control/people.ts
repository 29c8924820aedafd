import type { Clock } from '../../clock.ts'
import type { Door } from './door.ts'

/** What a user may do: look; look and act; all, users included. */
export type Role = 'viewer' | 'operator' | 'admin'

export interface User {
  readonly userId: number
  readonly name: string
  readonly role: Role
  /** scrypt: parameters, salt and hash in one text, made and checked by the admin. Empty: no password opens this account. */
  readonly password: string
  /** Whom an OpenID provider knows as this user; null for those who sign in by password alone. */
  readonly oidcIssuer: string | null
  readonly oidcSubject: string | null
  readonly createdUnixMs: number
  readonly lastSignInUnixMs: number | null
}

/** A person as an OpenID provider names them: `subject` is unique at `issuer` and never given to another. */
export interface OidcPerson {
  readonly issuer: string
  readonly subject: string
}

export interface Users {
  count(): number
  /** In order of name. */
  list(): User[]
  byName(name: string): User | undefined
  byId(userId: number): User | undefined
  byOidc(person: OidcPerson): User | undefined
  /** Throws NameTaken when there is a user of that name. */
  add(user: Pick<User, 'name' | 'role' | 'password'> & { readonly oidc?: OidcPerson }): User
  setPassword(userId: number, password: string): void
  setRole(userId: number, role: Role): void
  /** Removes the user and all their sessions. */
  remove(userId: number): void
  /** Notes that the user signed in now. */
  signedIn(userId: number): void
}

/** Two users cannot have one name. */
export class NameTaken extends Error {
  constructor(name: string, options?: ErrorOptions) {
    super(`there is a user called ${name} already`, options)
    this.name = 'NameTaken'
  }
}

/** One-time links: without a user, to make the first one; with one, to set that user's password. Only hashes of their tokens are kept. */
export interface SignInLinks {
  add(link: { readonly tokenSha256: string; readonly expiresUnixMs: number; readonly userId?: number }): void
  /** The link is for the first user, unused and not expired. Changes nothing. */
  isOpen(tokenSha256: string): boolean
  /** Whose password the link sets; undefined when it is unknown, used or expired. Changes nothing. */
  userOf(tokenSha256: string): number | undefined
  /** Uses the link up: true once, false ever after and for unknown or expired ones. */
  use(tokenSha256: string): boolean
}

export interface Session {
  readonly tokenSha256: string
  readonly userId: number
  /** Must come back with every POST of this session. */
  readonly formToken: string
  readonly createdUnixMs: number
  readonly seenUnixMs: number
  readonly expiresUnixMs: number
  readonly address: string
  /** The browser, as it called itself at sign-in. */
  readonly agent: string
}

export interface Sessions {
  add(session: Pick<Session, 'tokenSha256' | 'userId' | 'formToken' | 'expiresUnixMs' | 'address' | 'agent'>): void
  /** The session and its user; undefined when unknown or expired. */
  find(tokenSha256: string): { readonly session: Session; readonly user: User } | undefined
  /** Notes that the session was used now, and when it expires from here. */
  seen(tokenSha256: string, expiresUnixMs: number): void
  /** Most recently used first; expired ones are left out. */
  listOf(userId: number): Session[]
  remove(tokenSha256: string): void
  removeAllOf(userId: number): void
  /** Deletes expired sessions and links; gives their number. */
  removeExpired(): number
}

const USER = `user_id AS userId, name, role, password, created_unix_ms AS createdUnixMs, last_sign_in_unix_ms AS lastSignInUnixMs,
  oidc_issuer AS oidcIssuer, oidc_subject AS oidcSubject`
const SESSION = `token_sha256 AS tokenSha256, user_id AS userId, form_token AS formToken, created_unix_ms AS createdUnixMs,
  seen_unix_ms AS seenUnixMs, expires_unix_ms AS expiresUnixMs, address, agent`

/** Users as stored behind `door`. */
export function createUsers(door: Door, clock: Clock): Users {
  const byId = (userId: number): User | undefined => door.get<User>(`SELECT ${USER} FROM user WHERE user_id = ?`, [userId])
  return {
    count: () => door.get<{ n: number }>('SELECT count(*) AS n FROM user')?.n ?? 0,
    list: () => door.all<User>(`SELECT ${USER} FROM user ORDER BY name`),
    byName: (name) => door.get<User>(`SELECT ${USER} FROM user WHERE name = ?`, [name]),
    byId,
    byOidc: ({ issuer, subject }) =>
      door.get<User>(`SELECT ${USER} FROM user WHERE oidc_issuer = ? AND oidc_subject = ?`, [issuer, subject]),
    add({ name, role, password, oidc }) {
      const sql = `INSERT INTO user (name, role, password, created_unix_ms, oidc_issuer, oidc_subject) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (name) DO NOTHING`
      const { changes, lastId } = door.run(sql, [name, role, password, clock.nowUnixMs(), oidc?.issuer ?? null, oidc?.subject ?? null])
      const added = changes === 1 ? byId(lastId) : undefined
      if (added === undefined) throw new NameTaken(name)
      return added
    },
    setPassword: (userId, password) => void door.run('UPDATE user SET password = ? WHERE user_id = ?', [password, userId]),
    setRole: (userId, role) => void door.run('UPDATE user SET role = ? WHERE user_id = ?', [role, userId]),
    remove: (userId) => void door.run('DELETE FROM user WHERE user_id = ?', [userId]),
    signedIn: (userId) => void door.run('UPDATE user SET last_sign_in_unix_ms = ? WHERE user_id = ?', [clock.nowUnixMs(), userId]),
  }
}

/** Sign-in links as stored behind `door`. */
export function createSignInLinks(door: Door, clock: Clock): SignInLinks {
  const open = 'token_sha256 = ? AND used_unix_ms IS NULL AND expires_unix_ms > ?'
  return {
    add({ tokenSha256, expiresUnixMs, userId }) {
      const sql = 'INSERT INTO sign_in_link (token_sha256, created_unix_ms, expires_unix_ms, user_id) VALUES (?, ?, ?, ?)'
      door.run(sql, [tokenSha256, clock.nowUnixMs(), expiresUnixMs, userId ?? null])
    },
    isOpen: (token) => door.get(`SELECT 1 FROM sign_in_link WHERE ${open} AND user_id IS NULL`, [token, clock.nowUnixMs()]) !== undefined,
    userOf(token) {
      const sql = `SELECT user_id AS userId FROM sign_in_link WHERE ${open} AND user_id IS NOT NULL`
      return door.get<{ userId: number }>(sql, [token, clock.nowUnixMs()])?.userId
    },
    use(token) {
      const now = clock.nowUnixMs()
      return door.run(`UPDATE sign_in_link SET used_unix_ms = ? WHERE ${open}`, [now, token, now]).changes === 1
    },
  }
}

/** Sessions as stored behind `door`. */
export function createSessions(door: Door, clock: Clock, users: Users): Sessions {
  const find = `SELECT ${SESSION} FROM session WHERE token_sha256 = ? AND expires_unix_ms > ?`
  return {
    add(session) {
      const now = clock.nowUnixMs()
      const sql = `INSERT INTO session (token_sha256, user_id, form_token, created_unix_ms, seen_unix_ms, expires_unix_ms, address,
        agent) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`
      const { tokenSha256, userId, formToken, expiresUnixMs, address, agent } = session
      door.run(sql, [tokenSha256, userId, formToken, now, now, expiresUnixMs, address, agent])
    },
    find(token) {
      const session = door.get<Session>(find, [token, clock.nowUnixMs()])
      const user = session === undefined ? undefined : users.byId(session.userId)
      return session === undefined || user === undefined ? undefined : { session, user }
    },
    seen(token, expiresUnixMs) {
      door.run('UPDATE session SET seen_unix_ms = ?, expires_unix_ms = ? WHERE token_sha256 = ?', [clock.nowUnixMs(), expiresUnixMs, token])
    },
    listOf: (userId) =>
      door.all<Session>(`SELECT ${SESSION} FROM session WHERE user_id = ? AND expires_unix_ms > ? ORDER BY seen_unix_ms DESC`, [
        userId,
        clock.nowUnixMs(),
      ]),
    remove: (token) => void door.run('DELETE FROM session WHERE token_sha256 = ?', [token]),
    removeAllOf: (userId) => void door.run('DELETE FROM session WHERE user_id = ?', [userId]),
    removeExpired() {
      const now = clock.nowUnixMs()
      const sessions = door.run('DELETE FROM session WHERE expires_unix_ms <= ?', [now]).changes
      return sessions + door.run('DELETE FROM sign_in_link WHERE expires_unix_ms <= ?', [now]).changes
    },
  }
}
