import type { Clock } from '../../clock.ts'
import type { Door } from './door.ts'

/** What a user may do: look; look and act; all, users included. */
export type Role = 'viewer' | 'operator' | 'admin'

export interface User {
  readonly userId: number
  readonly name: string
  readonly role: Role
  /** scrypt: parameters, salt and hash in one text, made and checked by the admin. */
  readonly password: string
  readonly createdUnixMs: number
  readonly lastSignInUnixMs: number | null
}

export interface Users {
  count(): number
  /** In order of name. */
  list(): User[]
  byName(name: string): User | undefined
  byId(userId: number): User | undefined
  /** Throws NameTaken when there is a user of that name. */
  add(user: Pick<User, 'name' | 'role' | 'password'>): User
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

/** One-time links; only hashes of their tokens are kept. */
export interface SignInLinks {
  add(link: { readonly tokenSha256: string; readonly expiresUnixMs: number }): void
  /** The link exists, is unused and has not expired. Changes nothing. */
  isOpen(tokenSha256: string): boolean
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
}

export interface Sessions {
  add(session: Pick<Session, 'tokenSha256' | 'userId' | 'formToken' | 'expiresUnixMs' | 'address'>): void
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

const USER = `user_id AS userId, name, role, password, created_unix_ms AS createdUnixMs, last_sign_in_unix_ms AS lastSignInUnixMs`
const SESSION = `token_sha256 AS tokenSha256, user_id AS userId, form_token AS formToken, created_unix_ms AS createdUnixMs,
  seen_unix_ms AS seenUnixMs, expires_unix_ms AS expiresUnixMs, address`

/** Users as stored behind `door`. */
export function createUsers(door: Door, clock: Clock): Users {
  const byId = (userId: number): User | undefined => door.get<User>(`SELECT ${USER} FROM user WHERE user_id = ?`, [userId])
  return {
    count: () => door.get<{ n: number }>('SELECT count(*) AS n FROM user')?.n ?? 0,
    list: () => door.all<User>(`SELECT ${USER} FROM user ORDER BY name`),
    byName: (name) => door.get<User>(`SELECT ${USER} FROM user WHERE name = ?`, [name]),
    byId,
    add(user) {
      const sql = `INSERT INTO user (name, role, password, created_unix_ms) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING`
      const { changes, lastId } = door.run(sql, [user.name, user.role, user.password, clock.nowUnixMs()])
      const added = changes === 1 ? byId(lastId) : undefined
      if (added === undefined) throw new NameTaken(user.name)
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
    add({ tokenSha256, expiresUnixMs }) {
      const sql = 'INSERT INTO sign_in_link (token_sha256, created_unix_ms, expires_unix_ms) VALUES (?, ?, ?)'
      door.run(sql, [tokenSha256, clock.nowUnixMs(), expiresUnixMs])
    },
    isOpen: (token) => door.get(`SELECT 1 FROM sign_in_link WHERE ${open}`, [token, clock.nowUnixMs()]) !== undefined,
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
      const sql = `INSERT INTO session (token_sha256, user_id, form_token, created_unix_ms, seen_unix_ms, expires_unix_ms, address)
        VALUES (?, ?, ?, ?, ?, ?, ?)`
      door.run(sql, [session.tokenSha256, session.userId, session.formToken, now, now, session.expiresUnixMs, session.address])
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
