import type { Session, User } from '../plugin/log/control/people.ts'
import type { CookieChange } from './access/cookies.ts'

/** Which look a visitor chose; 'system' follows the browser. */
export type Theme = 'system' | 'light' | 'dark'

/** One request as a page sees it: only texts, each at most once, already checked for origin, form token and role. */
export interface Visit {
  /** Path and query as asked for, to come back to. */
  readonly url: string
  readonly path: string
  /** From the route's own pattern, e.g. `callId`. */
  readonly params: Readonly<Record<string, string>>
  readonly query: Readonly<Record<string, string>>
  /** Empty unless the request is a POST. */
  readonly form: Readonly<Record<string, string>>
  readonly nowUnixMs: number
  readonly address: string
  /** The browser, as it calls itself. */
  readonly agent: string
  readonly theme: Theme
  /** Chosen on the Access page; undefined: as the browser says. */
  readonly chosenZone: string | undefined
  /** To be sent back by every form. */
  readonly formToken: string
  readonly session: Session | undefined
  /** Of a sign-in elsewhere that this browser began. */
  readonly oidcToken: string | undefined
  readonly user: User | undefined
}

/** What a view is filled with: plain data. */
export type Model = Readonly<Record<string, unknown>>

export type ProblemStatus = 400 | 403 | 404 | 409 | 410 | 422 | 429 | 502 | 503

/** What a page answers; the app turns it into HTTP. */
export type Answer =
  | {
      readonly kind: 'page'
      readonly view: string
      readonly title: string
      readonly model: Model
      readonly status?: number
      readonly cookies?: readonly CookieChange[]
    }
  /** 303: after every POST. `to` is a path of ours. */
  | { readonly kind: 'see other'; readonly to: string; readonly cookies?: readonly CookieChange[] }
  /** To another site: the one that people sign in at, and nowhere else. */
  | { readonly kind: 'leave'; readonly to: URL; readonly cookies?: readonly CookieChange[] }
  | { readonly kind: 'problem'; readonly status: ProblemStatus; readonly title: string; readonly text: string }
  /** A file, written as its chunks come, so that its size needs no memory. */
  | { readonly kind: 'download'; readonly name: string; readonly type: string; readonly chunks: Iterable<string> | AsyncIterable<string> }
  /** A part of a page, sent again whenever it differs (server-sent events), until `model` gives undefined or a model whose `live` is. */
  | { readonly kind: 'events'; readonly view: string; readonly model: () => Model | undefined }
  | { readonly kind: 'json'; readonly status: number; readonly body: Model }

/** Who may use a route: anybody, anybody signed in with at least this role. */
export type Need = 'anyone' | 'viewer' | 'operator' | 'admin'

/** One address of the admin. The app is made of these alone, so a test can walk every route × role × method. */
export interface Route {
  readonly method: 'get' | 'post'
  readonly path: string
  readonly need: Need
  /** How long a form may be, where 16 KiB is too little. */
  readonly formBytesMax?: number
  readonly handle: (visit: Visit) => Answer | Promise<Answer>
}

const RANK = { anyone: 0, viewer: 1, operator: 2, admin: 3 } as const satisfies Record<Need, number>

/** A user of this role (undefined: nobody is signed in) may do what needs `need`. */
export function mayUse(role: User['role'] | undefined, need: Need): boolean {
  return (role === undefined ? 0 : RANK[role]) >= RANK[need]
}
