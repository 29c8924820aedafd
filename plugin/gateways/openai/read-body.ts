import type { IncomingMessage } from 'node:http'

/** How reading a body ended; `left` when the caller went away in the middle. */
export type ReadBody = { readonly kind: 'body'; readonly body: Buffer } | { readonly kind: 'too large' } | { readonly kind: 'left' }

const EMPTY = Buffer.alloc(0)

/** The body declares to be larger than allowed: known before a byte of it is read. */
export function declaresTooMuch(request: IncomingMessage, limitBytes: number): boolean {
  const declared = request.headers['content-length']
  return declared !== undefined && Number(declared) > limitBytes
}

/** Reads a whole body of at most `limitBytes` and tells `done` once. Nothing beyond the limit is kept. */
export function readBody(request: IncomingMessage, limitBytes: number, done: (read: ReadBody) => void): void {
  let first: Buffer | undefined
  let more: Buffer[] | undefined
  let size = 0
  let over = false
  const finish = (read: ReadBody): void => {
    if (over) return
    over = true
    done(read)
  }
  request.on('data', (chunk: Buffer) => {
    if (over) return
    size += chunk.length
    if (size > limitBytes) {
      first = undefined
      more = undefined
      finish({ kind: 'too large' })
    } else if (!first) first = chunk
    else if (!more) more = [first, chunk]
    else more.push(chunk)
  })
  request.on('end', () => finish({ kind: 'body', body: more ? Buffer.concat(more, size) : (first ?? EMPTY) }))
  request.on('error', () => finish({ kind: 'left' }))
}
