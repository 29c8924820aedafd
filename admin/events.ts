import type { Response } from 'express'
import type { Answer, Model } from './answer.ts'

/** A part is looked at this often. */
const EVERY_MS = 1_000

/** A stream ends by itself after this; the browser then asks again, and whoever may not look any more is turned away there. */
const LIFE_MS = 60_000

/** Sends a part whenever its HTML differs from what was sent; says that it is over when nothing will move any more. */
export function sendEvents(response: Response, answer: Extract<Answer, { kind: 'events' }>, render: (model: Model) => string): void {
  response.status(200).set({ 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store', 'X-Accel-Buffering': 'no' })
  response.flushHeaders()
  let last = ''
  const finish = (): void => {
    clearInterval(looking)
    clearTimeout(ending)
    response.end()
  }
  const look = (): void => {
    const model = answer.model()
    const html = model === undefined ? '' : render(model)
    if (html !== last && html !== '') response.write(message('part', html))
    last = html
    if (model === undefined || model.live === undefined) {
      response.write(message('over', ''))
      finish()
    }
  }
  const looking = setInterval(() => {
    try {
      look()
    } catch {
      // The page itself tells what is wrong; here the stream ends, and the browser asks again.
      finish()
    }
  }, EVERY_MS)
  const ending = setTimeout(finish, LIFE_MS)
  response.on('close', finish)
  look()
}

const message = (event: string, data: string): string =>
  `event: ${event}\n${data
    .split('\n')
    .map((line) => `data: ${line}\n`)
    .join('')}\n`
