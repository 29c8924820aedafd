import { pipeline, Readable } from 'node:stream'
import type { Response } from 'express'
import type { Reader } from '../plugin/log/read/reader.ts'
import type { CookieChange } from './access/cookies.ts'
import type { Answer, Visit } from './answer.ts'
import { sendEvents } from './events.ts'
import { type FrameFacts, frameModel } from './frame.ts'
import { createRender } from './render.ts'

/** What every page is wrapped in comes from here. */
export interface SenderParts {
  readonly reader: Reader
  readonly facts: FrameFacts
  readonly onError: (error: unknown, url: string) => void
  /** Address of an asset by its plain name. */
  readonly href: (name: string) => string
}

/** Turns answers into HTTP. `bare` tells of a failure without reading anything. */
export interface Sender {
  (response: Response, visit: Visit, answer: Answer): void
  bare(response: Response, visit: Visit, status: number): void
}

/** Sets and deletes cookies; sent over TLS alone where the page itself came so. */
export function setCookies(response: Response, cookies: readonly CookieChange[]): void {
  for (const { name, value, lifeMs } of cookies) {
    const options = { httpOnly: true, sameSite: 'lax', secure: response.req.secure, path: '/' } as const
    if (value === undefined) response.clearCookie(name, options)
    else response.cookie(name, value, lifeMs === undefined ? options : { ...options, maxAge: lifeMs })
  }
}

/** Style sheets in the order in which they count. */
const STYLES = ['phasewise.css', 'forms.css', 'pages.css']

/** A sender over the views of this folder. */
export function createSender(parts: SenderParts): Sender {
  const render = createRender()
  const links = { styles: STYLES.map(parts.href), script: parts.href('phasewise.js'), icon: parts.href('favicon.svg') }
  const page = (visit: Visit, view: string, model: Record<string, unknown>): string => {
    const frame = visit.user === undefined ? undefined : parts.reader.read((query) => frameModel(query, visit, parts.facts))
    return render(view, { ...model, ...common(visit), ...links, frame })
  }
  const send = (response: Response, visit: Visit, answer: Answer): void => {
    if ('cookies' in answer && answer.cookies !== undefined) setCookies(response, answer.cookies)
    if (answer.kind === 'see other') return void response.redirect(303, answer.to)
    if (answer.kind === 'leave') return void response.redirect(302, answer.to.href)
    if (answer.kind === 'download') return void download(response, answer, parts)
    if (answer.kind === 'events') return void sendEvents(response, answer, (model) => render(answer.view, { ...model, ...common(visit) }))
    if (answer.kind === 'json') return void response.status(answer.status).json(answer.body)
    const { status = 200, title } = answer
    const [view, model] = answer.kind === 'page' ? [answer.view, answer.model] : ['problem', { text: answer.text, status }]
    response
      .status(status)
      .type('html')
      .send(page(visit, view, { ...model, title }))
  }
  /** Without the frame: what failed may be the log that the frame is read from. */
  send.bare = (response: Response, visit: Visit, status: number): void => {
    const title = status >= 500 ? 'This page failed' : 'This request could not be read'
    const text =
      status >= 500
        ? 'The error is in the admin’s output. Callers are not affected: the router works without the admin. Load the page again, or go to the Overview.'
        : 'Nothing was changed. Go back and try again.'
    const model = { title, text, status, ...common(visit), ...links, frame: undefined }
    response.status(status).type('html').send(render('problem', model))
  }
  return send
}

const common = (visit: Visit) => ({
  theme: visit.theme === 'system' ? undefined : visit.theme,
  themes: (['system', 'light', 'dark'] as const).map((name) => ({ name, current: name === visit.theme })),
  formToken: visit.formToken,
  here: visit.url,
})

/**
 * Written as fast as the visitor reads; one who leaves ends the reading too. One piece waits at a time: what waits longer than a young collection is moved to
 * the old heap, and a long export would fill that with pieces long sent.
 */
function download(response: Response, answer: Extract<Answer, { kind: 'download' }>, parts: SenderParts): void {
  response.attachment(answer.name).type(answer.type)
  pipeline(Readable.from(answer.chunks, { highWaterMark: 1 }), response, (error) => {
    if (error && error.code !== 'ERR_STREAM_PREMATURE_CLOSE') parts.onError(error, answer.name)
  })
}
