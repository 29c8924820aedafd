import express, { type Express, type NextFunction, type Request, type Response } from 'express'
import helmet from 'helmet'
import type { Clock } from '../plugin/clock.ts'
import type { ConfigParts } from '../plugin/config.ts'
import type { Control } from '../plugin/log/control.ts'
import type { Reader } from '../plugin/log/read/reader.ts'
import { createRollups } from '../plugin/log/read/rollups.ts'
import { createTrialBlocks } from '../plugin/log/read/trials.ts'
import { COOKIES, readCookies, zoneFromCookie } from './access/cookies.ts'
import type { OidcDoor } from './access/oidc.ts'
import { isSameOrigin } from './access/origin.ts'
import { createSessionStore } from './access/session.ts'
import { createShownOnce } from './access/shown-once.ts'
import { createThrottle } from './access/throttle.ts'
import { createToken, sameSecret } from './access/tokens.ts'
import { type Answer, mayUse, type Route, type Theme, type Visit } from './answer.ts'
import { readAssets } from './assets.ts'
import type { FrameFacts } from './frame.ts'
import type { LabDoor } from './pages/lab/plan.ts'
import type { NightFacts } from './pages/training/training.ts'
import { createRouterLine, type RouterLine } from './router-line.ts'
import { createRoutes } from './routes.ts'
import { createSender, setCookies } from './send.ts'
import { inZone } from './zone.ts'

/** What the admin is made of. `facts` are what the foot tells. */
export interface AdminParts {
  readonly reader: Reader
  readonly control: Control
  readonly clock: Clock
  readonly facts: FrameFacts
  /** The router's own API; without it what needs it says so. */
  readonly line?: RouterLine
  /** What the Lab can play; absent where it cannot. */
  readonly lab?: LabDoor
  /** When nights are; asked at each page, since it can be changed. */
  readonly night?: () => NightFacts
  /** Reverse proxies in front whose word on a visitor's address is believed. */
  readonly trustedProxies: number
  /** What the configuration is read from: Settings checks changes by the very schema of the file. */
  readonly configuration: ConfigParts
  /** Address that people reach the admin at, without a slash at its end. */
  readonly publicUrl: () => string
  /** Sign-in elsewhere, beside passwords. */
  readonly oidc?: OidcDoor | undefined
  /** Told of every page that failed; the visitor sees only that it did. */
  readonly onError: (error: unknown, url: string) => void
}

/** Browsers' names for themselves are some 120 characters. */
const AGENT_CHARS_MAX = 300

/** A form of ours is a few hundred bytes. */
const FORM_BYTES_MAX = 16 * 1024

/** A strict policy: nothing inline, nothing from elsewhere; the one script renews parts by events of ours. */
const HEADERS = helmet({
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      connectSrc: ["'self'"],
      styleSrc: ["'self'"],
      imgSrc: ["'self'"],
      formAction: ["'self'"],
      frameAncestors: ["'none'"],
      baseUri: ["'none'"],
    },
  },
  // With no-referrer browsers send `Origin: null` on our own forms, and the same-origin check could not tell them from others.
  referrerPolicy: { policy: 'same-origin' },
  strictTransportSecurity: false,
})

/** The admin as an Express app, and the table it was made from. */
export function createAdmin(parts: AdminParts): { readonly app: Express; readonly routes: readonly Route[] } {
  const { reader, control, clock } = parts
  const sessions = createSessionStore({ control, clock })
  const routes = createRoutes({
    reader,
    control,
    clock,
    sessions,
    throttle: createThrottle(clock),
    rollups: createRollups(),
    trialBlocks: createTrialBlocks(),
    line: parts.line ?? createRouterLine(undefined),
    lab: parts.lab,
    night: parts.night,
    shownOnce: createShownOnce(clock),
    oidc: parts.oidc,
    publicUrl: parts.publicUrl,
    configuration: parts.configuration,
    facts: parts.facts,
    onError: parts.onError,
  })
  const assets = readAssets()
  const send = createSender({ ...parts, href: assets.href })
  const app = express()
  app.disable('x-powered-by').disable('etag').set('query parser', 'simple').set('trust proxy', parts.trustedProxies)
  app.use(HEADERS)
  app.get('/assets/:name', (request, response, next) => {
    const asset = assets.find(String(request.params.name))
    if (asset === undefined) return next()
    response.set('Cache-Control', 'public, max-age=31536000, immutable').type(asset.type).send(asset.bytes)
  })
  app.use((_request, response, next) => {
    response.set('Cache-Control', 'no-store')
    next()
  })
  const visitOf = (request: Request, response: Response): Visit => {
    const visit = readVisit({ request, response, sessions, nowUnixMs: clock.nowUnixMs() })
    response.locals.visit = visit
    return visit
  }
  for (const route of routes) {
    if (route.method === 'post') app.post(route.path, express.urlencoded({ extended: false, limit: route.formBytesMax ?? FORM_BYTES_MAX }))
    app[route.method](route.path, async (request, response) => {
      const visit = visitOf(request, response)
      await inZone(zoneOf(request), async () => send(response, visit, refusal(route, visit, request) ?? (await route.handle(visit))))
    })
  }
  app.use((request, response) => {
    const visit = visitOf(request, response)
    const text = 'There is no page at this address. It may have been typed wrongly, or the page has moved.'
    inZone(zoneOf(request), () =>
      send(response, visit, signInFirst(visit) ?? { kind: 'problem', status: 404, title: 'Page not found', text }),
    )
  })
  app.use((error: unknown, request: Request, response: Response, _next: NextFunction) => {
    const status = statusOf(error)
    if (status >= 500) parts.onError(error, request.path)
    if (response.headersSent) return void response.destroy()
    send.bare(response, response.locals.visit ?? visitOf(request, response), status)
  })
  return { app, routes }
}

/** What keeps this visitor from this route; undefined when nothing does. */
function refusal(route: Route, visit: Visit, request: Request): Answer | undefined {
  if (route.method === 'post') {
    const told = visit.form.formToken
    if (!isSameOrigin(request.headers) || told === undefined || !sameSecret(told, visit.formToken))
      return {
        kind: 'problem',
        status: 403,
        title: 'This form is out of date',
        text: 'Nothing was changed. The form came from another page or an older session: go back, load the page again and repeat what you did.',
      }
  }
  if (mayUse(visit.user?.role, route.need)) return undefined
  return (
    signInFirst(visit) ?? {
      kind: 'problem',
      status: 403,
      title: 'Not allowed',
      text: `This needs the role ${route.need}; yours is ${visit.user?.role}. Nothing was changed. Ask an admin for the role.`,
    }
  )
}

function signInFirst(visit: Visit): Answer | undefined {
  if (visit.user !== undefined) return undefined
  return { kind: 'see other', to: visit.url === '/' ? '/sign-in' : `/sign-in?next=${encodeURIComponent(visit.url)}` }
}

function readVisit(parts: {
  readonly request: Request
  readonly response: Response
  readonly sessions: ReturnType<typeof createSessionStore>
  readonly nowUnixMs: number
}): Visit {
  const { request, response, sessions, nowUnixMs } = parts
  const cookies = readCookies(request.headers.cookie)
  const found = sessions.find(cookies.get(COOKIES.session))
  let formToken = found?.session.formToken ?? cookies.get(COOKIES.form)
  if (formToken === undefined || formToken === '') {
    formToken = createToken()
    setCookies(response, [{ name: COOKIES.form, value: formToken }])
  }
  const theme = cookies.get(COOKIES.theme)
  const chosenZone = cookies.get(COOKIES.zone)
  const isPost = request.method === 'POST'
  return {
    url: isPost ? '/' : request.originalUrl,
    path: request.path,
    params: texts(request.params),
    query: texts(request.query),
    form: isPost ? texts(request.body) : {},
    nowUnixMs,
    address: request.ip ?? 'unknown',
    agent: (request.headers['user-agent'] ?? '').slice(0, AGENT_CHARS_MAX),
    chosenZone: chosenZone === undefined ? undefined : zoneFromCookie(chosenZone),
    theme: theme === 'light' || theme === 'dark' ? theme : ('system' satisfies Theme),
    formToken,
    session: found?.session,
    oidcToken: cookies.get(COOKIES.oidc),
    user: found?.user,
  }
}

/** The zone chosen, else the one that the browser told. */
function zoneOf(request: Request): string | undefined {
  const cookies = readCookies(request.headers.cookie)
  const value = cookies.get(COOKIES.zone) ?? cookies.get(COOKIES.browserZone)
  return value === undefined ? undefined : zoneFromCookie(value)
}

/** Only texts: of a name given twice the first, of an empty one nothing. */
function texts(values: unknown): Record<string, string> {
  const kept: Record<string, string> = Object.create(null)
  if (typeof values !== 'object' || values === null) return kept
  for (const [name, value] of Object.entries(values)) {
    const first: unknown = Array.isArray(value) ? value[0] : value
    if (typeof first === 'string' && first !== '') kept[name] = first
  }
  return kept
}

function statusOf(error: unknown): number {
  const status = typeof error === 'object' && error !== null && 'status' in error ? Number(error.status) : 500
  return status >= 400 && status < 500 ? status : 500
}
